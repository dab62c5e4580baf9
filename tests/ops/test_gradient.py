"""`grad` in a scan against torch.autograd, in float64.

Each loss is written twice: in a design that returns the gradient that the compiler derives, and in
one that returns the loss itself, which autograd differentiates by the initial state.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import gabc.stdlib_gaus as stdlib_gaus
import pytest
import torch
import torch.nn.functional as F
from designs import randomise, stack_of
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of
from torch import Tensor, nn

from gabc.codegen.emit import emit
from gabc.elaborate.gradient import DERIVATIVES
from gabc.passes import optimise
from gabc.runtime.model import build

TOLERANCE = 1e-10
WIDTH, BATCH = 12, 3

DESIGN = """gab One

unit One() {{
    dim H = 3
    dim K = D / H
    param W0: [H, K] = normal(0.0, 1.0)
    param M: [K, 5] = normal(0.0, 0.5)
    param p: [K] = normal(0.0, 1.0)
    forward(X) {{
        x = rearrange(X, "b l (h k) -> b l h k", h=H)
        y = scan(x){chunk} {{
            state W: [B, H, K] = W0
            {body}
            W = W + 0.0
            return {result}
        }}
        return y
    }}
}}
"""


def design(body: str, loss: str, *, of_loss: bool, chunk: bool = False, by: str = "W") -> str:
    rows = "b h k -> b (h k)"
    lines = f"{body} loss = {loss}"
    if of_loss:
        result = "loss[:, None] + zeros(D)"
    else:
        lines, result = f"{lines} g = grad(loss, {by})", f'rearrange(g, "{rows}")'
    if chunk:
        result = f"({result})[:, None] + zeros(4, D)"
    return DESIGN.format(body=lines, result=result, chunk=" chunk 4" if chunk else "")


def block_of(text: str) -> nn.Module:
    model = build(stack_of(text, f"{WIDTH}x1"), vocab_size=7).double()
    randomise(model)
    block = model.get_submodule("blocks.0")
    with torch.no_grad():
        block.W0.copy_(torch.randn(block.W0.shape, generator=torch.Generator().manual_seed(3)))
    return block


def assert_gradient(body: str, loss: str, chunk: bool = False, by: str = "W") -> None:
    derived = block_of(design(body, loss, of_loss=False, chunk=chunk, by=by))
    plain = block_of(design(body, loss, of_loss=True, chunk=chunk))
    X = torch.randn(BATCH, 1, WIDTH, generator=torch.Generator().manual_seed(5)).double()
    found = derived(X)[:, 0].sum(0).unflatten(0, (3, 4))
    (wanted,) = torch.autograd.grad(plain(X)[:, 0, 0].sum(), plain.W0)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


TOTAL = "sum(sum({}, axis=-1), axis=-1)"

FUNCTIONS = (
    "exp", "expm1", "sin", "cos", "tanh", "erf", "sigmoid", "abs", "square", "relu", "silu", "gelu",
    "softplus", "logsigmoid", "elu", "f32",
)  # fmt: skip

LOSSES = {
    **{name: TOTAL.format(f"x * {name}(W)") for name in FUNCTIONS},
    **{
        name: TOTAL.format(f"x * {name}(square(W) + 0.5)")
        for name in ("log", "log1p", "sqrt", "rsqrt", "reciprocal")
    },
    "gelu tanh": TOTAL.format('x * gelu(W, approximate="tanh")'),
    "sub": TOTAL.format("square(x - W)"),
    "div": TOTAL.format("x / (square(W) + 1.0) + (W / (square(x) + 1.0))"),
    "pow": TOTAL.format("W ** 3 + x * exp(W) ** 0.5 + 2.0 ** W + exp(x) ** W"),
    "mod": TOTAL.format("x * (W % 0.7) * W"),
    "neg": TOTAL.format("x * -W"),
    "maximum": TOTAL.format("square(maximum(W, x)) + minimum(2.0 * W, x)"),
    "where": TOTAL.format("where(x > 0.0, square(W), where(x < -0.5, 3.0, W))"),
    "clamp": TOTAL.format("x * clamp(W, lo=-0.5, hi=0.5) + clamp(W, lo=0.1)"),
    "lerp": TOTAL.format("square(lerp(W, x, sigmoid(W)))"),
    "sign": TOTAL.format("W * sign(W) + floor(W) * W"),
    "detach": TOTAL.format("W * detach(W) * x"),
    "broadcast": TOTAL.format("x * sum(W, axis=-1, keep=true) + p * W[:, 0:1]"),
    "matmul": TOTAL.format("square(W @ M)"),
    "matmul vector": "sum(square(W @ p), axis=-1)",
    "matmul both": TOTAL.format('x * ((W @ rearrange(W, "b h k -> b k h")) @ tanh(W))'),
    "matmul leading": TOTAL.format('square(rearrange(M, "k m -> m k") @ W[:, :, :, None])[..., 0]'),
    "einsum": 'sum(square(einsum("b h k, k m, b h k -> b m", W, M, x)), axis=-1)',
    "einsum alone": 'square(einsum("b h k, b h m -> b", W, x))',
    "einsum twice": TOTAL.format('x * einsum("b h k, b i k, b i m -> b h m", W, W, W)'),
    "mean": "mean(mean(W * x, axis=-1), axis=-1)",
    "var": "sum(var(W * x, axis=-1) * sum(W, axis=2), axis=-1)",
    "max": "sum(max(W * x, axis=-1) * min(W, axis=2), axis=-1)",
    "logsumexp": "sum(square(logsumexp(W * x, axis=-1)), axis=-1)",
    "cumsum": TOTAL.format("x * cumsum(W * x, axis=-1)"),
    "softmax": TOTAL.format("x * softmax(W) + x * softmax(W * x, axis=1)"),
    "log_softmax": TOTAL.format("x * log_softmax(W, axis=-1)"),
    "rms_norm": TOTAL.format("square(rms_norm(W, weight=p) - x)"),
    "layer_norm": TOTAL.format("square(layer_norm(W, weight=p, bias=p, eps=1e-6) - x)"),
    "layer_norm twice": TOTAL.format("square(layer_norm(W) * W)"),
    "index": TOTAL.format("square(W[:, 1:3, 0:4:2] * x[:, 0:2, 1:3]) + W[:, 2, None, -2:]"),
    "rearrange": TOTAL.format('square(rearrange(W, "b h (i j) -> b (j h) i", j=2))'),
    "repeat": TOTAL.format('x * repeat(W[:, 0:1], "b i k -> b (r i) k", r=3)'),
    "reduce": TOTAL.format('square(reduce(W * x, "b h (i j) -> b i h", "mean", j=2))'),
    "reduce sum": 'sum(square(reduce(W * x, "b h (i j) -> b i", "sum", j=2)), axis=-1)',
    "concat": TOTAL.format("square(concat([W, x, W * x], axis=1))"),
    "stack": "sum(square(sum(sum(stack([W, x, W * x], axis=1), axis=-1), axis=-1)), axis=-1)",
    "causal": TOTAL.format(
        "sum(square(softmax(causal(W[:, :, :, None] * W[:, :, None])) * x[..., None]), axis=-1)"
    ),
    "causal sum": TOTAL.format("square(sum(causal(W[:, :, :, None] * x[:, :, None]), axis=-1))"),
}


def test_every_derivative_is_tested() -> None:
    """By name in a loss, or by an operator or form that stands for it."""
    written = " ".join([*LOSSES, *LOSSES.values()])
    implied = {"add", "mul", "set_index", "fill", "floordiv", "ceil", "round", "float", "split"}
    assert sorted(name for name in DERIVATIVES if name not in written and name not in implied) == []


@pytest.mark.parametrize("name", LOSSES)
def test_equals_autograd(name: str) -> None:
    assert_gradient("", LOSSES[name])


BODIES = {
    "split": (
        "a, b = split(W, parts=2) c, d = split(W * x, sizes=[1, K - 1])",
        "square(a) * b[:, :, 0:1] + d[..., 0, None]",
    ),
    "split unused": ("a, b = split(tanh(W), parts=2)", "square(b)"),
    "reuse": ("u = W * x v = tanh(u) + u w = u * v", "w * v + u"),
    "second order": ("e = sum(sum(W ** 3 * x, axis=-1), axis=-1) h = grad(e, W)", "square(h) * x"),
    "chain": (
        'a = softmax(einsum("b h k, b i k -> b h i", W, x)) o = rms_norm(a @ W)',
        "square(silu(o) - x)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_of_several_statements_equals_autograd(name: str) -> None:
    body, loss = BODIES[name]
    assert_gradient(body, TOTAL.format(loss))


def test_through_an_assigned_element() -> None:
    """The state is assigned in part; the gradient is by what it was before."""
    body = "first = W W[:, 0] = square(first[:, 1] * x[:, 2])"
    assert_gradient(body, TOTAL.format("square(W) * x"), by="first")


@pytest.mark.parametrize("name", ["einsum", "softmax", "sub"])
def test_in_a_chunk_equals_autograd(name: str) -> None:
    loss = re.sub(r"\bx\b", "xs", LOSSES[name])
    assert_gradient("xs = sum(x, axis=1)", loss, chunk=True)


# -------------------------------------------------------------------------------- random bodies

UNARY = (
    "tanh({})", "sigmoid({})", "silu({})", "square({})", "gelu({})", "softmax({})", "sin({})",
    "rms_norm({})", "layer_norm({}, weight=p)", "softmax({}, axis=1)", "cumsum({}, axis=-1)",
    "exp(-square({}))", "rsqrt(1.0 + square({}))", "sum({}, axis=-1, keep=true) * x",
    "mean({}, axis=1, keep=true) + x", "({} @ M) @ rearrange(M, \"k m -> m k\")",
    "rearrange(rearrange({}, \"b h (i j) -> b i (h j)\", j=2), \"b i (h j) -> b h (i j)\", h=H)",
)  # fmt: skip
BINARY = (
    "{} * {}", "{} - {}", "{} / (1.0 + square({}))", "maximum({}, {})", "lerp({}, {}, sigmoid(x))",
    "einsum(\"b h k, b i k, b i m -> b h m\", {}, {}, W)", "where({} > 0.0, {}, x)",
)  # fmt: skip


def random_body(seed: int) -> str:
    """Statements that make u0, u1, ... of W, x and one another; the last one's square is summed."""
    choose = random.Random(seed)
    names = ["W", "x"]
    lines = []
    for place in range(choose.randint(3, 7)):
        form = choose.choice((*UNARY, *BINARY))
        # The newest name is always used, so that all of them matter.
        parts = [names[-1] if place else "W", *choose.choices(names, k=1)]
        lines.append(f"u{place} = {form.format(*parts[: form.count('{}')])}")
        names.append(f"u{place}")
    return " ".join([*lines, f"last = W * x + {names[-1]}"])


