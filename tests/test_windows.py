"""Windows that a block of `attend` keeps become its option, and only what it costs changes."""

from __future__ import annotations

import pytest
from decode.compare import assert_equals_whole
from generator.blocks import block_nodes
from generator.compare import differences
from test_attention_blocks import block
from test_attention_pass import run, stack_of

from gabc.check.cost import Asymptotic, cost
from gabc.dims import Dim
from gabc.passes import optimise
from gabc.passes.windows import lift_windows

ALONE = {
    "less": ("keep = i - j < window", 3),
    "at most": ("keep = i - j <= 3", 4),
    "a key after": ("keep = j > i - window", 3),
    "computed": ("keep = i < j + (2 * window - 1)", 5),
    "causal, too": ("keep = j <= i and i - j < 4", 4),
}
"""What is kept, and the window. The first three leave nothing else of the block."""

WITH_OTHERS = {
    "a bias": (("score = score - slope[h] * (i - j)", "keep = i - j < 4"), 4),
    "a mask of data": (("keep = i - j < window and g[b, j, h] < -1.0",), 3),
    "a mask of two parts": (("keep = (j % 2 == 0 and i - j < 4) and g[b, j, h] < 0.0",), 4),
    "a mask of scores": (("keep = score > 0.0 and i - j < 4",), 4),
}

STAYS = {
    "one of two": "keep = i - j < window or j < 2",
    "no whole number": "keep = i - j < reach",
    "no key": "keep = i - j < 0",
    "keys after": "keep = j - i < 4",
    "two windows": "keep = i - j < window and i - j < 5",
    "parity": "keep = (i - j) % 2 == 0",
    "not": "keep = not (i - j < 4)",
}

LIFTED = {name: ((line,), size) for name, (line, size) in ALONE.items()} | WITH_OTHERS


@pytest.mark.parametrize("name", LIFTED)
def test_the_window_is_an_option(name: str) -> None:
    lines, size = LIFTED[name]
    stack = lift_windows(stack_of(block(*lines)))
    (node,) = block_nodes(stack, "attend")
    window = node.args["window"]
    assert isinstance(window, Dim)
    assert stack.blocks[0].size(window) == size
    if name in ("less", "at most", "a key after", "computed"):
        assert node.region is None
    if name == "a bias":
        assert node.region is not None
        assert len(node.region.results) == 1


@pytest.mark.parametrize("name", LIFTED)
def test_the_function_stays(name: str) -> None:
    written = stack_of(block(*LIFTED[name][0]))
    found = lift_windows(written)
    meant = run(written, 9, is_interpreted=True)
    assert not differences(meant, run(found, 9, is_interpreted=True))
    assert not differences(meant, run(found, 9, is_interpreted=False))


@pytest.mark.parametrize("name", LIFTED)
def test_a_decoder_forgets(name: str) -> None:
    """Keys and values beyond the window; what a block looks up by position stays in whole."""
    lines, _ = LIFTED[name]
    written = stack_of(block(*lines))
    found = optimise(written)
    assert_equals_whole(written, found)
    growth = Asymptotic.of(cost(found, vocab_size=8).total.state)
    assert str(growth) == ("O(L)" if "g[" in lines[0] else "O(1)")


@pytest.mark.parametrize("name", STAYS)
def test_what_is_no_window_stays(name: str) -> None:
    stack = stack_of(block(STAYS[name]))
    assert lift_windows(stack).blocks[0].graph is stack.blocks[0].graph
