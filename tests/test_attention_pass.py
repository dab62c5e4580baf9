"""Attention written out is recognised as `attend`, and nothing changes but its form."""

from __future__ import annotations

import pytest
from generator.blocks import block_nodes, compiled, interpreted, leaves_of
from generator.compare import Run, differences

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.passes.attention import recognise_attention
from gabc.syntax.source import Source

WIDTH = 12

FRAME = """
gab Root

unit Root(window: int = 3, reach: float = 2.5) {{
    dim H = 2
    dim K = D / H
    wq = Linear(D, D)
    wk = Linear(D, D)
    wv = Linear(D, D)
    param slope: [H] = uniform(0.1, 1.0)

    forward(X) {{
        q = rearrange(wq(X), "b l (h k) -> b l h k", h=H)
        k = rearrange(wk(X), "b l (h k) -> b l h k", h=H)
        v = rearrange(wv(X), "b l (h k) -> b l h k", h=H)
        i = positions()[:, None]
        j = positions()[None, :]
{body}
        return X + rearrange(y, "b l h k -> b l (h k)")
    }}
}}
"""

SCORES = 'einsum("b l h k, b m h k -> b h l m", q, k)'
MIX = 'y = einsum("b h l m, b m h v -> b l h v", a, v)'

WRITTEN = {
    "plain": f"s = {SCORES} * K ** -0.5\na = softmax(causal(s), axis=-1)\n{MIX}",
    "no scale": f"a = softmax(causal({SCORES}), axis=-1)\n{MIX}",
    "divided": f"a = softmax(causal({SCORES} / sqrt(K)), axis=3)\n{MIX}",
    "scaled twice": f"a = softmax(causal(2.0 * ({SCORES} / 3.0)), axis=-1)\n{MIX}",
    "query scaled": f"q = q * K ** -0.5\na = softmax(causal({SCORES}), axis=-1)\n{MIX}",
    "positions": f"a = softmax(masked({SCORES}, j <= i), axis=-1)\n{MIX}",
    "difference": f"a = softmax(masked({SCORES}, i - j >= 0), axis=-1)\n{MIX}",
    "strict": f"a = softmax(masked({SCORES}, j < i + 1), axis=-1)\n{MIX}",
    "window": f"a = softmax(masked(causal({SCORES}), i - j < window), axis=-1)\n{MIX}",
    "numbers with a point": (
        f"a = softmax(masked({SCORES}, i - j >= 0.0 and i - j < 3.0), axis=-1)\n{MIX}"
    ),
    "a window computed": (
        f"a = softmax(masked(causal({SCORES}), i - j < 2 * window - 1), axis=-1)\n{MIX}"
    ),
    "window of positions": (
        f"a = softmax(masked({SCORES}, j <= i and j > i - window), axis=-1)\n{MIX}"
    ),
    "cap": f"s = 5.0 * tanh({SCORES} * 0.7 / 5.0)\na = softmax(causal(s), axis=-1)\n{MIX}",
    "bias": (
        f"s = {SCORES} * 0.4 + (-slope[:, None, None] * (i - j))\n"
        f"a = softmax(causal(s), axis=-1)\n{MIX}"
    ),
    "bias first": (
        f"s = slope[:, None, None] * (j - i) + {SCORES}\na = softmax(causal(s), axis=-1)\n{MIX}"
    ),
    "heads first": (
        'q = rearrange(q, "b l h k -> b h l k")\nk = rearrange(k, "b l h k -> b h l k")\n'
        'v = rearrange(v, "b l h k -> b h l k")\n'
        's = einsum("b h i k, b h j k -> b h i j", q, k)\n'
        'y = rearrange(softmax(causal(s), axis=-1) @ v, "b h l k -> b l h k")'
    ),
    "transposed keys": (
        'q = rearrange(q, "b l h k -> b h l k")\nk = rearrange(k, "b l h k -> b h k l")\n'
        'v = rearrange(v, "b l h k -> b h l k")\n'
        'y = rearrange(softmax(causal(q @ k), axis=-1) @ v, "b h l k -> b l h k")'
    ),
    "values first": (
        f'a = softmax(causal({SCORES}), axis=-1)\ny = einsum("b m h v, b h l m -> b l h v", v, a)'
    ),
    "other order": (
        f"a = softmax(causal({SCORES}), axis=-1)\n"
        'y = rearrange(einsum("b h l m, b m h v -> b h v l", a, v), "b h v l -> b l h v")'
    ),
    "shared keys": (
        "k = k[:, :, 0]\nv = v[:, :, 1]\n"
        's = einsum("b l h k, b m k -> b h l m", q, k)\na = softmax(causal(s), axis=-1)\n'
        'y = einsum("b h l m, b m v -> b l h v", a, v)'
    ),
    "one head": (
        's = einsum("b l d, b m d -> b l m", X, X)\na = softmax(causal(s), axis=-1)\n'
        'y = rearrange(a @ X, "b l (h k) -> b l h k", h=H)'
    ),
}

