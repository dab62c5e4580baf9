"""The state of one elaboration, and of one unit in it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gabc.diagnostics.model import Diagnostic, Diagnostics
from gabc.dims import Dim
from gabc.elaborate.bound import Bound, Template, TemplateArgument
from gabc.elaborate.limits import MAX_INSTANCES, MAX_NODES, MAX_TOTAL_NODES, LimitReached
from gabc.elaborate.modules import Module, UnitDefinition
from gabc.elaborate.prover import DimProver, Obligation
from gabc.graph.instance import Children, Hyper, Instance, Parameter, Scale
from gabc.graph.static import NumberKind, Static, StaticValue
from gabc.syntax import tree
from gabc.syntax.source import Span

if TYPE_CHECKING:
    from gabc.elaborate.evaluator import Evaluator


class Rules(Protocol):
    """The two recursions of elaboration: expressions hold calls, units hold units."""

    def expression(self, evaluator: Evaluator, expr: tree.Expr, names: Sequence[str]) -> Bound:
        """The meaning of an expression; `names` are what its results will be called."""
        ...

    def unit(self, session: Session, template: Template, position: tuple[int, ...]) -> Instance:
        """A new instance of a template at a place of the block."""
        ...


@dataclass(eq=False)
class Session:
    """What all units of one elaboration share. `scale` is `None` while units are checked alone."""

    diagnostics: Diagnostics
    scale: Scale | None
    rules: Rules
    layer: int | None = None
    instances: int = 0
    nodes: int = 0
    total_nodes: int = 0
    active: list[str] = field(default_factory=list)
    """The units being elaborated, outermost first."""
    obligations: dict[Instance, tuple[Obligation, ...]] = field(default_factory=dict)
    """What each instance leaves open, in its own names: dims bound at the call."""
    never_evaluated: list[Obligation] = field(default_factory=list)
    """What no caller has to prove and no number decided."""
    z_read: set[str] = field(default_factory=set)
    """Every Z key that is read somewhere (membership only: its order reaches no output)."""
    z_written: dict[str, Span] = field(default_factory=dict)
    """Every Z key that is written somewhere, and where first."""
    z_renamed: set[str] = field(default_factory=set)
    """Every Z key whose write a call renames: it is the other key that is to be read."""
    mentions_layer: bool = False
    """Whether anything so far depended on `layer`."""
    layered: set[Instance] = field(default_factory=set)
    """Units with a text that depends on `layer`, in themselves or below (membership only)."""
    reusable: dict[Hashable, Instance] = field(default_factory=dict)
    """Units that do not depend on `layer`, by their place in the block and what they are given."""
    reached: set[UnitDefinition] = field(default_factory=set)
    """Units elaborated with every hyperparameter at its default (membership only)."""

    @property
    def scale_name(self) -> str:
        return "any" if self.scale is None else self.scale.name

    def begin_block(self, layer: int) -> None:
        """Elaborate the block of a layer from here on."""
        self.layer = layer
        self.instances = self.nodes = 0

    def count_instance(self, span: Span) -> None:
        self.instances += 1
        if self.instances > MAX_INSTANCES:
            raise LimitReached(span, f"a block has more than {MAX_INSTANCES:,} units")

    def count_node(self, span: Span) -> None:
        self.nodes += 1
        self.total_nodes += 1
        if self.nodes > MAX_NODES:
            raise LimitReached(span, f"a block has more than {MAX_NODES:,} operations")
        if self.total_nodes > MAX_TOTAL_NODES:
            raise LimitReached(
                span, f"the blocks have more than {MAX_TOTAL_NODES:,} operations in all"
            )


@dataclass(eq=False)
class UnitScope:
    """One unit while it is elaborated: its names and what is known of them.

    `env` has the value of each static name that has one. `slots` are the unit hyperparameters.
    """

    session: Session
    module: Module
    unit: tree.Unit
    span: Span
    writer: UnitScope | None = None
    """The unit whose text constructs this one."""
    position: tuple[int, ...] = ()
    """The place in the block: the first child of a unit is 1, and so on, from the root down."""
    constructed: int = 0
    prover: DimProver = field(default_factory=DimProver)
    env: dict[str, StaticValue] = field(default_factory=dict)
    hypers: dict[str, Hyper] = field(default_factory=dict)
    slots: dict[str, tuple[TemplateArgument, bool]] = field(default_factory=dict)
    """The unit in each slot, and whether the caller gave it."""
    dims: dict[str, Static] = field(default_factory=dict)
    members: dict[str, Bound] = field(default_factory=dict)
    params: dict[str, Parameter] = field(default_factory=dict)
    children: dict[str, Children] = field(default_factory=dict)
    call_dims: dict[str, Span] = field(default_factory=dict)
    kinds: dict[str, NumberKind] = field(default_factory=dict)
    """The static names that are no ints."""

    def next_position(self) -> tuple[int, ...]:
        """The place of the next child."""
        self.constructed += 1
        return (*self.position, self.constructed)

    def report(self, diagnostic: Diagnostic) -> None:
        self.session.diagnostics.add(diagnostic)

    @property
    def sizes(self) -> dict[str, int]:
        """The names whose values are ints, for evaluating dims."""
        return integers(self.env)

    def substitution(self, names: frozenset[str]) -> Mapping[str, Dim]:
        """The known values of some names, as dims."""
        sizes = self.sizes
        return {name: Dim.const(sizes[name]) for name in sorted(names) if name in sizes}


def integers(env: Mapping[str, StaticValue]) -> dict[str, int]:
    return {
        name: value
        for name, value in env.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
