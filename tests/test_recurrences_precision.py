"""Parallel forms of matrix states in bfloat16: what is filled in takes the precision beside it."""

from __future__ import annotations

import pytest
import torch
from designs import stack_of
from generator.blocks import block_nodes
from generator.compare import tokens_of
from torch import nn

from gabc.graph.instance import Stack
from gabc.passes import optimise
from gabc.runtime.model import build
from gabc.runtime.reference import ReferenceModel

FRAME = """
gab Root

unit Root(heads: int = 2) {{
    dim H = heads
    dim K = D / H
    w = Linear(D, 3 * D, bias=false)
    wg = Linear(D, H)
    wo = Linear(D, D, bias=false)
    param learned: [H, K] = normal(std=K ** -0.5)

    forward(X) {{
        m = 0.3 * rearrange(w(X), "b l (r h k) -> b l r h k", r=3, h=H)
        g = sigmoid(wg(X))
        y = scan(m, g) {{
            state S: [B, H, K, K] = 0.0
            q = m[:, 0]
            k = m[:, 1]
            e = m[:, 2]
{body}
        }}
        return X + wo(rearrange(y, "b l h k -> b l (h k)"))
    }}
}}
"""

READ = 'return einsum("b h k, b h k v -> b h v", q, S)'

STEPS = {
    "an update that only erases": (
        "delta_product",
        'S = S - g[..., None, None] * e[..., None] * einsum("b h k, b h k v -> b h v", e, S)'
        "[:, :, None, :]",
        'S = S + k[..., None] * (k - einsum("b h k, b h k v -> b h v", k, S))[:, :, None, :]',
        READ,
    ),
    "an erasure beside values that are one": (
        "delta_rule",
        'S = S - e[..., None] * einsum("b h k, b h k v -> b h v", e, S)[:, :, None, :] + '
        "k[..., None]",
        READ,
    ),
    "values that are one": (
        "linear_attention",
        "S = g[..., None, None] * S + k[..., None]",
        READ,
    ),
    "a value that is learned": (
        "linear_attention",
        "S = g[..., None, None] * S + k[..., None] * learned[:, None, :]",
        READ,
    ),
    "a query that is learned": (
        "linear_attention",
        "S = g[..., None, None] * S + k[..., None] * e[:, :, None, :]",
        'return einsum("h k, b h k v -> b h v", learned, S)',
    ),
}


def design(name: str) -> tuple[Stack, nn.Module]:
    _, *lines = STEPS[name]
    stack = stack_of(FRAME.format(body="\n".join(f"            {line}" for line in lines)), "8x1")
    return stack, build(stack, vocab_size=8, seed=1)


@pytest.mark.parametrize("name", STEPS)
def test_the_parallel_form(name: str) -> None:
    stack, _ = design(name)
    assert len(block_nodes(optimise(stack), STEPS[name][0])) == 1
    assert not block_nodes(optimise(stack), "scan")


@pytest.mark.parametrize("is_cast", [True, False], ids=["pure", "autocast"])
@pytest.mark.parametrize("name", STEPS)
def test_bfloat16(name: str, is_cast: bool) -> None:
    """Logits within the rounding of bfloat16 of the loop in float64."""
    stack, model = design(name)
    tokens = tokens_of(20, 8)
    state = {key: tensor.bfloat16().double() for key, tensor in model.state_dict().items()}
    meant = ReferenceModel(stack, state)(tokens)
    model.load_state_dict(state)
    if is_cast:
        found = model.bfloat16()(tokens)
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = model(tokens)
    assert found.dtype == torch.bfloat16
    assert (found - meant).norm() <= 2**-6 * meant.norm()


def test_what_is_filled_in_is_made_once() -> None:
    """For keys and values, which have one shape here."""
    stack, _ = design("an update that only erases")
    assert len(block_nodes(optimise(stack), "zeros")) == 1
