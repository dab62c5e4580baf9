"""Recognises causal softmax attention that is written out, and puts `attend` in its place.

    scores = einsum("b l h k, b m h k -> b h l m", q, k) * scale
    y = einsum("b h l m, b m h v -> b l h v", softmax(causal(scores), axis=-1), v)

What counts is which axes are contracted, never a name: any order of axes, `@` for `einsum`, one
head without an axis, keys shared by all heads, a bias, a soft cap, masks that compare positions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gabc.dims import Dim
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Argument, Graph, Node, Value
from gabc.graph.static import Apply, Literal, Static
from gabc.graph.types import ONE, TensorType
from gabc.passes.contractions import Contraction, contraction_of
from gabc.passes.masks import Reader, Window, integers_of, is_window_size, window_of
from gabc.passes.rewrite import ends, reads, rewrite_instances


def recognise_attention(stack: Stack) -> Stack:
    """The stack with every attention that is written out as an `attend`."""
    return rewrite_instances(stack, _graph)


def _graph(graph: Graph, instance: Instance) -> Graph:
    if not any(node.op == "softmax" for node in graph.nodes):
        return graph
    finder = _Finder(graph, instance)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend(finder.match(node) or (node,))
    return replace(graph, nodes=tuple(_needed(graph, nodes)))


def _needed(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """Without the scores and weights that nobody reads any more."""
    before = _read(graph)
    live = set(ends(graph))
    kept: list[Node] = []
    for node in reversed(nodes):
        # What nobody has read before is kept for another reason, such as the loss of a call.
        if not live.isdisjoint(node.outputs) or not any(before[v] for v in node.outputs):
            kept.append(node)
            live.update(reads(node))
    return kept[::-1]


def _read(graph: Graph) -> Counter[Value]:
    """How often each value is read."""
    count = Counter(ends(graph))
    for node in graph.nodes:
        count.update(reads(node))
    return count


_UNIT = Literal(1.0)


class _NoMatch(Exception):
    """This is no attention, or none that `attend` can express."""


@dataclass
class _Score:
    """`attend`'s options, as found on the way from the softmax to the product of q and k."""

    product: Contraction
    scale: Static = _UNIT
    options: dict[str, Argument] = field(default_factory=dict)


@dataclass(eq=False)
class _Finder:
    graph: Graph
    instance: Instance
    definitions: dict[Value, Node] = field(default_factory=dict)
    reads: Counter[Value] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            self.definitions.update(dict.fromkeys(node.outputs, node))
        self.reads = _read(self.graph)
        # A mask knows the scores by their shape only.
        shapes = [node.args["a"] for node in self.graph.nodes if node.op in ("causal", "masked")]
        self.reads.subtract(value for value in shapes if isinstance(value, Value))

    def match(self, node: Node) -> list[Node] | None:
        """The nodes that replace a product of attention weights and values."""
        mixing = contraction_of(node)
        if mixing is None:
            return None
        for mixed in (mixing, mixing.swapped()):
            try:
                return self._replaced(node, mixed)
            except _NoMatch:
                continue
        return None

    def _only_read_here(self, value: Value, *ops: str) -> Node:
        node = self.definitions.get(value)
        if node is None or node.op not in ops or self.reads[value] != 1:
            raise _NoMatch
        return node

    def _replaced(self, node: Node, mixing: Contraction) -> list[Node]:
        softmax = self._only_read_here(mixing.left, "softmax")
        scores, mask = softmax.args["x"], softmax.args["mask"]
        rank = mixing.left.type.rank
        if not isinstance(scores, Value) or not isinstance(mask, Value) or rank not in (3, 4):
            raise _NoMatch
        if softmax.args["axis"] not in (-1, rank - 1):
            raise _NoMatch
        reader = Reader(self.definitions, integers_of(self.graph, self.instance))
        window = window_of(mask, reader)
        if window is None or not (
            window.size is None or is_window_size(window.size, self.instance)
        ):
            raise _NoMatch
        score = self._score(scores)
        return _Attention(node, mixing, score, window).nodes()

    # ---------------------------------------------------------------- from the softmax back

    def _score(self, value: Value) -> _Score:
        """Bias, then soft cap, then scale, then the product: the order in which `attend` has them.

        A bias after the cap is added last, so it stands first here.
        """
        node = self.definitions.get(value)
        if node is not None and node.op == "add" and self.reads[value] == 1:
            for chain, other in (("a", "b"), ("b", "a")):
                inner, bias = node.args[chain], node.args[other]
                if isinstance(inner, Value) and isinstance(bias, Value):
                    try:
                        return self._with_bias(self._capped(inner), bias, value)
                    except _NoMatch:
                        continue
            raise _NoMatch
        return self._capped(value)

    def _with_bias(self, score: _Score, bias: Value, total: Value) -> _Score:
        if total.type.rank != 4 or bias.type.kind != "float":
            raise _NoMatch  # with a single head the bias would need an axis for it
        score.options["bias"] = bias
        return score

    def _capped(self, value: Value) -> _Score:
        """`c * tanh(score / c)`."""
        node = self.definitions.get(value)
        if node is None or node.op != "mul":
            return self._scaled(value)
        for tensor, number in (("a", "b"), ("b", "a")):
            inner, cap = node.args[tensor], node.args[number]
            if not isinstance(inner, Value) or not isinstance(cap, Static):
                continue
            tanh = self.definitions.get(inner)
            if tanh is None or tanh.op != "tanh" or self.reads[inner] != 1:
                continue
            argument = tanh.args["x"]
            assert isinstance(argument, Value)
            divided = self._only_read_here(argument, "div")
            scaled = divided.args["a"]
            if divided.args["b"] != cap or not isinstance(scaled, Value) or self.reads[value] != 1:
                raise _NoMatch
            score = self._scaled(scaled)
            score.options["softcap"] = cap
            return score
        return self._scaled(value)

    def _scaled(self, value: Value) -> _Score:
        """The product of q and k, times or divided by numbers."""
        node = self._only_read_here(value, "mul", "div", "einsum", "matmul")
        if node.op in ("einsum", "matmul"):
            product = contraction_of(node)
            if product is None:
                raise _NoMatch
            return _Score(product)
        places = (("a", "b"), ("b", "a")) if node.op == "mul" else (("a", "b"),)
        for tensor, number in places:
            inner, factor = node.args[tensor], node.args[number]
            if isinstance(inner, Value) and isinstance(factor, Static):
                score = self._scaled(inner)
                is_plain = score.scale == _UNIT and node.op == "mul"
                operator = "*" if node.op == "mul" else "/"
                score.scale = factor if is_plain else Apply(operator, (score.scale, factor))
                return score
        raise _NoMatch