def assert_random(seed: int) -> None:
    assert_gradient(random_body(seed), TOTAL.format("square(last)"))


@pytest.mark.parametrize("seed", range(8))
def test_random_bodies_equal_autograd(seed: int) -> None:
    assert_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 150))
def test_more_random_bodies_equal_autograd(seed: int) -> None:
    assert_random(seed)


# -------------------------------------------------------------------------------- TTT


def test_ttt_linear_has_the_gradient_that_the_library_writes_by_hand() -> None:
    library = (Path(stdlib_gaus.__file__).parent / "ttt.gab").read_text(encoding="utf-8")
    by_hand = "layer_norm_l2_gradient(z, v - k, norm_weight, norm_bias, eps)"
    guess = "layer_norm(z, eps=eps) * norm_weight + norm_bias"
    derived = f"grad(0.5 * sum(square({guess} - (v - k)), axis=-1), z)"
    assert by_hand in library
    texts = (library, library.replace(by_hand, derived))
    stacks = [stack_of(f"gab TTTLinear\n\n{text}", "64x1") for text in texts]
    left, right = (build(stack, vocab_size=7).double() for stack in stacks)
    randomise(left)
    right.load_state_dict(left.state_dict())
    tokens = torch.arange(37).reshape(1, -1) % 7
    torch.testing.assert_close(right(tokens), left(tokens), rtol=TOLERANCE, atol=TOLERANCE)


