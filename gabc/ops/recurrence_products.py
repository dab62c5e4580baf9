"""Several delta rules a step in parallel form. Authors write `scan`, `gabc.passes` this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.graph.types import TensorType
from gabc.ops.base import Call
from gabc.ops.recurrence import DeltaRule

if TYPE_CHECKING:
    import torch


class DeltaProduct(DeltaRule):
    """`l`, `r`, `k` [B, L, N, H, K] and `v` [B, L, N, H, V], one of each for every update of a
    step; the rest is as in the delta rule."""

    name = "delta_product"
    doc = (
        "The delta rule several times a step: S = exp(g) * S + r[0] (l[0]^T S) + k[0] v[0]^T, then "
        "S = S + r[j] (l[j]^T S) + k[j] v[j]^T for the other updates; o = q^T S (DeltaProduct)."
    )

    def shape(self, call: Call) -> TensorType:
        batch, length, heads, keys = call.type("q").dims
        updates, values = call.type("v").dims[2], call.type("v").dims[4]
        message = f"`{self.name}` is given parts that do not fit"
        for name in ("l", "r", "k", "v"):
            wanted = (batch, length, updates, heads, values if name == "v" else keys)
            for found, expected in zip(call.type(name).dims, wanted, strict=True):
                call.require_equal(found, expected, message, name)
        return TensorType("float", (batch, length, heads, values))

    def step(
        self, S: torch.Tensor, decay: torch.Tensor, at: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        for j in range(at["k"].shape[1]):
            update = {name: at[name][:, j] for name in ("l", "r", "k", "v")}
            S = super().step(S, decay if j == 0 else decay.new_ones(()), update)
        return S


PRIMITIVES: tuple[DeltaProduct, ...] = (DeltaProduct(),)
