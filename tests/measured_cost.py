"""What a compiled design costs, counted while it runs: FLOPs, saved tensors, kernels."""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from gabc.graph.instance import Stack
from gabc.runtime.model import build

VOCAB = 101


@dataclass(frozen=True)
class Measured:
    """FLOPs as torch's counter has them, and the bytes autograd keeps for the backward pass.

    `is_fused`: attention ran in the fused kernel, whose backward computes the scores again.
    """

    forward: int
    training: int
    saved: int
    is_fused: bool


@dataclass(frozen=True, eq=False)
class _Saved:
    tensor: Tensor


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _attention_backward(gradient: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, q, k, v))


def _convolution_backward(
    gradient: Any, x: Any, w: Any, _bias: Any, _s: Any, _p: Any, _d: Any, _t: Any, _o: Any,
    groups: int, mask: Any, **_: Any,
) -> int:  # fmt: skip
    """Torch's own formula takes the gradient of grouped weights for that of dense ones."""
    each = 2 * prod(gradient) * w[1] * w[2]
    return each * (mask[0] + mask[1])


_ATEN = torch.ops.aten
_FORMULAS = {
    # The CPU's fused attention is missing from torch's table; these are the formulas of CUDA's.
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    _ATEN.convolution_backward: _convolution_backward,
}


def _objective(model: nn.Module, tokens: Tensor) -> Tensor:
    """What training differentiates: a function of the logits, and the auxiliary losses."""
    if "return_losses" not in inspect.signature(type(model).forward).parameters:
        logits: Tensor = model(tokens)
        return logits.sum()
    logits, losses = model(tokens, return_losses=True)
    return logits.sum() + sum(losses.values())


def measure(stack: Stack, batch: int, length: int, optimised: bool = True) -> Measured:
    """One forward and one backward pass of the generated module."""
    model = build(stack, vocab_size=VOCAB, optimised=optimised)
    tokens = torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(0))
    held = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    packed: list[weakref.ref[_Saved]] = []

    def pack(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())  # a result as it is would hold what saved it
        packed.append(weakref.ref(saved))
        return saved

    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    with counter:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            objective = _objective(model, tokens)
        forward = counter.get_total_flops()
        # What belongs to a branch that nothing came of is gone by now.
        alive = [saved.tensor for ref in packed if (saved := ref()) is not None]
        storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in alive)}
        del alive
        objective.backward()
    counted = counter.get_flop_counts()["Global"]
    return Measured(
        forward,
        counter.get_total_flops(),
        sum(size for address, size in storages.items() if address not in held),
        any("attention" in str(operation) for operation in counted),
    )


_NO_KERNEL = (
    *("view", "_unsafe_view", "reshape", "as_strided", "alias", "detach", "expand", "permute", "t"),
    *(
        "transpose",
        "unsqueeze",
        "squeeze",
        "slice",
        "select",
        "split",
        "split_with_sizes",
        "unbind",
    ),
    *("empty", "empty_like", "new_empty"),
)


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.split("::")[1] not in _NO_KERNEL:
            self.count += 1
        return func(*args, **(kwargs or {}))


def kernels(stack: Stack, batch: int, length: int) -> int:
    """The operations of a forward pass that are no views."""
    model = build(stack, vocab_size=VOCAB)
    with torch.no_grad(), _Kernels() as mode:
        model(torch.zeros(batch, length, dtype=torch.int64))
    return mode.count
