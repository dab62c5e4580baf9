"""Matrix states one step after another, and arguments for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS, KEYS, VALUES = 2, 4, 5
DECAYS = {"head": (), "key": (KEYS,), "value": (VALUES,)}
EXTREME = (0.0, -1e5, -torch.inf, -0.1, -30.0)


def state_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
    l: Tensor | None = None,  # noqa: E741
    r: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S = exp(g) S + r (l^T S) + k v^T, read by q after the step or before it."""
    S = torch.zeros(*k[:, 0].shape, v.shape[-1], dtype=v.dtype) if initial is None else initial
    S = S.expand(*k[:, 0].shape, v.shape[-1])
    if log_decay is not None:
        widths = {"head": (), "key": k.shape[-1:], "value": v.shape[-1:]}
        log_decay = log_decay.expand(*k.shape[:3], *widths[decay])
    outputs = []
    for t in range(k.shape[1]):
        after = torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        if log_decay is None:
            after = after + S
        else:
            spread = {"head": "bh", "key": "bhk", "value": "bhv"}[decay]
            after = after + torch.einsum(f"{spread},bhkv->bhkv", log_decay[:, t].exp(), S)
        if l is not None and r is not None:
            after = after + torch.einsum("bhk,bhj,bhjv->bhkv", r[:, t], l[:, t], S)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S if read_before else after))
        S = after
    return torch.stack(outputs, 1), S


def state_arguments(length: int, decay: str | None, *, delta: bool = False) -> dict[str, Tensor]:
    """Float64: keys of length one where the delta rule needs them, gates between 0 and -1."""
    g = torch.Generator().manual_seed(length)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=g)

    rows = (2, length, HEADS)
    x = {"q": random(*rows, KEYS), "k": random(*rows, KEYS), "v": random(*rows, VALUES)}
    x["initial"] = random(2, HEADS, KEYS, VALUES)
    if decay is not None:
        x["log_decay"] = -random(*rows, *DECAYS[decay]).abs().clamp(max=1.0)
    if delta:
        x["l"] = F.normalize(random(*rows, KEYS), dim=-1)
        x["r"] = -random(*rows, 1).sigmoid() * x["l"] + 0.1 * random(*rows, KEYS)
    return x


def with_extreme_gates(x: dict[str, Tensor], values: tuple[float, ...] = EXTREME) -> None:
    g = torch.Generator().manual_seed(5)
    chosen = torch.randint(len(values), x["log_decay"].shape, generator=g)
    x["log_decay"] = torch.tensor(values, dtype=torch.float64)[chosen]