TTT_MLP = """gab Memory

require causal

unit Memory() {
    wk = Linear(D, D, bias=false)
    wv = Linear(D, D, bias=false)
    param A0: [D, 8] = normal(0.0, 0.3)
    param C0: [8, D] = normal(0.0, 0.3)
    forward(X) {
        return scan(k=wk(X), v=wv(X)) chunk 4 {
            state A: [B, D, 8] = A0
            state C: [B, 8, D] = C0
            guess = layer_norm(gelu(k @ A) @ C)
            loss = mean(square(guess - v), axis=-1)
            a = grad(loss, A)
            c = grad(loss, C)
            y = gelu(k @ A) @ C
            A = A - 0.1 * a
            C = C - 0.1 * c
            return y
        }
    }
}
"""


def test_ttt_mlp_equals_a_loop_with_autograd() -> None:
    """Chunks of 4, two states learned at once; outer gradients are compared, too."""
    model = build(stack_of(TTT_MLP, "8x1"), vocab_size=7).double()
    randomise(model)
    block = model.get_submodule("blocks.0")
    X = torch.randn(2, 12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = memory(X, *(p for _, p in sorted(block.named_parameters())))
    found = block(X)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    parameters = list(block.parameters())
    pairs = zip(
        torch.autograd.grad(found.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
        strict=True,
    )
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def memory(X: Tensor, A0: Tensor, C0: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
    """The same by torch, a step of learning by autograd for each chunk."""
    keys, values = X @ wk.T, X @ wv.T
    A, C = A0.expand(len(X), -1, -1), C0.expand(len(X), -1, -1)
    parts = []
    for k, v in zip(keys.split(4, 1), values.split(4, 1), strict=True):
        y = F.gelu(k @ A) @ C
        loss = (F.layer_norm(y, (8,)) - v).square().mean(-1).sum()
        a, c = torch.autograd.grad(loss, (A, C), create_graph=True)
        parts.append(y)
        A, C = A - 0.1 * a, C - 0.1 * c
    return torch.cat(parts, 1)


DELTA = """gab Memory

unit Memory(heads: int = 2) {
    dim H = heads
    dim K = D / H
    wk = Linear(D, D)
    wv = Linear(D, D)
    param rate: [H] = 0.1
    forward(X) {
        k = rearrange(wk(X), "b l (h k) -> b l h k", k=K)
        v = rearrange(wv(X), "b l (h k) -> b l h k", k=K)
        y = scan(k, v) {
            state W: [B, H, K, K] = 0.0
            guess = einsum("b h k, b h k v -> b h v", k, W)
            W = W - rate[:, None, None] * grad(0.5 * sum(square(guess - v), axis=-1), W)
            return einsum("b h k, b h k v -> b h v", k, W)
        }
        return X + rearrange(y, "b l h k -> b l (h k)")
    }
}
"""


def test_learning_to_recall_is_compiled_as_the_delta_rule() -> None:
    """The gradient is made of operations that the classification of recurrences reads."""
    stack = stack_of(DELTA, "8x1")
    assert "delta_rule(" in emit(optimise(stack), standalone=False, vocab_size=7).text
    model = build(stack, vocab_size=7).double()
    state = drawn_state(model, seed=1)
    tokens = tokens_of(9, 7)
    expected = run_reference(stack, state, tokens)
    assert differences(expected, run_compiled(model, state, tokens)) == []
