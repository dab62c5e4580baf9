"""The operations of a group as statements: of plain torch, or of Triton on tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gabc.codegen.hints import hint_of
from gabc.codegen.layout import INDENT, WIDTH, Line
from gabc.codegen.lowering import NodeLowering
from gabc.codegen.names import local_name
from gabc.dims import Dim
from gabc.graph.names import unused
from gabc.graph.nodes import Node, Value
from gabc.graph.pycode import Code, binary, unary
from gabc.graph.static import Apply, Literal, Static, evaluate, names, render
from gabc.ops import PRIMITIVES
from gabc.passes.derive import WIDTH as ROW

INLINE_WIDTH = 60
"""The longest expression that is put inside another."""


@dataclass
class Statements:
    """Statements being written; a value has a variable, or waits to be put into its one use.

    `width` is the code of a row's size, `numbers` the parameters that hold static numbers.
    """

    level: int
    width: str
    numbers: Mapping[Static, str]
    require: Callable[[str], str]
    is_triton: bool
    taken: set[str]
    codes: dict[Value, Code] = field(default_factory=dict)
    pending: set[Value] = field(default_factory=set)
    hints: dict[Value, Node] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    # ---------------------------------------------------------------- what lowering may ask (Scope)

    @property
    def time(self) -> Dim | None:
        return None

    def code(self, value: Value) -> Code:
        return self.codes[value]

    def static(self, static: Static) -> Code:
        """A parameter, a number, or arithmetic of both."""
        if static in self.numbers:
            return Code(self.numbers[static])
        if static == ROW:
            return Code(self.width)
        if not any(names(static)):
            value = evaluate(static, {})
            assert isinstance(value, (int, float))
            is_int = isinstance(value, int) and not isinstance(value, bool)
            return render(Literal(float(value) if self.is_triton and is_int else value))
        match static:
            case Apply("neg", (a,)):
                return unary("-", self.static(a))
            case Apply("+" | "-" | "*" | "/" as op, (a, b)):
                return binary(op, self.static(a), self.static(b))
        raise AssertionError(f"{static} is no number of this kernel")

    def dim(self, dim: Dim) -> Code:
        return Code(self.width)

    def like(self) -> Code | None:
        return next(
            (code for value, code in self.codes.items() if value.type.kind == "float"), None
        )

    # ---------------------------------------------------------------- statements

    def name(self, value: Value, name: str) -> None:
        """Let a variable hold a value: an operand."""
        self.codes[value] = Code(name)
        self.taken.add(name)

    def write(self, nodes: Iterable[Node], wanted: Iterable[Value]) -> None:
        """The operations that `wanted` needs."""
        nodes, wanted = tuple(nodes), tuple(wanted)
        counts = uses(nodes, wanted)
        for node in nodes:
            if counts[node.output] and node.output not in self.codes:
                self._define(node, self._lowered(node), counts[node.output])
        for value in dict.fromkeys(wanted):
            if counts[value] > 1 and value in self.pending:
                self.settle(value)

    def returned(self, values: Iterable[Value]) -> None:
        """`return a, b`, on one line."""
        values = tuple(values)
        while True:
            text = f"return {', '.join(self.codes[value].text for value in values)}"
            waiting = [value for value in values if value in self.pending]
            if not waiting or len(INDENT) * self.level + len(text) <= WIDTH:
                self.lines.append(Line(text, self.level))
                return
            self.settle(max(waiting, key=lambda value: len(self.codes[value].text)))

    def settle(self, value: Value) -> None:
        """Give a waiting expression a variable."""
        node = self.hints[value]
        name = unused(local_name(value.name or hint_of(node)), self.taken)
        note = "" if value.name == "" else str(value.type)
        self.lines.append(Line(f"{name} = {self.codes[value].text}", self.level, node.span, note))
        self.pending.discard(value)
        self.name(value, name)

    def _define(self, node: Node, code: Code, count: int) -> None:
        output = node.output
        self.codes[output] = code
        self.hints[output] = node
        self.pending.add(output)
        is_trivial = code.text.isidentifier()
        if not is_trivial and (output.name or count > 1 or len(code.text) > INLINE_WIDTH):
            self.settle(output)

    def _lowered(self, node: Node) -> Code:
        operands = list(dict.fromkeys(node.operands()))
        while True:
            lowering = NodeLowering(node, self)
            primitive = PRIMITIVES[node.op]
            code = primitive.tile(lowering) if self.is_triton else primitive.lower(lowering)
            assert code is not None, node.op
            repeated = [
                value for value in operands if value in self.pending and lowering.asked[value] > 1
            ]
            waiting = [value for value in operands if value in self.pending]
            if repeated:
                self.settle(repeated[0])
            elif waiting and not self._fits(node, code):
                self.settle(max(waiting, key=lambda value: len(self.codes[value].text)))
            else:
                return code

    def _fits(self, node: Node, code: Code) -> bool:
        """Whether the statement that assigns the result would fit on a line."""
        name = node.output.name or hint_of(node)
        return len(INDENT) * self.level + len(name) + len("_99 = ") + len(code.text) <= WIDTH


def uses(nodes: tuple[Node, ...], wanted: Iterable[Value]) -> Counter[Value]:
    """How often each value is needed, by the operations that are and by whoever wants some."""
    counts = Counter(wanted)
    for node in reversed(nodes):
        if counts[node.output]:
            counts.update(dict.fromkeys(node.operands(), 1))
    return counts
