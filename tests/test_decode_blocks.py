"""Decoding where time is cut into blocks, and where a unit must be computed again."""

from __future__ import annotations

import pytest
import torch
from decode.compare import (
    VOCAB,
    assert_equals_whole,
    random_parameters,
    tokens_of,
    unit,
)
from designs import stack_of

from gabc.check.causality.prove import prove
from gabc.check.cost import cost, value_at
from gabc.check.streaming import decode_classes, stack_class
from gabc.runtime.decode import Decoder, past


@pytest.fixture(autouse=True)
def unwritten_places_are_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no position has been written to must never be read."""
    monkeypatch.setattr(past, "PADDING", float("nan"))


# ------------------------------------------------------------------------- from the start again

BLOCKS = {
    "sums inside blocks": "return X + unblocks(cumsum(blocks(X, 3), axis=2))",
    "blocks longer than the sequence": "return X + unblocks(cumsum(blocks(X, 100), axis=2))",
    "the block before": "return X + unblocks(shift(blocks(X, 3)))",
    "means of the blocks before": (
        "m = running_mean(shift(mean(blocks(X, 3), axis=2)))\n"
        '        return X + unblocks(repeat(m, "b n d -> b n c d", c=3))'
    ),
    "sums of blocks, shifted": (
        "s = shift(cumsum(sum(blocks(tanh(X), 2), axis=2), axis=1), 2)\n"
        '        return X + 0.1 * unblocks(repeat(s, "b n d -> b n c d", c=2))'
    ),
    "convolution over blocks": (
        "m = shift(window_mean(causal_conv(sum(blocks(X, 2), axis=2), w), 2))\n"
        '        return X + unblocks(repeat(m, "b n d -> b n c d", c=2))'
    ),
    "heads before blocks": (
        'x = rearrange(X, "b l (h k) -> b h l k", h=4)\n'
        "        y = unblocks(cumsum(shift(blocks(x, 3)), axis=3))\n"
        '        return X + rearrange(y, "b h l k -> b l (h k)")'
    ),
    "positions in blocks": (
        "p = blocks(positions(), 3)\n"
        "        return X * cos(unblocks(cumsum(p, axis=1) + shift(p)))[:, None]"
    ),
    "attention over blocks": (
        'k = rearrange(shift(mean(blocks(X, 2), axis=2)), "b n (h k) -> b n h k", h=2)\n'
        '        y = repeat(rearrange(attend(k, k, tanh(k)), "b n h k -> b n (h k)"), '
        '"b n d -> b n c d", c=2)\n'
        "        return X + unblocks(y)"
    ),
    "attention over blocks with a block": (
        'k = rearrange(shift(mean(blocks(X, 2), axis=2)), "b n (h k) -> b n h k", h=2)\n'
        "        z = attend(k, k, k, window=2) {\n"
        "            score = score - 0.3 * (i - j) + 0.1 * j\n"
        "        }\n"
        '        y = repeat(rearrange(z, "b n h k -> b n (h k)"), "b n d -> b n c d", c=2)\n'
        "        return X + unblocks(y)"
    ),
    "blocks of a sum": "return X + cumsum(unblocks(cumsum(blocks(cumsum(X), 3), axis=2))) * 0.01",
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    stack = unit(f"        {BLOCKS[name]}", "    param w: [D, 2] = normal()")
    assert prove(stack).are_proved
    decoder = assert_equals_whole(stack)
    assert not decoder.plan.blocks[0].is_recomputed
    _, state = decoder(tokens_of(1, 40), decoder.start(1))
    predicted = cost(stack, vocab_size=VOCAB, float_bytes=8).total.state
    assert state.bytes() == value_at(predicted, 40)


RECOMPUTED = {
    "blocks that overlap": (
        "m = shift(sum(blocks(X, 4, stride=2), axis=2), 2)\n"
        '        return X + unblocks(repeat(m, "b n d -> b n c d", c=2))'
    ),
    "attention by hand": (
        'a = causal(einsum("b i d, b j d -> b i j", X, X) / D)\n'
        '        return X + einsum("b i j, b j d -> b i d", softmax(a), X)'
    ),
}


@pytest.mark.parametrize("name", RECOMPUTED)
def test_a_unit_that_is_computed_again_keeps_its_arguments(name: str) -> None:
    stack = unit(f"        {RECOMPUTED[name]}")
    decoder = Decoder(stack, random_parameters(stack), torch.float64)
    _, state = decoder(tokens_of(1, 9), decoder.start(1))
    costs = cost(stack, vocab_size=VOCAB, float_bytes=8)
    assert state.bytes() == value_at(costs.total.state, 9) == 9 * 16 * 8
    (plan,) = decoder.plan.blocks
    assert str(decode_classes(plan)[""]) == "none (recomputed)"


@pytest.mark.parametrize("name", RECOMPUTED)
def test_a_unit_without_a_streaming_form_is_computed_again(name: str) -> None:
    decoder = assert_equals_whole(unit(f"        {RECOMPUTED[name]}"))
    (plan,) = decoder.plan.blocks
    assert plan.hindrance is not None
    operations = {"blocks that overlap": "blocks", "attention by hand": "einsum"}
    assert plan.hindrance[1] == operations[name]


def test_only_the_unit_that_needs_it_is_computed_again() -> None:
    body = RECOMPUTED["attention by hand"]
    stack = stack_of(
        "gab One\n\nunit One() {\n    a = ByHand()\n    b = ByHand()\n"
        "    forward(X) {\n        return a(shift(X, 1)) + b(cumsum(X)) + a(X)\n    }\n}\n\n"
        f"unit ByHand() {{\n    forward(X) {{\n        {body}\n    }}\n}}\n",
        "16x2",
    )
    decoder = assert_equals_whole(stack)
    assert [plan.is_recomputed for plan in decoder.plan.blocks] == [False, False]


AHEAD = """gab One

unit One() {
    mean_of = BlockMean()
    forward(X) {
        return X + shift(mean_of(X), 3)
    }
}

unit BlockMean() {
    forward(X) {
        m = mean(blocks(X, 3), axis=2)
        return unblocks(repeat(m, "b n d -> b n c d", c=3))
    }
}
"""


def test_what_reads_ahead_is_computed_again_where_it_is_moved_back() -> None:
    """The mean of a block is not yet what it will be when the block is full."""
    stack = stack_of(AHEAD, "16x1")
    assert prove(stack).are_proved
    decoder = assert_equals_whole(stack)
    (plan,) = decoder.plan.blocks
    assert plan.hindrance is not None
    assert plan.hindrance[1] == "mean_of"


def test_a_model_whose_blocks_exchange_scores_is_computed_again() -> None:
    stack = stack_of(
        "gab One\n\nunit One() {\n    reads scores: [B, L, L]?\n    writes scores: [B, L, L]\n"
        "    forward(X) {\n"
        '        a = einsum("b i d, b j d -> b i j", X, X) / D\n'
        "        Z.scores = (Z.scores ?? a) + a\n"
        '        return X + einsum("b i j, b j d -> b i d", softmax(causal(Z.scores)), X)\n'
        "    }\n}\n",
        "16x2",
    )
    decoder = assert_equals_whole(stack)
    assert decoder.plan.hindrance is not None
    _, state = decoder(tokens_of(1, 9), decoder.start(1))
    assert state.bytes() == value_at(cost(stack, vocab_size=VOCAB).total.state, 9) == 9 * 8
    assert str(stack_class(decoder.plan)) == "none (recomputed)"
