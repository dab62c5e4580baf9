"""The elaborated tree: units with hyperparameters, children and graphs, and the stack of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from gabc.dims import Dim
from gabc.graph.nodes import Graph
from gabc.graph.static import Static, StaticValue
from gabc.graph.types import TensorType
from gabc.syntax import tree
from gabc.syntax.source import Span


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter or buffer. `init` is a graph without inputs and with one result of type `type`.

    Its nodes may be the random sources `normal`, `uniform`, `kaiming`, `xavier`, ..., whose output
    has the parameter's own type.
    """

    name: str
    type: TensorType
    init: Graph
    is_buffer: bool
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Hyper:
    """A hyperparameter of an instance.

    `given` is the expression at the constructor call, in the names of the unit where that call is
    written; `value` is what it evaluates to (absent from the instance's `env` while unknown).
    """

    name: str
    given: Static
    is_default: bool


@dataclass(frozen=True, slots=True, eq=False)
class Children:
    """A child (one instance), or an array of children.

    `from_caller`: the child fills a slot and is constructed by whoever constructs this unit.
    """

    instances: tuple[Instance, ...]
    is_array: bool
    is_shared: bool
    from_caller: bool
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A unit with everything static decided; `unit` is `None` for the built-in `Linear`.

    `dims` are the declared dims in order: the defining expression, and the dim it means in terms of
    hyperparameters and `D`. `env` has the value of every name that has one: hyperparameters, dims,
    `D`, `layer`, `n_layers`. Shapes in `params` and `graph` are in the unit's own names; those of a
    `Linear` are in the names of the unit that declares it.
    """

    name: str
    unit: tree.Unit | None
    hypers: Mapping[str, Hyper]
    dims: Mapping[str, Static]
    env: Mapping[str, StaticValue]
    params: tuple[Parameter, ...]
    children: Mapping[str, Children]
    graph: Graph | None
    span: Span

    def walk(self, path: str = "") -> Iterator[tuple[str, Instance]]:
        """This instance and all below it, with their full names (`attn.wq`, `experts.0`)."""
        yield path, self
        for name, children in self.children.items():
            for index, instance in enumerate(children.instances):
                part = f"{name}.{index}" if children.is_array else name
                yield from instance.walk(f"{path}.{part}" if path else part)

    def size(self, dim: Dim) -> int:
        """The value of a dim in this instance's names.

        Raises `KeyError` for a dim of the call, `ValueError` if it is no integer.
        """
        numbers = {
            # A decimal stands for the decimal number, not for its binary neighbour.
            name: Fraction(repr(value)) if isinstance(value, float) else value
            for name, value in self.env.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        result = dim.evaluate(numbers)
        if result.denominator != 1:
            raise ValueError(f"{dim} is {result} here")
        return result.numerator


@dataclass(frozen=True, slots=True)
class Scale:
    """A size of model: width, number of blocks, and how it is trained (genesys.md's table)."""

    name: str
    D: int
    n_layers: int
    reference_params: int | None = None
    learning_rate: float | None = None
    batch_tokens: int | None = None
    tokens_per_param: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The options beside `gab`."""

    tie: bool = True
    logit_cap: float | None = None
    embed_scale: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A design at a scale: the same block instance stands wherever layers do not differ."""

    name: str
    scale: Scale
    blocks: tuple[Instance, ...]
    head: Head
    span: Span
    sources: Mapping[str, str] = field(default_factory=dict)
    """Every file the design is made of (path as shown, text)."""
