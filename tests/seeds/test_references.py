"""The references against figures and implementations that are not ours."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from torch import Tensor

from . import (
    reference_gla,
    reference_gpt2,
    reference_mamba2,
    reference_retnet,
    reference_rwkv6,
    reference_ttt,
)
from .plain import rms_norm, sample, split_heads

SEEDS = {
    "gpt2": reference_gpt2,
    "mamba2": reference_mamba2,
    "retnet": reference_retnet,
    "rwkv6": reference_rwkv6,
    "ttt": reference_ttt,
}

# Parameters per block at D = 128, 256, 512, 768, measured on the Genesys seeds (arXiv 2506.20249);
# its TTT does not run at 512 and 768.
PUBLISHED = {
    "gpt2": (213_760, 853_504, 3_214_336, 7_082_496),
    "mamba2": (236_556, 865_816, 3_307_056, 7_325_256),
    "retnet": (229_664, 918_080, 3_277_952, 7_079_616),
    "rwkv6": (232_000, 676_992, 2_205_952, 4_586_880),
    "ttt": (194_708, 774_420),
}

each_reference = pytest.mark.parametrize(
    "reference", [pytest.param(m, id=n) for n, m in (SEEDS | {"gla": reference_gla}).items()]
)


def random_input(length: int, width: int = 128, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SEEDS)
def test_parameters_per_block_are_the_published_ones(name: str) -> None:
    for width, expected in zip((128, 256, 512, 768), PUBLISHED[name], strict=False):
        assert sum(math.prod(shape) for shape in SEEDS[name].shapes(width).values()) == expected


@each_reference
def test_output_ignores_the_future_and_the_length(reference: ModuleType) -> None:
    parameters = sample(reference.shapes(128), seed=0, scale=0.1)
    x = random_input(19)
    y = reference.block(x, parameters)
    for length in (1, 6, 16, 17):
        torch.testing.assert_close(reference.block(x[:, :length], parameters), y[:, :length])


@each_reference
def test_every_past_position_is_seen(reference: ModuleType) -> None:
    parameters = sample(reference.shapes(128), seed=1, scale=0.1)
    both = random_input(18, batch=2)
    x, other = both[:1], both[1:]
    y = reference.block(x, parameters)[:, -1]
    for position in range(18):
        changed = x.clone()
        changed[:, position] = other[:, position]
        assert (reference.block(changed, parameters)[:, -1] - y).abs().max() > 1e-9


@each_reference
def test_rows_of_the_batch_are_independent(reference: ModuleType) -> None:
    parameters = sample(reference.shapes(128), seed=2, scale=0.1)
    x = random_input(17, batch=3)
    alone = torch.cat([reference.block(row[None], parameters) for row in x])
    torch.testing.assert_close(reference.block(x, parameters), alone)


@each_reference
def test_every_parameter_has_a_gradient(reference: ModuleType) -> None:
    drawn = sample(reference.shapes(128), seed=3, scale=0.1)
    if reference is reference_ttt:  # a scale below zero is clamped and has no gradient
        drawn["ttt.step_scale"] = drawn["ttt.step_scale"].abs() + 0.1
    parameters = {name: p.requires_grad_() for name, p in drawn.items()}
    reference.block(random_input(18), parameters).pow(2).mean().backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_retention_has_its_recurrent_form() -> None:
    """Equation (6) of arXiv 2307.08621 gives what equation (5) gives."""
    width, heads = 128, reference_retnet.HEADS
    own = sample(reference_retnet.shapes(width), seed=6)
    x = random_input(20, width)
    angle = torch.arange(20.0, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(8) / 8)

    def turned(name: str) -> Tensor:
        y = (x @ own[f"retention.{name}.weight"].T).view(2, 20, heads, 8, 2)
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        even, odd = y[..., 0], y[..., 1]
        return torch.stack([even * c - odd * s, odd * c + even * s], -1).flatten(-2)

    q, k = turned("wq"), turned("wk")
    v = (x @ own["retention.wv.weight"].T).view(2, 20, heads, 32)
    gamma = 1 - torch.exp2(-5 - torch.arange(heads, dtype=torch.float64))
    state = torch.zeros(2, heads, 16, 32, dtype=torch.float64)
    outputs = []
    for t in range(20):
        state = gamma[:, None, None] * state + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state) / 4)
    o = rms_norm(torch.stack(outputs, 1), own["retention.head_norm.weight"], 1e-5).flatten(2)
    gate = torch.nn.functional.silu(x @ own["retention.wg.weight"].T)
    expected = (gate * o) @ own["retention.wo.weight"].T
    torch.testing.assert_close(reference_retnet.retention(x, own), expected)


def test_rwkv6_recurrence_is_a_sum_over_the_past() -> None:
    """o_t = r_t (diag(u) k_t v_t + sum_{s<t} diag(prod_{s<j<t} w_j) k_s v_s), in the time mix."""
    own = sample(reference_rwkv6.shapes(128), seed=7)
    x = random_input(9)
    blends = reference_rwkv6.shifted(x, own)
    r, k, v = (
        split_heads((blend @ own[f"time_mix.{name}.weight"].T), 4)
        for blend, name in zip(blends[:3], ("wr", "wk", "wv"), strict=True)
    )
    d = reference_rwkv6.lora(blends[3], own, "time_mix.decay") + own["time_mix.decay_base"]
    log_w = -split_heads(torch.exp(d), 4)
    o = torch.zeros_like(v)
    for t in range(9):
        now = (r[:, t] * own["time_mix.bonus"] * k[:, t]).sum(-1, keepdim=True)
        o[:, t] = now * v[:, t]
        for s in range(t):
            decay = torch.exp(log_w[:, s + 1 : t].sum(1))
            o[:, t] += (r[:, t] * decay * k[:, s]).sum(-1, keepdim=True) * v[:, s]
    mean, deviation = o.mean(-1, keepdim=True), o.var(-1, keepdim=True, unbiased=False)
    o = (o - mean) / torch.sqrt(deviation + 1e-5) * own["time_mix.head_norm.weight"]
    o = (o + own["time_mix.head_norm.bias"]).flatten(2)
    gate = torch.nn.functional.silu(reference_rwkv6.lora(blends[4], own, "time_mix.gate"))
    expected = (gate * o) @ own["time_mix.wo.weight"].T
    torch.testing.assert_close(reference_rwkv6.time_mix(x, own), expected)


def test_ttt_runs_where_the_published_seed_fails() -> None:
    for width in (512, 768):
        y = reference_ttt.block(
            random_input(18, width, batch=1), sample(reference_ttt.shapes(width), 8, 0.05)
        )
        assert y.shape == (1, 18, width)
        assert torch.isfinite(y).all()
