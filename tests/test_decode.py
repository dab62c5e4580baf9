"""Decoding from a state is the whole sequence at once, whatever the blocks, rows and lengths."""

from __future__ import annotations

import pytest
import torch
from causality_programs import program
from decode.compare import (
    VOCAB,
    assert_close,
    assert_equals_whole,
    in_blocks,
    random_blocks,
    random_parameters,
    tokens_of,
    unit,
)
from decode.library import DESIGNS as LIBRARY
from designs import example, stack_of
from generator.program import generate
from small_designs import DESIGNS
from test_causality_fuzz import elaborated

from gabc.check.causality.prove import prove
from gabc.check.cost import cost, value_at
from gabc.check.streaming import UnitPlan, decode_classes, plan_stack, stack_class, units_below
from gabc.graph.instance import Stack
from gabc.passes import optimise
from gabc.runtime.decode import Decoder, State, past
from gabc.runtime.reference import ReferenceModel

SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
QUICK = (
    "attention.MultiHeadAttention",
    "attention_scores.ForgettingAttention",
    "attention_scores.SinkAttention",
    "long_conv.HyenaOperator",
    "position.RoPE",
    "rwkv.RWKV7TimeMix",
    "ttt.TTTLinear",
)
"""One of each kind of state."""

UNITS = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in LIBRARY]


