"""The reference interpreter against formulas written by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from designs import randomise, stack_of
from small_designs import DESIGNS
from torch import Tensor

from gabc.graph.instance import Stack
from gabc.runtime.model import build
from gabc.runtime.reference import ReferenceModel

VOCAB = 11
BATCH, LENGTH, WIDTH = 2, 7, 16


def reference_of(stack: Stack) -> ReferenceModel:
    return ReferenceModel(stack, randomise(build(stack, vocab_size=VOCAB).double()))


def stream(length: int = LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(BATCH, length, WIDTH, generator=generator, dtype=torch.float64)


def mixer(body: str, members: str = "") -> ReferenceModel:
    """A design of one block whose forward is `body`."""
    text = f"gab One\n\nunit One() {{\n{members}\n    forward(X) {{\n{body}\n    }}\n}}\n"
    return reference_of(stack_of(text, f"{WIDTH}x1"))


def block_parameters(model: ReferenceModel) -> dict[str, Tensor]:
    prefix = "blocks.0."
    found = model.parameters.items()
    return {name.removeprefix(prefix): t for name, t in found if name.startswith(prefix)}


def output(model: ReferenceModel, X: Tensor) -> Tensor:
    return model.block(0, X, {})[0]


def test_linear_layers_and_norm() -> None:
    model = reference_of(stack_of(DESIGNS["residual"], f"{WIDTH}x1"))
    p = block_parameters(model)

    def mlp(x: Tensor) -> Tensor:
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * p["norm.weight"]
        hidden = F.gelu(x @ p["mlp.up.weight"].T + p["mlp.up.bias"])
        return hidden @ p["mlp.down.weight"].T

    X = stream()
    first = X + mlp(X)
    torch.testing.assert_close(output(model, X), first + mlp(first))


@pytest.mark.parametrize("length", [1, 2, 5, 17])
def test_scan_is_causal_linear_attention(length: int) -> None:
    body = """
        return scan(X) {
            state S: [B, D, D] = 0.0
            S = S + X[:, :, None] * tanh(X)[:, None, :]
            return einsum("b k, b k v -> b v", X, S)
        }
    """
    X = stream(length)
    weights = torch.tril(X @ X.transpose(1, 2))
    torch.testing.assert_close(output(mixer(body), X), weights @ torch.tanh(X))


def test_a_state_read_before_its_update_is_that_of_the_step_before() -> None:
    body = """
        return scan(X) {
            state S: [B, D] = 3.0
            before = S
            S = X
            return before
        }
    """
    X = stream()
    shifted = torch.cat([torch.full_like(X[:, :1], 3.0), X[:, :-1]], dim=1)
    torch.testing.assert_close(output(mixer(body), X), shifted)


@pytest.mark.parametrize("length", [1, 4, 5, 11])
def test_chunks_carry_their_state(length: int) -> None:
    body = """
        return scan(X) chunk 4 {
            state S: [B, D] = 0.0
            y = cumsum(X, axis=1) + S[:, None]
            S = S + sum(X, axis=1)
            return y
        }
    """
    X = stream(length)
    torch.testing.assert_close(output(mixer(body), X), X.cumsum(1))


def test_t_counts_positions_and_starts_of_chunks() -> None:
    step = "return scan(X) { state S: [B, D] = 0.0  S = S + X  return S * 0.0 + t }"
    chunk = (
        "return scan(X) chunk 3 "
        "{ state S: [B, D] = 0.0  S = S + sum(X, axis=1)  return X * 0.0 + t }"
    )
    X = stream()
    expected = torch.arange(LENGTH, dtype=torch.float64)
    assert torch.equal(output(mixer(step), X)[0, :, 0], expected)
    assert torch.equal(output(mixer(chunk), X)[0, :, 0], expected // 3 * 3)


def test_attention_block() -> None:
    model = reference_of(stack_of(DESIGNS["attention_block"], f"{WIDTH}x1"))
    p = block_parameters(model)
    X = stream()
    heads, groups, width = 4, 2, 4

    def project(name: str, count: int) -> Tensor:
        y = X @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        return y.reshape(BATCH, LENGTH, count, width).transpose(1, 2)

    q = project("wq", heads)
    k, v = (project(name, groups).repeat_interleave(heads // groups, 1) for name in ("wk", "wv"))
    i, j = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)
    score = 0.5 * q @ k.transpose(2, 3) - p["slope"][:, None, None] * (i - j)
    keep = (j <= i) & ((i - j < 3) | (j < 1))
    weights = (5.0 * torch.tanh(score / 5.0)).masked_fill(~keep, -torch.inf).softmax(-1)
    y = (weights @ v).transpose(1, 2).flatten(2)
    expected = X + y @ p["wo.weight"].T + p["wo.bias"]
    torch.testing.assert_close(output(model, X), expected)


def test_a_query_without_keys_gives_zeros_and_finite_gradients() -> None:
    body = """
        q = X[:, :, None]
        y = attend(q, q, q) {
            keep = i - j > 0
        }
        return y[:, :, 0]
    """
    X = stream().requires_grad_()
    y = output(mixer(body), X)
    assert torch.equal(y[:, 0], torch.zeros_like(y[:, 0]))
    (gradient,) = torch.autograd.grad(y.square().sum(), X)
    assert gradient.isfinite().all()


def test_z_passes_from_block_to_block() -> None:
    model = reference_of(stack_of(DESIGNS["z"], f"{WIDTH}x2"))
    X, z = model.block(0, stream(), {})
    first = z["v_first"]
    p = model.parameters
    weight, bias = p["blocks.0.inner.wv.weight"], p["blocks.0.inner.wv.bias"]
    torch.testing.assert_close(first, stream() @ weight.T + bias)
    _, z = model.block(1, X, z)
    assert z["v_first"] is first


def test_logits() -> None:
    model = reference_of(stack_of(DESIGNS["slots"], f"{WIDTH}x1"))
    p = model.parameters
    tokens = torch.arange(VOCAB)[None]
    X = output(model, p["embedding.weight"][tokens] * 4.0)
    X = F.layer_norm(X, (WIDTH,), p["norm.weight"])
    expected = 5.0 * torch.tanh(X @ p["head.weight"].T / 5.0)
    torch.testing.assert_close(model(tokens), expected)


@pytest.mark.parametrize(
    ("name", "loss"),
    [("losses", "balance"), ("loss_names", "a"), ("losses_of_steps", "balance")],
)
def test_losses_are_those_of_the_compiled_model(name: str, loss: str) -> None:
    """Those of calls whose results nobody uses too, and of all steps of a scan."""
    stack = stack_of(DESIGNS[name])
    model = build(stack, vocab_size=VOCAB).double()
    reference = ReferenceModel(stack, randomise(model))
    tokens = torch.arange(VOCAB)[None]
    reference(tokens)
    logits, losses = model(tokens, return_losses=True)
    assert set(losses) == set(reference.losses) == {loss}
    assert reference.losses[loss] > 0.0
    torch.testing.assert_close(losses[loss], reference.losses[loss])
    assert torch.equal(logits, model(tokens))


@pytest.mark.parametrize("name", DESIGNS)
def test_small_designs_do_not_see_the_future(name: str) -> None:
    model = reference_of(stack_of(DESIGNS[name]))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCAB, (1, 9), generator=generator)
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % VOCAB
    assert torch.equal(model(tokens)[:, :5], model(other)[:, :5])
