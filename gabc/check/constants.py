"""`constants_of`: what neither the input of a unit nor a trained parameter can change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, Graph, Node, Value
from gabc.graph.static import Apply, Literal, Ref, StaticFault, UnknownStatic, evaluate
from gabc.syntax.source import Span

_GATES = frozenset({"sigmoid", "softmax", "softplus", "tanh"})
_VIEWS = frozenset({"rearrange", "repeat", "index", "split", "f32", "float", "detach", "reduce"})
_KEEP_ZERO = _VIEWS | {"neg", "sum", "mean", "cumsum", "shift", "tanh", "relu", "sin", "square"}
_PRODUCTS = frozenset({"mul", "matmul", "einsum"})


@dataclass(frozen=True, slots=True)
class ConstantFactor:
    """A place where a constant stands for what should depend on something."""

    span: Span
    what: str
    help: str


@dataclass(eq=False)
class Constants:
    """`absorbed` are nodes that do not depend on all their operands, with those that decide them.

    `places` has the span of every node that could be a finding, `found` those that are.
    """

    absorbed: dict[Node, tuple[Value, ...]] = field(default_factory=dict)
    places: set[Span] = field(default_factory=set)
    found: list[ConstantFactor] = field(default_factory=list)


def constants_of(instance: Instance, graph: Graph) -> Constants:
    """Follow constants and zeros forward through the graph of an instance."""
    walk = _Walk(instance)
    walk.nodes(graph.nodes)
    return walk.result


@dataclass(eq=False)
class _Walk:
    instance: Instance
    constant: set[Value] = field(default_factory=set)
    zero: set[Value] = field(default_factory=set)
    gates: set[Value] = field(default_factory=set)
    """Constants that a gate's function has made."""
    result: Constants = field(default_factory=Constants)

    def nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.op == "param":
                self._param(node)
            elif node.region is not None:
                self._region(node)
            elif node.op not in ("call", "coalesce"):
                self._primitive(node)

    def _param(self, node: Node) -> None:
        declared = next(p for p in self.instance.params if p.name == node.args["name"])
        if not declared.is_buffer:
            return
        self.constant.add(node.output)
        inner = _Walk(self.instance)
        inner.nodes(declared.init.nodes)
        if declared.init.results[0] in inner.zero:
            self.zero.add(node.output)

    def _region(self, node: Node) -> None:
        """States and what an attention block binds are no constants; captured values may be."""
        assert node.region is not None
        inputs = node.args.get("inputs", ())
        if isinstance(inputs, tuple):
            for outer, inner in zip(inputs, node.region.inputs, strict=False):
                for known in (self.constant, self.zero, self.gates):
                    if outer in known:
                        known.add(inner)
        self.nodes(node.region.nodes)

    def _primitive(self, node: Node) -> None:
        operands = list(node.operands())
        if all(operand in self.constant for operand in operands):
            self.constant.update(node.outputs)
            if operands and (
                node.op in _GATES or (node.op in _VIEWS and operands[0] in self.gates)
            ):
                self.gates.update(node.outputs)
        if self._is_zero(node, operands):
            self.zero.update(node.outputs)
            self.constant.update(node.outputs)
        if node.op in _PRODUCTS:
            self._product(node, operands)
        elif node.op == "softmax":
            self._softmax(node)

    def _is_zero(self, node: Node, operands: Sequence[Value]) -> bool:
        match node.op:
            case "zeros":
                return True
            case "spread":
                return self._is_nought(node.args["value"])
            case "sub":
                return node.args["a"] is node.args["b"]
            case "concat" | "stack":
                return all(operand in self.zero for operand in operands)
            case op if op in _PRODUCTS:
                return any(self._is_nought(part) for part in _factors(node))
            case op if op in _KEEP_ZERO:
                return bool(operands) and operands[0] in self.zero
        return False

    def _is_nought(self, argument: Argument) -> bool:
        if isinstance(argument, Value):
            return argument in self.zero
        if isinstance(argument, (Literal, Ref, Apply)):
            try:
                return evaluate(argument, self.instance.env) == 0
            except (UnknownStatic, StaticFault):
                return False
        return False

    def _product(self, node: Node, operands: Sequence[Value]) -> None:
        varying = [operand for operand in operands if operand not in self.constant]
        if not varying:
            return
        self.result.places.add(node.span)
        if node.output in self.zero:
            zeros = tuple(operand for operand in operands if operand in self.zero)
            self.result.absorbed[node] = zeros
            text = "this product is always 0: one of its factors is"
            help = "drop the product, or make the factor a `param` (zeros are a fine initial value)"
        elif any(operand in self.gates for operand in operands):
            text = "a factor of this product is the same for every input and is not trained"
            help = "compute the gate from `X`, or make what is in it a `param`"
        else:
            return
        self.result.found.append(ConstantFactor(node.span, text, help))

    def _softmax(self, node: Node) -> None:
        x, axis = node.args["x"], node.args["axis"]
        if not isinstance(x, Value) or not isinstance(axis, int) or x in self.constant:
            return
        self.result.places.add(node.span)
        if node.args.get("mask") is not None:
            return
        try:
            size = self.instance.size(x.type.dims[axis])
        except (KeyError, ValueError):
            return  # known at the call only
        if size != 1:
            return
        self.constant.add(node.output)
        self.gates.add(node.output)
        self.result.absorbed[node] = ()
        self.result.found.append(
            ConstantFactor(
                node.span,
                f"this softmax is 1 whatever it is given: its axis {axis} has one element",
                "take the softmax over the axis of the alternatives; `sigmoid` gates one value",
            )
        )


def _factors(node: Node) -> Iterator[Argument]:
    for argument in node.args.values():
        if isinstance(argument, tuple):
            yield from argument
        else:
            yield argument
