"""How tightly expressions bind, as in the grammar."""

from __future__ import annotations

from gabc.syntax import tree

ANY = 0
# What may stand before a brace or an `if`: everything but `a if c else b`.
HEADER = 1
NEGATION = 4
SUM = 6
SIGN = 8
OPERAND = 10

_BINARY = {
    "??": 1,
    "or": 2,
    "and": 3,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 5),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/", "//", "%", "@"), 7),
    "**": 9,
}
# `a ?? b ?? c` and `a ** b ** c` group from the right, the others from the left.
RIGHT = ("??", "**")


def level(node: tree.Expr) -> int:
    """The higher, the tighter; `OPERAND` is a name, a literal, a call and the like."""
    match node:
        case tree.Conditional():
            return ANY
        case tree.Binary(_, operator, _, _):
            return _BINARY[operator]
        case tree.Unary(_, operator, _):
            return NEGATION if operator == "not" else SIGN
    return OPERAND


def is_chain(node: tree.Expr, operator: str) -> bool:
    """Whether `node` is `a + b`, to which a further `- c` belongs as one more term."""
    return isinstance(node, tree.Binary) and _BINARY[node.op] == _BINARY[operator]


def ends_in_attend(node: tree.Expr) -> bool:
    """Whether a brace behind `node` would be read as the block of an `attend(...)` without one."""
    while True:
        match node:
            case tree.Conditional(_, _, _, last) | tree.Binary(_, _, _, last):
                node = last
            case tree.Unary(_, _, last):
                node = last
            case tree.Call(_, tree.Name(_, "attend"), _, _, (), None):
                return True
            case _:
                return False
