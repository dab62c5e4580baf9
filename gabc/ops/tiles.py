"""The Triton text of primitives, for generated kernels (`gabc.codegen.kernels`).

A tile is [rows, columns] in float32 or bool, [rows, 1] or [1, columns] where it is the same along
an axis. `tile` stands for `gabc.kernels.generated.tile`, which has what Triton lacks; `in_width`
masks the columns of a tile that exist, and `WIDTH` is their number in a whole row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.graph.nodes import Value
from gabc.graph.pycode import Code, Precedence, binary
from gabc.graph.static import Literal

if TYPE_CHECKING:
    from gabc.ops.base import Lowering

TILES: Mapping[str, str] = {
    **{name: f"tl.{name}" for name in ("exp", "log", "sqrt", "sin", "cos", "erf", "sigmoid")},
    **{name: f"tl.{name}" for name in ("abs", "floor", "ceil", "rsqrt")},
    **{name: f"tile.{name}" for name in ("expm1", "log1p", "tanh", "sign", "square", "relu")},
    **{name: f"tile.{name}" for name in ("silu", "softplus", "logsigmoid", "elu", "reciprocal")},
}
"""The functions of one element. `round` has none: Triton cannot round halves to even."""

_POWERS: Mapping[float, str] = {
    2: "tile.square({x})",
    3: "tile.cube({x})",
    4: "tile.square(tile.square({x}))",
    -1: "tile.reciprocal({x})",
    -2: "tile.reciprocal(tile.square({x}))",
    0.5: "tl.sqrt({x})",
    1.5: "tl.sqrt(tile.cube({x}))",
    -0.5: "tl.rsqrt({x})",
    -1.5: "tl.rsqrt(tile.cube({x}))",
}

ROW_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "sum": (),
    "mean": ("WIDTH",),
    "max": (),
    "min": (),
    "logsumexp": (),
    "softmax": (),
    "log_softmax": (),
    "rms_norm": ("WIDTH",),
    "layer_norm": ("WIDTH",),
}
"""What reads a whole row, and what its function is given besides the tile and `in_width`."""


def tile_of(lowering: Lowering, function: str | None, *names: str) -> Code | None:
    """`function(a, b)` of the arguments called `names`."""
    if function is None:
        return None
    return Code(f"{function}({', '.join(lowering.code(name).text for name in names)})")


def as_number(lowering: Lowering, name: str) -> Code:
    """An operand as floats: a mask is 1 where it holds, else 0."""
    code = lowering.code(name)
    is_mask = isinstance(lowering.argument(name), Value) and lowering.type(name).kind == "bool"
    return Code(f"{code.within(Precedence.ATOM)}.to(tl.float32)") if is_mask else code


def power(lowering: Lowering) -> Code | None:
    """Of a small whole or half exponent, or a positive base; Triton has no other power."""
    base, exponent = lowering.argument("a"), lowering.argument("b")
    if isinstance(exponent, Literal) and isinstance(exponent.value, (int, float)):
        x = lowering.code("a")
        if exponent.value == 1:
            return x
        text = _POWERS.get(exponent.value)
        return None if text is None else Code(text.format(x=x.text))
    if isinstance(base, Literal) and isinstance(base.value, (int, float)) and base.value > 0:
        scale = math.log2(base.value)
        inner = lowering.code("b")
        if scale != 1.0:
            inner = binary("*", Code(repr(scale)), inner)
        return Code(f"tl.exp2({inner.text})")
    return None


def row_tile(lowering: Lowering, name: str) -> Code | None:
    """A function of whole rows: along the last axis, and without a mask."""
    if name not in ROW_FUNCTIONS or lowering.given("mask") or not _is_last_axis(lowering):
        return None
    args = [lowering.code("x").text, "in_width", *ROW_FUNCTIONS[name]]
    if lowering.given("eps"):
        args.append(lowering.code("eps").text)
    code = Code(f"tile.row_{name}({', '.join(args)})")
    if lowering.given("weight"):
        code = binary("*", code, lowering.code("weight"))
    return binary("+", code, lowering.code("bias")) if lowering.given("bias") else code


def _is_last_axis(lowering: Lowering) -> bool:
    axis = lowering.argument("axis")
    return axis is None or axis in (-1, lowering.type("x").rank - 1)
