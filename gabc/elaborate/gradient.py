"""`grad(loss, W)` in a scan: the gradient of the sum of `loss` in `W`, as operations of the body.

Reverse mode over what the body has computed so far. The result is made of the same primitives, so
every rule of the language holds for it as for a gradient written by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from gabc.elaborate.bind_names import bind_names
from gabc.elaborate.bound import Bound
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.gradient_axes import AXIS_RULES
from gabc.elaborate.gradient_rules import RULES
from gabc.elaborate.gradient_tape import BodyTape, NoRule, Rule, Taken, Term
from gabc.graph.nodes import Node, Value
from gabc.graph.static import Literal
from gabc.graph.types import B
from gabc.ops.base import Refused
from gabc.syntax import tree

DERIVATIVES: dict[str, Rule] = {**RULES, **AXIS_RULES}
"""The primitives with a derivative; `detach` and comparisons pass nothing on."""

_SILENT = frozenset({"detach"})


def gradient(evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Bound:
    """The value of `grad(loss, W)`. Raises `Refused` or `SilentError`."""
    if evaluator.builder is None or not evaluator.in_region or evaluator.in_attention:
        raise evaluator.refuse(
            "GAB0115",
            "`grad` belongs in the body of a `scan`, where a state learns",
            expr.span,
            help="parameters are trained by the trainer, on the loss of the whole model",
        )
    given = bind_names(evaluator, expr, ("loss", "W"), "grad")
    if len(given) < 2:
        raise evaluator.refuse(
            "GAB0107", "`grad` needs a loss and what to derive it by: `grad(loss, W)`", expr.span
        )
    loss, target = evaluator.tensor(given["loss"]), evaluator.tensor(given["W"])
    for name, value in (("loss", loss), ("W", target)):
        _check(evaluator, value, given[name])
    nodes = tuple(evaluator.builder.nodes)
    reverse = _Reverse(BodyTape(evaluator, expr.span), nodes, target, given["W"])
    found = reverse.run(loss, given["loss"])
    return _named(evaluator, found, names)


def _check(evaluator: Evaluator, value: Value, expr: tree.Expr) -> None:
    """Floats with the batch axis first: rows of the batch never mix, in gradients either."""
    if value.type.kind != "float":
        raise evaluator.refuse("GAB0109", f"`grad` is of floats, not {value.type}", expr.span)
    dims = value.type.dims
    if not dims or not evaluator.scope.prover.are_equal(dims[0], B):
        raise evaluator.refuse(
            "GAB0206",
            f"`grad` is taken row by row: `{expr.span.text}` is {value.type} and has no batch axis "
            "in front",
            expr.span,
            help="sum the loss over other axes than the first; derive it by a state or a value "
            "made of one",
        )


def _named(evaluator: Evaluator, found: Value, names: Sequence[str]) -> Value:
    """The last node's result, under the author's name."""
    builder = evaluator.builder
    assert builder is not None
    last = builder.nodes[-1] if builder.nodes else None
    if not names or last is None or last.outputs != (found,):
        return found
    value = Value(found.type, found.span, names[0])
    builder.nodes[-1] = Node(last.op, last.args, (value,), last.span, last.region)
    return value


class _Reverse:
    """One pass from the loss back to the target."""

    def __init__(
        self, tape: BodyTape, nodes: Sequence[Node], target: Value, written: tree.Expr
    ) -> None:
        self.tape = tape
        self.target = target
        self.written = written
        self.gradients: dict[Value, Term] = {}
        self.varying = {target}
        self.nodes = [node for node in nodes if self._varies(node)]

    def _varies(self, node: Node) -> bool:
        """Whether a node hands on what depends on the target; its results then do, too."""
        if node.op in _SILENT or self.varying.isdisjoint(node.operands()):
            return False
        floats = {value for value in node.outputs if value.type.kind == "float"}
        self.varying |= floats
        return bool(floats)

    def run(self, loss: Value, written: tree.Expr) -> Value:
        if loss not in self.varying:
            raise self.tape.evaluator.refuse(
                "GAB0115",
                f"`{written.span.text}` does not depend on this value of "
                f"`{self.written.span.text}`",
                self.tape.span,
                help="a name means what it was assigned last: take the gradient before the state "
                "is assigned anew",
            )
        self.gradients[loss] = Literal(1.0)
        for node in reversed(self.nodes):
            self._node(node)
        return self.tape.full(self.gradients.get(self.target, Literal(0.0)), self.target.type)

    def _node(self, node: Node) -> None:
        gradients = tuple(self.gradients.get(value) for value in node.outputs)
        if all(gradient is None for gradient in gradients):
            return
        rule = DERIVATIVES.get(node.op)
        if rule is None:
            raise self._refusal(node, f"`{node.op}`")
        wanted = frozenset(self.varying.intersection(node.operands()))
        try:
            for operand, term in rule(self.tape, Taken(node, gradients, wanted)):
                self._contribute(node, operand, term)
        except NoRule as missing:
            raise self._refusal(node, str(missing)) from missing

    def _contribute(self, node: Node, operand: Value, term: Term) -> None:
        shape = node.output.type if broadcasts(node) else operand.type
        term = self.tape.summed_to(term, shape, operand.type)
        before = self.gradients.get(operand)
        self.gradients[operand] = term if before is None else self.tape.add(before, term)

    def _refusal(self, node: Node, what: str) -> Refused:
        if node.op == "call":
            what = "a call of a unit"
            help = "write it with a `param` of this unit, or hold what it gives with `detach`"
        else:
            known = ", ".join(sorted(DERIVATIVES))
            help = f"hold it with `detach`; these have a derivative: {known}"
        return self.tape.evaluator.refuse(
            "GAB0115", f"`grad` meets {what}, which has no derivative here", node.span, help=help
        )


def broadcasts(node: Node) -> bool:
    """Whether a gradient comes in the shape of the result, to which operands were broadcast."""
    return node.op in RULES or node.op in ("rms_norm", "layer_norm")
