"""Recurrences in parallel form, and the spreading of initial values."""

from __future__ import annotations

import pytest
import torch

from gabc.ops import PRIMITIVES
from gabc.runtime.functional.linear_attention import linear_attention

from .harness import T, check

Q, K, V = T("B L H K"), T("B L H K"), T("B L H V")
NEGATIVE = {"lo": -3.0, "hi": 0.0}


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize(
    ("decay", "per_key"), [("H", False), ("B L H", False), ("H K", True), ("B L H K", True)]
)
def test_linear_attention(decay: str, per_key: bool, read_before: bool) -> None:
    args = {"q": Q, "k": K, "v": V, "log_decay": T(decay, **NEGATIVE)}
    check("linear_attention", {**args, "per_key": per_key, "read_before": read_before})


@pytest.mark.parametrize("length", [1, 15, 16, 17, 64, 65, 130])
@pytest.mark.parametrize("per_key", [False, True])
@pytest.mark.parametrize("extreme", [0.0, -1e5, float("-inf")])
def test_chunks_equal_the_loop_at_extreme_gates(length: int, per_key: bool, extreme: float) -> None:
    torch.manual_seed(length)
    q, k = (torch.randn(2, length, 3, 4, dtype=torch.float64) for _ in range(2))
    v = torch.randn(2, length, 3, 5, dtype=torch.float64)
    g = -3.0 * torch.rand(2, length, 3, *([4] if per_key else []), dtype=torch.float64)
    g[0, length // 2] = extreme
    expected = PRIMITIVES["linear_attention"].reference(
        {"q": q, "k": k, "v": v, "log_decay": g, "per_key": per_key, "read_before": False}
    )
    actual = linear_attention(q, k, v, g, per_key=per_key)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [1.5, T("K"), T("H 1")])
def test_spread(value: float | T) -> None:
    check("spread", {"value": value, "dims": ("H", "K")})
