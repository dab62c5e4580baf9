"""What may be written instead of an operation at fault: candidates, none of them checked yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gabc.check.causality.chain import steps
from gabc.check.causality.explain import Blame
from gabc.check.causality.verdict import Subject
from gabc.check.causality.written import Written
from gabc.dependence.domain import Extent, Kind, Reason
from gabc.diagnostics.model import Applicability, Edit, Fix
from gabc.syntax import tree
from gabc.syntax.source import Span

_RUNNING = {"mean": "running_mean", "sum": "cumsum"}
_FEATURES = ("mean", "var", "softmax", "log_softmax")
_STRICT = {"<=": "<", ">=": ">"}
_TURNED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<"}
_FIXED = "1024.0"


def rewrites(blame: Blame, text: Written) -> Iterator[Fix]:
    """Candidates in the order in which they are to be tried, the surest first.

    Whether one is a repair at all (its shapes fit, nothing is left to be found) is for
    `repair.with_fixes` to say.
    """
    reason = blame.leg.reason
    if reason is None or blame.fault.write:
        return
    node = text.at(blame.span)
    if node is None:
        return
    at = _Place(text, node, blame.leg.is_lost)
    match blame.fault.subject:
        case Subject.BATCH:
            yield from at.within_the_row()
        case Subject.LENGTH:
            yield from at.so_far(reason.operation)
            yield from at.fixed_number(reason)
        case Subject.CAUSALITY:
            yield from at.of_the_past(reason)
            # A summary of a whole block is sound where only later blocks read it.
            for step in steps(blame.fault.leg):
                mask = step.reason and step.reason.constraint
                if mask and mask.span and mask is not reason.constraint:
                    yield from at.narrower(mask.span)


@dataclass(frozen=True, slots=True)
class _Place:
    """The operation at fault, in its text."""

    text: Written
    node: tree.Node
    is_lost: bool

    def of_the_past(self, reason: Reason) -> Iterator[Fix]:
        if reason.kind is Kind.LOOKUP:
            yield from self.earlier_index()
            return
        if reason.spoilt is not None:
            yield from self.true_mask(reason.spoilt.span)
        if reason.constraint is not None and reason.constraint.span is not None:
            yield from self.narrower(reason.constraint.span)
        elif not self.is_lost and reason.spoilt is None:
            yield from self.turned_round()
        yield from self.so_far(reason.operation)
        yield from self.masked_first(reason.operation)

    # ------------------------------------------------------------------------------- reductions

    def masked_first(self, operation: str) -> Iterator[Fix]:
        """`softmax(s)` becomes `softmax(causal(s))`, `w @ x` becomes `causal(w) @ x`."""
        # Without a mask, what a softmax over keys can have meant is one thing only.
        is_sure = operation in ("softmax", "log_softmax") and not self.is_lost
        for operand in self._operands():
            if not isinstance(operand, tree.String) and _called(operand) != "causal":
                yield Fix(
                    "mask what lies ahead: " + _excerpt(f"causal({operand.span.text})"),
                    (_insert(operand.span, True, "causal("), _insert(operand.span, False, ")")),
                    Applicability.MACHINE if is_sure else Applicability.MAYBE,
                )

    def so_far(self, operation: str) -> Iterator[Fix]:
        """`mean(x, axis=1)` becomes `running_mean(x)`, `sum` becomes `cumsum`.

        The time axis stays, so that a unit axis put in its place (`[:, None]`) goes.
        """
        new = _RUNNING.get(operation)
        call = self.node
        if new is None or not isinstance(call, tree.Call) or not call.args:
            return
        axis = _argument(call, "axis")
        along = f", axis={axis.span.text}" if new == "cumsum" and axis is not None else ""
        written = f"{new}({call.args[0].span.text}{along})"
        title = f"take it up to each position: {_excerpt(written)}"
        keeps = _argument(call, "keep")
        if not (isinstance(keeps, tree.Bool) and keeps.value):
            restored = self._restored(call, axis, written)
            if restored:
                yield Fix(title, restored, Applicability.MAYBE)
        yield Fix(title, (Edit(call.span, written),), Applicability.MAYBE)

    def _restored(self, call: tree.Call, axis: tree.Node | None, written: str) -> tuple[Edit, ...]:
        """With the unit axis left out that stands for the one summed over, here or at each use."""
        place = axis.value if isinstance(axis, tree.Number) else None
        if not isinstance(place, int):
            return ()
        around = self.text.parent(call)
        if isinstance(around, tree.Subscript) and _puts_back(around, call, place):
            return (Edit(around.span, written),)
        target = self.text.target(call)
        if target is None:
            return ()
        edits = [Edit(call.span, written)]
        for use in self.text.uses(target):
            around = self.text.parent(use)
            if not isinstance(around, tree.Subscript) or not _puts_back(around, use, place):
                return ()
            edits.append(Edit(around.span, use.id))
        return tuple(edits)

    def fixed_number(self, reason: Reason) -> Iterator[Fix]:
        if reason.kind is Kind.REDUCE and reason.axis and reason.axis.extent is Extent.TIME:
            edit = Edit(self.node.span, _FIXED)
            title = f"a number that does not change with the length, here `{_FIXED}`"
            yield Fix(title, (edit,), Applicability.PLACEHOLDER)

    def within_the_row(self) -> Iterator[Fix]:
        """`mean(x, axis=0, keep=true)` over rows becomes one over the features of each position."""
        call = self.node
        axis = _argument(call, "axis") if isinstance(call, tree.Call) else None
        if axis is None or _called(call) not in _FEATURES:
            return
        title = f"over the features of each position: `{_called(call)}(..., axis=-1)`"
        yield Fix(title, (Edit(axis.span, "-1"),), Applicability.MAYBE)

    def _operands(self) -> tuple[tree.Node, ...]:
        match self.node:
            case tree.Call(_, _, args, _):
                return args
            case tree.Binary(_, "@", left, right):
                return (left, right)
        return ()

    # ------------------------------------------------------------------------------- masks

    def true_mask(self, span: Span) -> Iterator[Fix]:
        """`float(keep) * x` becomes `where(keep, x, 0.0)`; `s + where(keep, 0.0, -1e9)` a mask."""
        node = self.text.at(span)
        if not isinstance(node, tree.Binary):
            return
        for mask, value in ((node.left, node.right), (node.right, node.left)):
            if not isinstance(mask, tree.Call) or not mask.args:
                continue
            keep, name, x = mask.args[0].span.text, _called(mask), value.span.text
            if node.op == "*" and name == "float":
                new = f"where({keep}, {x}, 0.0)"
            elif node.op == "+" and name == "where" and _is_zero(mask.args[1]):
                new = f"masked({x}, {keep})"
            else:
                continue
            title = f"choose instead of computing: {_excerpt(new)}"
            yield Fix(title, (Edit(node.span, new),), Applicability.MACHINE)

    def narrower(self, span: Span) -> Iterator[Fix]:
        """A comparison that keeps too much: without what is added, strict, or of one side only."""
        node = self.text.at(span)
        if not isinstance(node, tree.Binary) or node.op not in _TURNED:
            return
        for side in (node.left, node.right):
            if isinstance(side, tree.Call) and _called(side) == "abs":
                for order in (">=", "<="):
                    distance = side.args[0].span.text
                    new = f"{distance} {order} 0.0 and {node.span.text}"
                    is_part = isinstance(self.text.parent(node), tree.Binary | tree.Unary)
                    yield self._compared(node, node.span, f"({new})" if is_part else new)
        for side in (node.left, node.right):
            plain = _without_offset(side)
            if plain is not None:
                yield self._compared(node, side.span, plain)
        if node.op in _STRICT:
            yield self._compared(node, _operator(node), _STRICT[node.op])

    def turned_round(self) -> Iterator[Fix]:
        """The comparisons behind a mask, each turned round."""
        for operand in self._operands():
            for node in self.text.followed(operand):
                if isinstance(node, tree.Binary) and node.op in _TURNED:
                    yield self._compared(node, _operator(node), _TURNED[node.op])

    def _compared(self, node: tree.Binary, span: Span, new: str) -> Fix:
        text = node.span.text
        start, end = span.start - node.span.start, span.end - node.span.start
        title = f"keep what is not ahead: {_excerpt(text[:start] + new + text[end:])}"
        return Fix(title, (Edit(span, new),), Applicability.MAYBE)

    # ------------------------------------------------------------------------------- indices

    def earlier_index(self) -> Iterator[Fix]:
        """`g[b, j + 1]` becomes `g[b, j]`."""
        if not isinstance(self.node, tree.Subscript):
            return
        for item in self.node.items:
            for node in self.text.followed(item):
                new = _without_offset(node) if isinstance(node, tree.Binary) else None
                if new is not None:
                    title = f"index by the position itself: `{new}` for `{node.span.text}`"
                    yield Fix(title, (Edit(node.span, new),), Applicability.MAYBE)


# ------------------------------------------------------------------------------------- syntax


def _called(node: tree.Node) -> str:
    if isinstance(node, tree.Call) and isinstance(node.function, tree.Name):
        return node.function.id
    return ""


def _argument(call: tree.Call, name: str) -> tree.Node | None:
    """What is given for a name; an axis may also stand second."""
    for keyword in call.keywords:
        if keyword.name.id == name:
            return keyword.value
    return call.args[1] if name == "axis" and len(call.args) == 2 else None


def _puts_back(subscript: tree.Subscript, base: tree.Node, place: int) -> bool:
    """Whether a subscript inserts a unit axis at `place` and does nothing else."""
    if subscript.base is not base or len(subscript.items) <= place:
        return False
    rest = [item for at, item in enumerate(subscript.items) if at != place]
    return isinstance(subscript.items[place], tree.NoneLiteral) and all(
        isinstance(item, tree.Slice) and not (item.start or item.stop or item.step) for item in rest
    )


def _without_offset(node: tree.Node) -> str | None:
    """`a + 1` without the number, and a number as zero; `None` where there is neither."""
    match node:
        case tree.Binary(span, "+" | "-", _, tree.Number()):
            return Span(span.source, span.start, _operator(node).start).text.rstrip()
        case tree.Number(_, value) | tree.Unary(_, "-", tree.Number(_, value)) if value:
            return "0.0" if isinstance(value, float) else "0"
    return None


def _is_zero(node: tree.Node) -> bool:
    return isinstance(node, tree.Number) and node.value == 0


def _operator(node: tree.Binary) -> Span:
    """Where the operator stands: between its sides, and the brackets around them."""
    source = node.span.source
    start = source.text.index(node.op, node.left.span.end, node.right.span.start)
    return Span(source, start, start + len(node.op))


def _insert(span: Span, before: bool, text: str) -> Edit:
    at = span.start if before else span.end
    return Edit(Span(span.source, at, at), text)


def _excerpt(text: str) -> str:
    """One line in code quotes."""
    line = " ".join(text.split())
    return f"`{line}`" if len(line) <= 60 else f"`{line[:57]}...`"
