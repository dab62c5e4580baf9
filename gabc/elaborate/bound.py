"""What a name or an expression can stand for while a unit is elaborated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim
from gabc.graph.nodes import ChildRef, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList, shown
from gabc.syntax import tree
from gabc.syntax.source import Span

if TYPE_CHECKING:
    from gabc.elaborate.modules import FunctionDefinition, UnitDefinition
    from gabc.elaborate.scope import UnitScope


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A unit with its hyperparameters given, not yet instantiated: `RoPE(base=500.0)`.

    `given` is in the names of `writer`, the unit whose text has the expression (none for the root);
    `places` says where each argument stands.
    """

    definition: UnitDefinition
    given: Mapping[str, TemplateArgument]
    writer: UnitScope | None
    span: Span
    places: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LinearTemplate:
    """The built-in `Linear(in, out, bias=, init=)`; `init` is evaluated by its writer."""

    inputs: Dim
    outputs: Dim
    bias: bool
    init: tree.Expr | None
    writer: UnitScope
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class SequenceTemplate:
    """`Sequential(...)`: units and names of pointwise functions, applied in order."""

    items: tuple[UnitTemplate | str, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class ArrayTemplate:
    """`Expert() * 8` or `[A(), B()]`."""

    items: tuple[UnitTemplate, ...]
    span: Span


UnitTemplate: TypeAlias = Template | LinearTemplate
TemplateArgument: TypeAlias = Static | UnitTemplate


@dataclass(frozen=True, slots=True)
class SlotRef:
    """A slot of the unit by its name: called, it becomes a child; passed on, it is a template."""

    name: str


@dataclass(frozen=True, slots=True)
class AnyUnit:
    """An empty slot of a unit checked alone: some unit that keeps its argument's shape."""

    name: str


@dataclass(frozen=True, slots=True)
class ChildArray:
    """All children of an array."""

    refs: tuple[ChildRef, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """A child made by `Sequential`: what to apply, in order."""

    steps: tuple[ChildRef | str, ...]


@dataclass(frozen=True, slots=True)
class ParamRef:
    """A parameter or buffer of the unit; it becomes a value where it is read."""

    name: str


@dataclass(frozen=True, slots=True)
class DimAlias:
    """A name that stands for a dim: `H` bound by a type in an inlined `fn`."""

    dim: Dim


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A masked value: outside `mask` (bool, broadcasts) it has no content until it is consumed.

    Masks end here: in the graph the consumer's fill stands as a node of its own.
    """

    value: Value
    mask: Value


@dataclass(frozen=True, slots=True)
class Items:
    """A list of things at elaboration: `[a, b]`, the results of a call, what a `for` runs over."""

    items: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class Poison:
    """The result of something already refused. Whatever touches it is silent.

    With `cause` nothing was refused yet: what two branches disagree on, which is a fault only where
    it is used.
    """

    cause: Diagnostic | None = None


POISON = Poison()

Bound: TypeAlias = (
    "Value | Masked | Static | Template | LinearTemplate | SequenceTemplate | ArrayTemplate"
    " | SlotRef | AnyUnit | ChildRef | ChildArray | Sequence | ParamRef | DimAlias | Items | Poison"
    " | UnitDefinition | FunctionDefinition"
)

STATIC_KINDS = (Literal, Ref, Apply, StaticList)


def describe(bound: object) -> str:
    """What a thing is, for a message: `a tensor [B, L, D]`, `the number 3`, `a unit`."""
    match bound:
        case Value(type=type_):
            return f"a tensor {type_}"
        case Masked(value):
            return f"a masked tensor {value.type}"
        case Literal(None):
            return "`none`"
        case Literal(str() as text):
            return f'the text "{text}"'
        case Literal(value):
            return f"`{shown(value)}`" if isinstance(value, bool) else f"the number {value}"
        case Ref() | Apply():
            return "a static number"
        case StaticList() | Items():
            return "a list"
        case (
            Template() | LinearTemplate() | SequenceTemplate() | SlotRef() | AnyUnit() | ChildRef()
        ):
            return "a unit"
        case ArrayTemplate() | ChildArray():
            return "a list of units"
        case Sequence():
            return "a sequence of units"
        case ParamRef():
            return "a parameter"
        case DimAlias(dim):
            return f"the dim {dim}"
    return {"UnitDefinition": "a unit", "FunctionDefinition": "a function"}.get(
        type(bound).__name__, "something else"
    )
