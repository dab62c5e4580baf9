"""What is known while one class of a generated module is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gabc.codegen.kernels.file import KernelTable
from gabc.codegen.names import local_name
from gabc.graph.instance import Instance
from gabc.graph.names import attribute_names, unused
from gabc.graph.nodes import ChildRef, Node
from gabc.graph.static import NumberKind


@dataclass(frozen=True, slots=True)
class SharedModule:
    """A module that all blocks share: handed to `forward` under the name `argument`.

    `path` leads to it from the unit whose forward takes it, `instance` is the module.
    """

    argument: str
    path: str
    instance: Instance


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a unit's constructor: an ambient name, a hyperparameter or a slot.

    `variable` is what the constructor calls it, `default` is Python text.
    """

    name: str
    variable: str
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
    kernels: KernelTable | None = None
    """Where the kernels of fused groups are collected."""
    members: Mapping[str, str] = field(init=False)
    """The attribute of each member and static name of the instance."""

    def __post_init__(self) -> None:
        self.members = attribute_names(self.instance)

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

    def has_losses(self, node: Node) -> bool:
        """Whether an operation is a call of a child that returns auxiliary losses."""
        reference = node.args.get("child")
        if not isinstance(reference, ChildRef):
            return False
        children = self.instance.children[reference.name]
        cls = self.classes.get(children.instances[reference.index or 0])
        return cls is not None and bool(cls.losses)

    def attribute(self, name: str) -> str:
        """The attribute that holds the static `name`, made available."""
        self.attributes[name] = None
        return f"self.{self.members[name]}"

    def parameter(self, name: str) -> str:
        return f"self.{self.members[name]}"

    def child(self, reference: ChildRef) -> tuple[str, str, Instance]:
        """A child module: its code, its path from here, and what it is."""
        children = self.instance.children[reference.name]
        instance = children.instances[reference.index or 0]
        name, index = self.members[reference.name], reference.index
        path = name if index is None else f"{name}.{index}"
        if children.is_shared:
            return self.shared_module(path, instance), path, instance
        return f"self.{name}" if index is None else f"self.{name}[{index}]", path, instance

    def shared_module(self, path: str, instance: Instance) -> str:
        """The argument of this class's `forward` that holds the shared module at `path`."""
        for module in self.shared:
            if module.path == path:
                return module.argument
        taken = {module.argument for module in self.shared} | self.reserved
        argument = unused(local_name(path.replace(".", "_")), taken)
        self.shared.append(SharedModule(argument, path, instance))
        return argument
