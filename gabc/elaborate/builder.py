"""Builds one graph: nodes in order, parameters read once, masked values filled where consumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim
from gabc.elaborate.bound import Masked
from gabc.elaborate.scope import UnitScope
from gabc.graph.instance import Parameter
from gabc.graph.nodes import Argument, Node, Region, Value
from gabc.graph.static import Literal
from gabc.graph.types import TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import Call, Primitive, Refused
from gabc.syntax.source import Span

Given: TypeAlias = "Argument | Masked | tuple[Argument | Masked, ...]"
"""An argument as an author gives it: perhaps masked."""

MASKING = {"causal": "causal", "masked": "masked"}
"""The primitives whose result is a mask that is laid on their argument `a`."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a primitive is applied: its text, the places of its arguments, its results' names.

    `time` is the dim of the time axis there; `parameter` the type that an initialiser fills.
    """

    span: Span
    spans: Mapping[str, Span] = field(default_factory=dict)
    names: Sequence[str] = ()
    time: Dim | None = None
    parameter: TensorType | None = None


@dataclass(eq=False)
class Builder:
    """`nodes` is the innermost open list: a region's while one is being built."""

    scope: UnitScope
    nodes: list[Node] = field(default_factory=list)
    _params: dict[str, Value] = field(default_factory=dict)
    _root: list[Node] = field(init=False)

    def __post_init__(self) -> None:
        self._root = self.nodes

    def param(self, parameter: Parameter) -> Value:
        """The value of a parameter; its node stands at the start of the unit's graph."""
        if parameter.name not in self._params:
            value = Value(parameter.type, parameter.span, parameter.name)
            node = Node("param", {"name": parameter.name}, (value,), parameter.span)
            self._root.insert(len(self._params), node)
            self._params[parameter.name] = value
        return self._params[parameter.name]

    @contextmanager
    def region(self) -> Iterator[list[Node]]:
        """Nodes added inside go to the list given."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def add(
        self,
        op: str,
        args: dict[str, Argument],
        types: Sequence[TensorType],
        span: Span,
        names: Sequence[str] = (),
        region: Region | None = None,
    ) -> tuple[Value, ...]:
        self.scope.session.count_node(span)
        outputs = tuple(
            Value(type_, span, names[i] if i < len(names) else "") for i, type_ in enumerate(types)
        )
        self.nodes.append(Node(op, args, outputs, span, region))
        return outputs

    def primitive(
        self, primitive: Primitive, args: Mapping[str, Given], site: Site
    ) -> tuple[Value, ...] | Masked:
        """Apply a primitive. Arguments left out take their defaults. Raises `Refused`."""
        given: dict[str, Given] = {
            p.name: args.get(p.name, cast("Given", p.default)) for p in primitive.parameters
        }
        given.update({name: arg for name, arg in args.items() if name not in given})
        masking = primitive.name in MASKING
        masked = given["a"] if masking else None
        if isinstance(masked, Masked):
            given["a"] = masked.value
        bound, mask = self._consume_masks(primitive, given, site)
        call = Call(
            primitive,
            bound,
            site.spans,
            site.span,
            self.scope.prover,
            site.time,
            site.parameter,
            self.scope.kinds,
        )
        result = primitive.shape(call)
        bound.update(primitive.resolve(call))
        types = result if isinstance(result, tuple) else (result,)
        if masking:
            (new,) = self.add(primitive.name, bound, types, site.span)
            source = bound["a"]
            assert isinstance(source, Value)
            old = masked.mask if isinstance(masked, Masked) else None
            return Masked(source, self._join(old, new, site.span))
        outputs = self.add(primitive.name, bound, types, site.span, site.names)
        return outputs if mask is None else Masked(outputs[0], mask)

    def _consume_masks(
        self, primitive: Primitive, given: Mapping[str, Given], site: Site
    ) -> tuple[dict[str, Argument], Value | None]:
        """Fill masked arguments as the primitive asks; the mask of the result, if it keeps one."""
        kept: Value | None = None
        bound: dict[str, Argument] = {}
        takes_mask = any(p.name == "mask" and p.hidden for p in primitive.parameters)
        keeps = primitive.keeps_mask and not primitive.fills and not takes_mask
        for name, argument in given.items():
            if isinstance(argument, Masked) and keeps:
                kept = self._join(kept, argument.mask, site.span)
                bound[name] = argument.value
            elif isinstance(argument, Masked):
                bound[name], mask = self._consume(primitive, name, argument, site.span)
                if mask is not None:
                    bound["mask"] = mask
            elif isinstance(argument, tuple):
                bound[name] = tuple(
                    self._consume(primitive, name, part, site.span)[0]
                    if isinstance(part, Masked)
                    else part
                    for part in argument
                )
            elif not (name == "mask" and "mask" in bound):
                bound[name] = argument
        return bound, kept

    def _join(self, left: Value | None, right: Value, span: Span) -> Value:
        if left is None or left is right:
            return right
        joined = self.primitive(PRIMITIVES["logical_and"], {"a": left, "b": right}, Site(span))
        assert isinstance(joined, tuple)
        return joined[0]

    def _consume(
        self, primitive: Primitive, name: str, masked: Masked, span: Span
    ) -> tuple[Value, Value | None]:
        """The plain argument for a masked one, and the mask if the primitive takes it itself."""
        if name == "x" and any(p.name == "mask" and p.hidden for p in primitive.parameters):
            return masked.value, masked.mask
        if name in primitive.fills:
            args: dict[str, Given] = {
                "x": masked.value,
                "mask": masked.mask,
                "value": Literal(primitive.fills[name]),
            }
            filled = self.primitive(PRIMITIVES["fill"], args, Site(span))
            assert isinstance(filled, tuple)
            return filled[0], None
        raise Refused(
            Diagnostic(
                "GAB0115",
                f"`{primitive.name}` cannot take a masked value",
                span,
                help="consume it first: with softmax, a sum or maximum, einsum or `@`",
            )
        )
