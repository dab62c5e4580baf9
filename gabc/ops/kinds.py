"""Kinds of operands: what promotes to what, and the refusals that teach."""

from __future__ import annotations

from gabc.graph.nodes import Value
from gabc.graph.types import Kind, TensorType
from gabc.ops.base import Call

_ORDER: tuple[Kind, ...] = ("bool", "int", "float", "complex")
_PLURALS: dict[Kind, str] = {
    "bool": "bools",
    "int": "ints",
    "float": "floats",
    "complex": "complex numbers",
}

BOOL_TO_NUMBER = "write float(mask) for zeros and ones, or where(mask, a, b) to choose"
INT_TO_FLOAT = "write float(x) to make it a float"


def widest(*kinds: Kind) -> Kind:
    """The kind that the operands promote to: bool, int, float, complex in rising order."""
    return max(kinds, key=_ORDER.index)


def require_kind(
    call: Call, name: str, *allowed: Kind, help: str = "", symbol: str = ""
) -> TensorType:
    """The type of the argument `name`; refused (GAB0109) if its kind is none of `allowed`.

    `symbol` is what the author wrote where that is not the primitive's name. Without a `help`, the
    refusal says how a bool or an int becomes a float.
    """
    type_ = call.type(name)
    if type_.kind in allowed:
        return type_
    wanted = " or ".join(_PLURALS[kind] for kind in allowed)
    number = not isinstance(call.args[name], Value)
    actual = f"a static {type_.kind}" if number else str(type_)
    written = call.span_of(name).text
    raise call.fail(
        "GAB0109",
        f"`{symbol or call.primitive.name}` needs {wanted}, and `{written}` is {actual}",
        at=name,
        help=help or {"bool": BOOL_TO_NUMBER, "int": INT_TO_FLOAT}.get(type_.kind, ""),
        expected=wanted,
        actual=actual,
    )
