"""`small <= large` as an obligation."""

from __future__ import annotations

from gabc.dims import Dim
from gabc.ops.base import Call


def require_at_most(call: Call, small: Dim, large: Dim, code: str, message: str, at: str) -> None:
    """Refused with `code` where two constants refute it; every size is at least 1.

    Otherwise stated as an equation, which the prover can hold: `min(small, large) = small`.
    """
    low, high = small.as_int(), large.as_int()
    if low is not None and low <= 1:
        return
    if low is not None and high is not None:
        if low > high:
            raise call.fail(code, f"{message}: the axis has size {high}", at=at)
        return
    smaller = Dim.apply("min", small, large)
    if smaller == large and small != large:
        raise call.fail(code, f"{message}, and the axis has size `{large}`", at=at)
    call.require_equal(smaller, small, f"{message}, and the axis has size `{large}`", at)