@dataclass
class _Attention:
    """The parts found; their axes are checked and brought to the order of `attend`."""

    node: Node
    mixing: Contraction
    score: _Score
    window: Window
    before: list[Node] = field(default_factory=list)

    def nodes(self) -> list[Node]:
        product = self.score.product
        batch, *heads, query, key = self._weight_axes()
        for mine in (product, product.swapped()):
            try:
                q = self._operand(mine.left, mine.left_axes, batch, query, heads)
                k = self._operand(mine.right, mine.right_axes, batch, key, heads)
            except _NoMatch:
                continue
            break
        else:
            raise _NoMatch
        batch, *heads, query, key = self.mixing.left_axes
        v = self._operand(self.mixing.right, self.mixing.right_axes, batch, key, heads)
        if q.type.dims[2] != k.type.dims[2] and not k.type.dims[2].is_one:
            raise _NoMatch
        if k.type.dims[2] != v.type.dims[2]:
            raise _NoMatch
        return self._put(q, k, v, batch, heads, query)

    def _weight_axes(self) -> tuple[str, ...]:
        """The axes of the scores in the letters of their product, which must not turn them."""
        output = self.score.product.output_axes
        if len(output) != self.mixing.left.type.rank:
            raise _NoMatch
        return output

    def _operand(
        self, value: Value, axes: tuple[str, ...], batch: str, time: str, heads: list[str]
    ) -> Value:
        """A factor as [B, L, H, K]; without an axis for the heads it has one key head for all."""
        own = [axis for axis in heads if axis in axes]
        width = [axis for axis in axes if axis not in (batch, time, *heads)]
        if len(width) != 1 or len(axes) != len(own) + 3 or len(set(axes)) != len(axes):
            raise _NoMatch
        if not {batch, time} <= set(axes):
            raise _NoMatch
        wanted = (batch, time, *own, *width)
        if axes != wanted:
            value = self._rearranged(value, axes, wanted)
        if not own:
            b, length, k = value.type.dims
            value = self._new(
                "index",
                {"x": value, "items": (":", ":", None, ":")},
                value.type.with_dims((b, length, ONE, k)),
                value,
            )
        return value

    def _put(
        self, q: Value, k: Value, v: Value, batch: str, heads: list[str], query: str
    ) -> list[Node]:
        args: dict[str, Argument] = {"q": q, "k": k, "v": v, "scale": self.score.scale}
        args["window"] = self.window.size
        args |= dict.fromkeys(("sinks", "softcap", "bias", "segments"))
        args |= self.score.options
        result = self.node.output
        output = self.mixing.output_axes
        (width,) = (axis for axis in output if axis not in (batch, query, *heads))
        natural = (batch, query, *heads, width)
        if len(output) != len(natural):
            raise _NoMatch
        full = (*q.type.dims[:3], v.type.dims[3])
        type_ = result.type.with_dims(full)
        if heads and output == natural:
            return [*self.before, Node("attend", args, (result,), self.node.span)]
        y = self._new("attend", args, type_, result)
        if not heads:
            flat = result.type.with_dims((full[0], full[1], full[3]))
            y = self._new("index", {"x": y, "items": (":", ":", Dim.const(0), ":")}, flat, result)
        if output != natural:
            y = self._rearranged(y, natural, output)
        # The last node gives the value that others know.
        last = self.before.pop()
        return [*self.before, replace(last, outputs=(result,))]

    def _rearranged(self, value: Value, axes: tuple[str, ...], wanted: tuple[str, ...]) -> Value:
        dims = dict(zip(axes, value.type.dims, strict=True))
        pattern = f"{' '.join(axes)} -> {' '.join(wanted)}"
        type_ = value.type.with_dims(tuple(dims[axis] for axis in wanted))
        return self._new("rearrange", {"x": value, "pattern": pattern}, type_, value)

    def _new(self, op: str, args: dict[str, Argument], type_: TensorType, like: Value) -> Value:
        value = Value(type_, like.span, like.name)
        self.before.append(Node(op, args, (value,), self.node.span))
        return value