OTHERS = {
    "scores read twice": (
        f"s = {SCORES}\na = softmax(causal(s), axis=-1)\n{MIX}\n"
        "sharp = sum(square(softmax(causal(s), axis=-1)), axis=-1)\n"
        'y = y * rearrange(sharp, "b h l -> b l h 1")'
    ),
    "weights changed": f"a = square(softmax(causal({SCORES}), axis=-1))\n{MIX}",
    "a mask of data": (
        f"a = softmax(masked(causal({SCORES}), X[:, None, None, :, 0] > 0.0), axis=-1)\n{MIX}"
    ),
    "a window that is no whole number": (
        f"a = softmax(masked(causal({SCORES}), i - j < reach), axis=-1)\n{MIX}"
    ),
    "a number that is no window": (
        f"a = softmax(masked(causal({SCORES}), i - j < 1.5), axis=-1)\n{MIX}"
    ),
    "a window in halves": (
        f"a = softmax(masked(causal({SCORES}), i - j < window / 2), axis=-1)\n{MIX}"
    ),
    "a window of no key": (
        f"a = softmax(masked(causal({SCORES}), i - j < window - 3), axis=-1)\n{MIX}"
    ),
    "every second key": f"a = softmax(masked(causal({SCORES}), (i - j) % 2 == 0), axis=-1)\n{MIX}",
    "no softmax": f"a = causal({SCORES})\n{MIX}",
    "scaled bias": (
        f"s = ({SCORES} + slope[:, None, None] * (j - i)) * 0.5\n"
        f"a = softmax(causal(s), axis=-1)\n{MIX}"
    ),
}


def stack_of(body: str) -> Stack:
    scale = parse_scale(f"{WIDTH}x1")
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    report = check(Source("attention.gab", FRAME.format(body=lines)), scales=(scale,))
    assert report.ok, [d.message for d in report.diagnostics]
    return report.stacks[scale.name]


def run(stack: Stack, length: int, *, is_interpreted: bool) -> Run:
    """The block's output, and gradients in its input and parameters."""
    way = interpreted if is_interpreted else compiled
    return way(stack, leaves_of(stack, length, 1.0))


@pytest.mark.parametrize("name", WRITTEN)
def test_written_out_attention_is_recognised(name: str) -> None:
    found = recognise_attention(stack_of(WRITTEN[name]))
    assert len(block_nodes(found, "attend")) == 1
    assert not block_nodes(found, "softmax")
    assert not block_nodes(found, "causal")


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("name", WRITTEN)
def test_the_function_stays(name: str, length: int) -> None:
    stack = stack_of(WRITTEN[name])
    written = run(stack, length, is_interpreted=True)
    found = recognise_attention(stack)
    assert not differences(written, run(found, length, is_interpreted=False))
    assert not differences(written, run(found, length, is_interpreted=True))


@pytest.mark.parametrize("name", OTHERS)
def test_what_attend_cannot_say_stays(name: str) -> None:
    stack = stack_of(OTHERS[name])
    found = recognise_attention(stack)
    assert not block_nodes(found, "attend")
    assert found.blocks[0].graph is stack.blocks[0].graph or block_nodes(found, "softmax")
    assert not differences(run(stack, 6, is_interpreted=True), run(found, 6, is_interpreted=False))


def test_the_windows_are_those_of_the_masks() -> None:
    for name, wanted in {
        "plain": None,
        "window": "window",
        "window of positions": "window",
    }.items():
        (node,) = block_nodes(recognise_attention(stack_of(WRITTEN[name])), "attend")
        size = node.args["window"]
        assert (None if size is None else str(size)) == wanted
