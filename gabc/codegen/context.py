"""What is known while one class of a generated module is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gabc.codegen.names import attribute_name, local_name
from gabc.graph.instance import Instance
from gabc.graph.nodes import ChildRef
from gabc.graph.static import NumberKind


def shared_key(path: str) -> str:
    """The name of a shared module in the model, from its path in a block."""
    return path.replace(".", "_")


@dataclass(frozen=True, slots=True)
class SharedModule:
    """A module that all blocks share: handed to `forward` under the name `argument`.

    `path` leads to it from the unit whose forward takes it, `instance` is the module.
    """

    argument: str
    path: str
    instance: Instance

    @property
    def key(self) -> str:
        """Its name among the model's shared modules, if `path` leads there from a block."""
        return shared_key(self.path)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a unit's constructor: an ambient name, a hyperparameter or a slot.

    `default` is Python text; `computed` means that `None` stands for a default that the constructor
    computes.
    """

    name: str
    kind: str
    annotation: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class UnitClass:
    """A generated class: what whoever constructs or calls it must know."""

    name: str
    arguments: tuple[Argument, ...]
    shared: tuple[SharedModule, ...]
    losses: tuple[str, ...]


@dataclass
class ClassContext:
    """The instance a class is made from, and what its methods turn out to need.

    `attributes` are the static names that methods read as `self.K`, in the order of first use.
    """

    instance: Instance
    require: Callable[[str], str]
    classes: Mapping[Instance, UnitClass]
    reserved: frozenset[str]
    """Names of the module's functions: no local variable may hide them."""
    attributes: dict[str, None] = field(default_factory=dict)
    shared: list[SharedModule] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, NumberKind]:
        """The static names whose values are no ints."""
        kinds: dict[str, NumberKind] = {}
        for name, value in self.instance.env.items():
            if isinstance(value, tuple) and value:
                value = value[0]
            if isinstance(value, bool):
                kinds[name] = "bool"
            elif isinstance(value, float):
                kinds[name] = "float"
        return kinds

    def means_the_same(self, name: str, other: Instance) -> bool:
        """Whether a static name of another instance can be read as the same name of this one."""
        absent = object()
        here: object = self.instance.env.get(name, absent)
        return other is self.instance or here == other.env.get(name, absent)

    def attribute(self, name: str) -> str:
        """The attribute that holds the static `name`, made available."""
        self.attributes[name] = None
        return f"self.{attribute_name(name)}"

    def parameter(self, name: str) -> str:
        return f"self.{attribute_name(name)}"

    def child(self, reference: ChildRef) -> tuple[str, str, Instance]:
        """A child module: its code, its path from here, and what it is."""
        children = self.instance.children[reference.name]
        instance = children.instances[reference.index or 0]
        name, index = attribute_name(reference.name), reference.index
        path = name if index is None else f"{name}.{index}"
        if children.is_shared:
            return self.shared_module(path, instance), path, instance
        return f"self.{name}" if index is None else f"self.{name}[{index}]", path, instance

    def shared_module(self, path: str, instance: Instance) -> str:
        """The argument of this class's `forward` that holds the shared module at `path`."""
        for module in self.shared:
            if module.path == path:
                return module.argument
        argument = local_name(path.replace(".", "_"))
        self.shared.append(SharedModule(argument, path, instance))
        return argument
