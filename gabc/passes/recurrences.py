"""Recognises decayed outer products, S = diag(a) S + k v^T read by q, and puts the parallel form.

The step is decomposed as an affine map of its state, whatever it is called: a product of factors
that do not depend on the state, plus one outer product. A scan that does not fit stays a loop over
time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gabc.graph.instance import Stack
from gabc.graph.nodes import Argument, Graph, Node, Value
from gabc.ops.patterns_parse import parse_pattern
from gabc.passes.lift import CannotLift, Lifter, is_zero
from gabc.passes.rewrite import rewrite_graphs


def parallelise(stack: Stack) -> Stack:
    """The stack with every recognised recurrence in its parallel form."""
    return rewrite_graphs(stack, _graph)


def _graph(graph: Graph) -> Graph:
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend(_linear_attention(node) or (node,))
    if len(nodes) == len(graph.nodes) and all(
        new is old for new, old in zip(nodes, graph.nodes, strict=True)
    ):
        return graph
    return replace(graph, nodes=tuple(nodes))


class _NoMatch(Exception):
    """The step is no decayed outer product."""


def _linear_attention(node: Node) -> list[Node] | None:
    """The nodes that replace a scan, or `None` if it is another recurrence."""
    region = node.region
    if node.op != "scan" or region is None or node.args["chunk"] is not None:
        return None
    if len(region.carried) != 1 or len(region.results) != 1 or region.step is not None:
        return None
    if any(inner.op == "call" for inner in region.nodes):
        return None  # a call whose result nobody uses may have auxiliary losses
    inputs = node.args["inputs"]
    assert isinstance(inputs, tuple)
    carried = region.carried[0]
    if carried.current.type.rank != 4 or not is_zero(carried.initial):
        return None
    lifter = Lifter(region, tuple(value for value in inputs if isinstance(value, Value)))
    try:
        return _Match(lifter, carried.current, carried.next).replace(node, region.results[0])
    except (_NoMatch, CannotLift):
        return None


@dataclass
class _Match:
    lifter: Lifter
    before: Value
    after: Value

    def replace(self, scan: Node, result: Value) -> list[Node]:
        factor, outer = self._affine()
        log_decay, per_key = self._decay(factor)
        k, v = self._outer_product(outer)
        q, read_before = self._read(result)
        args: dict[str, Argument] = {
            "q": q,
            "k": self._full(k, 2),
            "v": self._full(v, 3),
            "log_decay": log_decay,
            "per_key": per_key,
            "read_before": read_before,
        }
        return [*self.lifter.nodes, Node("linear_attention", args, scan.outputs, scan.span)]

    def _node(self, value: Value, *ops: str) -> Node:
        node = self.lifter.definition(value)
        if node is None or node.op not in ops:
            raise _NoMatch
        return node

    def _affine(self) -> tuple[Value, Value]:
        """The factor of the state and the term added to it."""
        add = self._node(self.after, "add")
        for first, second in (("a", "b"), ("b", "a")):
            scaled, term = add.args[first], add.args[second]
            if not isinstance(scaled, Value) or not isinstance(term, Value):
                continue
            product = self.lifter.definition(scaled)
            if product is None or product.op != "mul":
                continue
            operands = product.args["a"], product.args["b"]
            for state, factor in (operands, operands[::-1]):
                if state is self.before and isinstance(factor, Value):
                    return factor, term
        raise _NoMatch

    def _decay(self, factor: Value) -> tuple[Value, bool]:
        """The logarithm of the factor, at all positions: [.., H] or, per key, [.., H, K].

        The factor is `exp(g)[..., None]` or `exp(g[..., None])`, with unit axes for V and maybe K.
        """
        outermost = self._node(factor, "index", "exp")
        inside = outermost.args["x"]
        assert isinstance(inside, Value)
        innermost = self._node(inside, "exp" if outermost.op == "index" else "index")
        places = outermost if outermost.op == "index" else innermost
        exponent, items = innermost.args["x"], places.args["items"]
        assert isinstance(exponent, Value)
        assert isinstance(items, tuple)
        if items == (*[":"] * (len(items) - 2), None, None):
            return self.lifter.lift(exponent), False
        if items == (*[":"] * (len(items) - 1), None):
            return self.lifter.lift(exponent), True
        raise _NoMatch

    def _outer_product(self, value: Value) -> tuple[Value, Value]:
        """k [B, H, K] and v [B, H, V] of k v^T."""
        node = self._node(value, "mul", "einsum")
        if node.op == "einsum":
            return self._einsum_outer(node)
        parts = node.args["a"], node.args["b"]
        for left, right in (parts, parts[::-1]):
            if isinstance(left, Value) and isinstance(right, Value):
                k = self._indexed(left, (":", ":", ":", None))
                v = self._indexed(right, (":", ":", None, ":"))
                if k is not None and v is not None:
                    return k, v
        raise _NoMatch

    def _indexed(self, value: Value, items: tuple[str | None, ...]) -> Value | None:
        node = self.lifter.definition(value)
        if node is None or node.op != "index" or node.args["items"] != items:
            return None
        inner = node.args["x"]
        return inner if isinstance(inner, Value) else None

    def _einsum_outer(self, node: Node) -> tuple[Value, Value]:
        inputs, output, values = _einsum(node)
        if len(values) != 2 or len(output) != 4:
            raise _NoMatch
        b, h, x, y = output
        for k, v in ((0, 1), (1, 0)):
            if inputs[k] == (b, h, x) and inputs[v] == (b, h, y):
                return values[k], values[v]
        raise _NoMatch

    def _read(self, result: Value) -> tuple[Value, bool]:
        """q, and whether it reads the state before the update."""
        node = self._node(result, "einsum")
        inputs, output, values = _einsum(node)
        if len(values) != 2:
            raise _NoMatch
        for state, query in ((0, 1), (1, 0)):
            if values[state] not in (self.before, self.after) or len(inputs[state]) != 4:
                continue
            b, h, x, y = inputs[state]
            if inputs[query] == (b, h, x) and output == (b, h, y):
                return self._full(values[query], 2), values[state] is self.before
        raise _NoMatch

    def _full(self, value: Value, axis: int) -> Value:
        """A factor [B, H, ..] at all positions, its last axis being that of the state.

        The parallel form does not stretch unit axes, as the product in the step does.
        """
        dims = self.before.type.dims
        wanted = (dims[0], dims[1], dims[axis])
        if value.type.rank != len(wanted):
            raise _NoMatch
        for dim, state in zip(value.type.dims, wanted, strict=True):
            if dim.is_one and not state.is_one:
                raise _NoMatch
        return self.lifter.lift(value)


def _einsum(node: Node) -> tuple[list[tuple[str, ...]], tuple[str, ...], list[Value]]:
    """The names of each input and of the output, and the tensors."""
    written, values = node.args["pattern"], node.args["xs"]
    assert isinstance(written, str)
    assert isinstance(values, tuple)
    pattern = parse_pattern(written)
    sides = [tuple(name for axis in side for name in axis.names) for side in pattern.inputs]
    output = tuple(name for axis in pattern.output for name in axis.names)
    return sides, output, [value for value in values if isinstance(value, Value)]
