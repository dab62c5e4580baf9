"""One method's statements: values get names or are inlined, operations become lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gabc.codegen.context import ClassContext
from gabc.codegen.hints import hint_of
from gabc.codegen.layout import INDENT, WIDTH, Line
from gabc.codegen.lowering import NodeLowering
from gabc.codegen.names import local_name
from gabc.codegen.statics import dim_code, literal_code, number_code
from gabc.codegen.uses import Uses
from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.names import unused
from gabc.graph.nodes import Node, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.static import Static
from gabc.ops import PRIMITIVES
from gabc.syntax.source import Span

INLINE_WIDTH = 85
"""The longest expression that is put inside another."""

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Pending:
    """An expression that waits to be put into the one operation that uses it."""

    code: Code
    span: Span
    hint: str

    def mentions(self, name: str) -> bool:
        return re.search(rf"(?<![\w.]){re.escape(name)}\b", self.code.text) is not None


@dataclass
class Body:
    """A method being written.

    `names` says how each value is called, `holders` which value a variable holds now, `remaining`
    how many uses of a value are still to come. A variable is assigned anew only when nothing needs
    what it holds.
    """

    context: ClassContext
    uses: Uses
    level: int = 2
    initialised: str = ""
    """The parameter whose initial value this is, in `init_parameters`."""
    owner: Instance | None = None
    """The instance in whose names that value is written, if it is another than the class's."""
    lines: list[Line] = field(default_factory=list)
    names: dict[Value, Code] = field(default_factory=dict)
    holders: dict[str, Value] = field(default_factory=dict)
    pending: dict[Value, Pending] = field(default_factory=dict)
    absent: set[Value] = field(default_factory=set)
    """Z reads that may be `None`."""
    locals: dict[str, str] = field(default_factory=dict)
    """Static names that are local variables of the method: `B`, `L` and the dims of the call."""
    sizes: dict[str, None] = field(default_factory=dict)
    """Those of them that are used."""
    keep: frozenset[str] = frozenset()
    """Variables that a loop being written reads again."""
    time: Dim | None = None
    losses: dict[str, list[Value]] = field(default_factory=dict)
    """The auxiliary losses of the calls so far, by name."""
    is_wide: bool = False
    """Whether a scan's body is being written, where floats are float32 at least."""
    remaining: Counter[Value] = field(init=False)

    def __post_init__(self) -> None:
        self.remaining = Counter(self.uses.count)

    # ---------------------------------------------------------------- what lowering may ask (Scope)

    def code(self, value: Value) -> Code:
        """How a value is written where it is used now."""
        if value in self.pending:
            return self.pending[value].code
        return self.names[value]

    def static(self, static: Static) -> Code:
        return number_code(static, self._resolve, self.require)

    def dim(self, dim: Dim) -> Code:
        return dim_code(dim, self._resolve, self.require, self.context.kinds)

    def require(self, name: str) -> str:
        return self.context.require(name)

    def like(self) -> Code | None:
        if self.initialised:
            return None
        for name, value in self.holders.items():
            if value.type.kind == "float" and value not in self.absent:
                return Code(name)
        for parameter in self.context.instance.params:
            if parameter.type.kind == "float":
                return Code(self.context.parameter(parameter.name))
        raise AssertionError(f"{self.context.instance.name} has no float tensor in scope")

    def _resolve(self, name: str) -> str:
        if name in self.locals:
            self.sizes[name] = None
            return self.locals[name]
        if self.owner is not None and not self.context.means_the_same(name, self.owner):
            return literal_code(self.owner.env[name])
        return self.context.attribute(name)

    # ---------------------------------------------------------------- names

    def take(self, value: Value, name: str, statement: str = "") -> str:
        """Let a free variable called `name`, or much like it, hold `value`.

        Expressions that wait and mention the variable are written first; they leave alone what the
        `statement` that assigns `value` still reads.
        """
        base = local_name(name)
        blocked = {variable for variable in self.holders if not self._is_free(variable)}
        chosen = unused(base, blocked | self.keep | self.context.reserved)
        waiting = [v for v, pending in self.pending.items() if pending.mentions(chosen)]
        if waiting:
            keep = self.keep
            self.keep = keep | {chosen} | set(_IDENTIFIER.findall(statement))
            for earlier in waiting:
                self.settle(earlier)
            self.keep = keep
        self.names[value] = Code(chosen)
        self.holders.pop(chosen, None)
        self.holders[chosen] = value
        return chosen

    def _is_free(self, variable: str) -> bool:
        return self.remaining[self.holders[variable]] == 0

    def fresh(self, name: str, besides: Iterable[str] = ()) -> str:
        """A variable of generated code's own, such as the list of a scan's results."""
        taken = {*self.holders, *self.keep, *self.context.reserved, *besides}
        return unused(local_name(name), taken)

    # ---------------------------------------------------------------- statements

    def emit(self, text: str, span: Span | None = None, note: str = "") -> None:
        self.lines.append(Line(text, self.level, span, note))

    def insert(self, at: int, text: str, span: Span | None = None) -> None:
        """A line in front of the line number `at`."""
        self.lines.insert(at, Line(text, self.level, span))

    def assign(self, value: Value, code: Code, span: Span, hint: str) -> None:
        """`name = code  # [B, L, D]`."""
        name = self.take(value, value.name or hint, code.text)
        self.emit(f"{name} = {code.text}", span, "" if self.initialised else str(value.type))

    def settle(self, value: Value, hint: str = "") -> None:
        """Give a waiting expression a variable after all."""
        pending = self.pending.pop(value)
        self.assign(value, pending.code, pending.span, hint or pending.hint)

    def atom(self, value: Value, hint: str = "") -> str:
        """A value as a variable (or attribute), settled first if it waits; counts as a use."""
        if value in self.pending:
            self.settle(value, hint)
        self.remaining[value] -= 1
        return self.names[value].text

    def use(self, value: Value) -> Code:
        """A value as an expression; counts as a use, after which a waiting expression is gone."""
        code = self.code(value)
        self.pending.pop(value, None)
        self.remaining[value] -= 1
        return code

    def define(self, node: Node, code: Code) -> None:
        """Let the node's results be `code`: inlined where they are used, or assigned."""
        output = node.output
        hint = "value" if self.initialised else hint_of(node)
        if len(node.outputs) > 1:
            self._assign_several(node, code)
        elif (
            not output.name
            and self.uses.count[output] == 1
            and output not in self.uses.captured
            and len(code.text) <= INLINE_WIDTH
        ):
            self.pending[output] = Pending(code, node.span, hint)
        else:
            self.assign(output, code, node.span, hint)

    def define_each(self, node: Node, values: list[Value], codes: list[str]) -> None:
        """Let several results be one expression each."""
        if len(values) == 1:
            self.define(Node(node.op, node.args, (values[0],), node.span), Code(codes[0]))
            return
        for value, code in zip(values, codes, strict=True):
            self.assign(value, Code(code), node.span, hint_of(node))

    def _assign_several(self, node: Node, code: Code) -> None:
        targets = [
            self.take(value, value.name or hint_of(node), code.text)
            if self.uses.count[value]
            else "_"
            for value in node.outputs
        ]
        types = [str(value.type) for value in node.outputs if self.uses.count[value]]
        note = types[0] if len(set(types)) == 1 else ", ".join(types)
        self.emit(f"{', '.join(targets)} = {code.text}", node.span, note)

    # ---------------------------------------------------------------- operations

    def primitive(self, node: Node) -> Code:
        primitive = PRIMITIVES[node.op]
        operands = list(dict.fromkeys(node.operands()))
        while True:
            lowering = NodeLowering(node, self, self.initialised)
            code = primitive.lower(lowering)
            waiting = [value for value in operands if value in self.pending]
            repeated = [
                value
                for value in waiting
                if lowering.asked[value] > 1 or code.text.count(self.code(value).text) > 1
            ]
            if repeated:
                self.settle(repeated[0])
            elif waiting and not self.fits(node, code):
                self.settle(max(waiting, key=lambda value: len(self.code(value).text)))
            else:
                break
        self.consume(node)
        return code

    def fits(self, node: Node, code: Code) -> bool:
        """Whether the statement that assigns the node's results would fit on a line."""
        if self.initialised:
            return len(code.text) <= INLINE_WIDTH
        names = [value.name or hint_of(node) for value in node.outputs]
        length = len(", ".join(names)) + len(" = ") + len(code.text)
        return len(INDENT) * self.level + length <= WIDTH

    def consume(self, node: Node) -> None:
        """Count the uses of a node's operands, and drop those that were put into it."""
        for value in node.operands():
            self.remaining[value] -= 1
            self.pending.pop(value, None)

    def coalesce(self, node: Node) -> Code:
        value, default = node.args["value"], node.args["default"]
        assert isinstance(value, Value)
        assert isinstance(default, Value)
        if value not in self.absent:
            self.remaining[default] -= 1
            self.pending.pop(default, None)
            return self.use(value)
        entry = self.atom(value)
        other = self.use(default)
        text = f"{other.within(Precedence.OR)} if {entry} is None else {entry}"
        return Code(text, Precedence.CONDITIONAL)