@pytest.fixture(autouse=True)
def unwritten_places_are_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no position has been written to must never be read."""
    monkeypatch.setattr(past, "PADDING", float("nan"))


# ------------------------------------------------------------------------- equal to the whole


@pytest.mark.parametrize("name", SEEDS)
def test_seeds(name: str) -> None:
    stack = example(name, "64x2")
    assert_equals_whole(stack)
    assert_equals_whole(stack, optimise(stack))


@pytest.mark.parametrize("name", UNITS)
def test_units_of_the_library(name: str) -> None:
    stack = stack_of(LIBRARY[name], "32x2")
    for decoded in (stack, optimise(stack)):
        decoder = assert_equals_whole(stack, decoded)
        assert not any(unit_.is_recomputed for unit_ in units_of(decoder.plan.stack))


@pytest.mark.parametrize("name", sorted(DESIGNS))
def test_small_designs(name: str) -> None:
    assert_equals_whole(stack_of(DESIGNS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SEEDS, *LIBRARY])
def test_long_sequences_in_blocks_of_any_size(name: str) -> None:
    stack = example(name, "64x1") if name in SEEDS else stack_of(LIBRARY[name], "32x1")
    parameters, tokens = random_parameters(stack), tokens_of(2, 37)
    with torch.no_grad():
        expected = ReferenceModel(stack, parameters)(tokens)
    for decoded in (stack, optimise(stack)):
        decoder = Decoder(decoded, parameters, torch.float64)
        for seed in range(4):
            found, _ = in_blocks(decoder, tokens, random_blocks(37, seed))
            assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(80))
def test_generated_programs(seed: int) -> None:
    design = generate(seed)
    stack = stack_of(design.text, f"{design.width}x{design.layers}")
    assert_equals_whole(stack)
    assert_equals_whole(stack, optimise(stack))


def assert_random_design(seed: int) -> bool:
    """A composition of operations along time, if it is proved: decoded, and its bytes counted."""
    stack = elaborated(program(seed))
    if stack is None:
        return False
    plan_stack(stack)  # also where there is nothing to decode
    if not prove(stack).are_proved:
        return False
    for decoded in (stack, optimise(stack)):
        decoder = assert_equals_whole(stack, decoded)
        _, state = decoder(tokens_of(1, 36), decoder.start(1))
        predicted = cost(decoded, vocab_size=VOCAB, float_bytes=8).total.state
        assert state.bytes() == value_at(predicted, 36)
    return True


def test_random_designs_about_time() -> None:
    assert sum(map(assert_random_design, range(16))) >= 4


@pytest.mark.slow
def test_many_random_designs_about_time() -> None:
    assert sum(map(assert_random_design, range(16, 400))) >= 100


PRIMITIVES = {
    "shift": "return X + shift(X, 3)",
    "no shift": "return X + shift(X, 0)",
    "two shifts of one value": "return X + shift(X, 1) + shift(X, 4)",
    "shift and convolution": "return shift(X, 5) + causal_conv(X, w)",
    "dilated convolution": "return X + causal_conv(X, w, v, dilation=3)",
    "cumulative sum": "return X + cumsum(X) / (positions()[:, None] + 1.0)",
    "cumulative sum of bools": "return X + 0.1 * float(cumsum(X > 0.0))",
    "sum along channels": "return X + cumsum(X, axis=-1)",
    "running mean": "return X + running_mean(X)",
    "window mean": "return X + window_mean(X, 3)",
    "window mean of one": "return X + window_mean(X, 1)",
    "sum of positions": "return X + 0.1 * cumsum(positions())[:, None]",
    "positions with a unit axis": "return X + 0.1 * cumsum(positions()[None, :, None], axis=1)",
    "shifted positions": "return X * shift(positions(), 2)[:, None]",
    "recurrence of positions": (
        "p = positions()[:, None] * v\n"
        "        y = scan(X, p=X + sin(p)) {\n"
        "            state s: [B, D] = 0.0\n"
        "            s = 0.5 * s + X * p\n"
        "            return s + t\n"
        "        }\n"
        "        return y"
    ),
    "constants with a length": "return X + zeros(B, L, D) + ones(L)[:, None]",
    "time in another place": (
        'y = cumsum(rearrange(X, "b l d -> b d l"), axis=2)\n'
        '        return X + tanh(rearrange(y, "b d l -> b l d"))'
    ),
    "long convolution": (
        'h = rearrange(exp(-0.1 * positions())[:, None] * v, "l d -> d l")\n'
        "        return long_conv(X, h)"
    ),
    "segments": (
        'x = rearrange(X, "b l (h k) -> b l h k", h=4)\n'
        "        s = int(positions() / 4.0)\n"
        "        y = attend(x, x, x, segments=cumsum(X[:, :, 0] > 0.3))\n"
        '        return X + rearrange(y, "b l h k -> b l (h k)") + float(s)[:, None]'
    ),
    "window": (
        'x = rearrange(X, "b l (h k) -> b l h k", h=4)\n'
        '        return X + rearrange(attend(x, x, x, window=3), "b l h k -> b l (h k)")'
    ),
    "window in a block": (
        'x = rearrange(X, "b l (h k) -> b l h k", h=4)\n'
        "        c = cumsum(X[:, :, 0])\n"
        "        y = attend(x, x, x, window=3) {\n"
        "            score = score + c[b, i - 1] - c[b, j]\n"
        "        }\n"
        '        return X + rearrange(y, "b l h k -> b l (h k)")'
    ),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives(name: str) -> None:
    members = "    param w: [D, 3] = normal()\n    param v: [D] = normal()"
    stack = unit(f"        {PRIMITIVES[name]}", members)
    assert_equals_whole(stack)
    assert not any(unit_.is_recomputed for unit_ in units_of(stack))


# ------------------------------------------------------------------------- states

CLASSES = {
    "gpt2": "O(L)",
    "mamba2": "O(1)",
    "retnet": "O(1)",
    "rwkv6": "O(1)",
    "ttt": "O(1)",
    "attention.MultiHeadAttention": "O(window)",
    "long_conv.HyenaOperator": "O(L)",
    "rwkv.RWKV4TimeMix": "O(1)",
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str) -> None:
    stack = example(name, "64x1") if name in SEEDS else stack_of(LIBRARY[name], "32x1")
    assert str(stack_class(plan_stack(stack))) == CLASSES[name]


def test_classes_of_units() -> None:
    (block,) = plan_stack(example("gpt2", "32x1")).blocks
    found = {path: str(found) for path, found in decode_classes(block).items()}
    assert found[""] == found["attn"] == "O(L)"
    assert found["mlp"] == found["attn.rope"] == "O(1)"


def units_of(stack: Stack) -> list[UnitPlan]:
    """The plans of all units."""
    return [unit_ for block in plan_stack(stack).blocks for _, unit_ in units_below(block)]


@pytest.mark.parametrize("name", [*SEEDS, *UNITS])
def test_state_bytes_are_the_predicted_ones(name: str) -> None:
    written = example(name, "64x2") if name in SEEDS else stack_of(LIBRARY[name], "32x2")
    for stack in (written, optimise(written)):
        decoder = Decoder(stack, random_parameters(stack), torch.float64)
        predicted = cost(stack, vocab_size=VOCAB, float_bytes=8).total.state
        state = decoder.start(1)
        for length in (20, 40):
            _, state = decoder(tokens_of(1, 20), state)
            assert state.bytes() == value_at(predicted, length)


def test_a_state_is_a_value() -> None:
    stack = example("gpt2", "32x1")
    parameters = random_parameters(stack)
    decoder = Decoder(stack, parameters, torch.float64)
    tokens, others = tokens_of(1, 12), tokens_of(1, 12, seed=2)
    others[:, :5] = tokens[:, :5]
    with torch.no_grad():
        expected = [ReferenceModel(stack, parameters)(x) for x in (tokens, others)]
    _, state = decoder(tokens[:, :5], decoder.start(1))
    first, second = state, state
    for place in range(5, 12):  # two continuations of one state, turn by turn
        a, first = decoder(tokens[:, place : place + 1], first)
        b, second = decoder(others[:, place : place + 1], second)
        assert_close(a[:, 0], expected[0][:, place])
        assert_close(b[:, 0], expected[1][:, place])


@pytest.mark.parametrize("name", ["gpt2", "ttt"])
def test_rows_are_chosen_and_joined(name: str) -> None:
    stack = example(name, "64x1")
    decoder = Decoder(stack, random_parameters(stack), torch.float64)
    tokens = tokens_of(3, 9)
    _, state = decoder(tokens[:, :6], decoder.start(3))
    chosen = State.join([state.select([2, 0]), state.select([2])])
    step = tokens[[2, 0, 2], 6:7]
    found, _ = decoder(step, chosen)
    expected, _ = decoder(tokens[:, 6:7], state)
    assert_close(found, expected[[2, 0, 2]])


def test_a_block_that_does_not_fit_the_state_is_refused() -> None:
    stack = example("gpt2", "32x1")
    decoder = Decoder(stack, random_parameters(stack), torch.float64)
    with pytest.raises(ValueError, match="do not go on with a state of 2 rows"):
        decoder(tokens_of(1, 3), decoder.start(2))
    with pytest.raises(ValueError, match="at least one token"):
        decoder.prefill([[1], []])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_states_are_in_float32_at_least(dtype: torch.dtype) -> None:
    stack = stack_of(DESIGNS["scan"])
    parameters = {"embedding.weight": torch.zeros(5, 16), "norm.weight": torch.ones(16)}
    with pytest.raises(ValueError, match="float32 at least"):
        Decoder(stack, parameters, dtype=dtype)
