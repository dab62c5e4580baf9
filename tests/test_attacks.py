"""Attacks on the proof that were found by trying: none may be proved causal."""

from __future__ import annotations

import pytest
from causality_ports import POSITIONS, SCORES, block, design
from designs import stack_of

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Verdict
from gabc.runtime.oracle import Oracle

ATTEND = "return softmax(masked(s, {keep}), axis=-1) @ X"

ROUNDED_AWAY = {
    "a large number added and taken away": "((p + 1e17) - 1e17)[None, :] <= p[:, None]",
    "a large number added on both sides": "(p + 1e17)[None, :] <= (p + 1e17)[:, None]",
    "a small factor beside one": "(p * 1e-30 + 1.0)[None, :] <= (p * 1e-30 + 1.0)[:, None]",
    "overflow": "(p * 1e200 * 1e200)[None, :] <= (p * 1e200 * 1e200)[:, None]",
    "underflow": "(p * 1e-200 * 1e-200)[None, :] <= (p * 1e-200 * 1e-200)[:, None]",
    "a difference that rounding closes": "p[None, :] - p[:, None] <= 0.99999999999999999",
}


@pytest.mark.parametrize("name", ROUNDED_AWAY)
def test_positions_that_rounding_makes_equal_are_not_told_apart(name: str) -> None:
    """As real numbers these masks are causal; in floating point they keep later positions."""
    stack = block(SCORES + POSITIONS + ATTEND.format(keep=ROUNDED_AWAY[name]))
    assert Oracle(stack).future((7,)) is not None, "the attack shows nothing"
    assert prove(stack).causality.verdict is not Verdict.PROVED


TOLD_APART = {
    "tenths": "(p * 0.1)[None, :] <= (p * 0.1)[:, None]",
    "thirds": "(p / 3.0 * 3.0)[None, :] <= p[:, None]",
    "halves": "(round(p / 2.0) * 2.0 + 0.9)[None, :] <= p[:, None]",
    "a million": "(p + 1000000.0)[None, :] <= (p + 1000000.0)[:, None]",
    "a window of any size": "p[None, :] <= p[:, None] and p[:, None] - p[None, :] < 1000000000.0",
}


@pytest.mark.parametrize("name", TOLD_APART)
def test_positions_that_rounding_leaves_apart_are(name: str) -> None:
    stack = block(SCORES + POSITIONS + ATTEND.format(keep=TOLD_APART[name]))
    assert prove(stack).are_proved
    assert Oracle(stack).future((7,)) is None


# ---------------------------------------------------------------- zeros that are no masks

KEYS = "k = sum(X, axis=-1)[:, None, :]\npast = p[None, :] <= p[:, None]\n"
SPOILT = {
    "0 / 0": "y = where(past, 1.0, 0.0) / relu(k)",
    "zeros divided by data": "y = k * 0.0 / relu(k) * ones(L, 1)",
    "0 * inf of a power": "y = past * relu(k) ** -1.0",
    "0 times the root of a negative": "y = past * sqrt(k)",
    "0 times a remainder of a division by 0": "y = past * (1.0 % relu(k))",
    "0 times a bounded function of not-a-number": "y = past * tanh(log(k))",
    "0 times a norm of what overflows": "y = past * softmax(exp(300.0 * k), axis=-2)",
    "0 * inf inside a contraction": (
        'y = einsum("l m, b n m -> b l m", float(past), exp(300.0 * k))'
    ),
    "1 / 0 at a position": "y = past * (1.0 / (p - 5.0))[None]",
    "a position's exponential": "y = past * exp(200.0 * p)[None]",
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_zero_is_no_mask_of_what_is_infinite(name: str) -> None:
    body = f"{POSITIONS}{KEYS}{SPOILT[name]}\nreturn X + tanh(sum(y, axis=-1))[..., None]"
    stack = block(body, scale="8x1")
    assert Oracle(stack, magnitudes=(1.0, 8.0)).prefix((2, 7)) is not None, "it shows nothing"
    assert prove(stack).length.verdict is Verdict.REFUTED


MASKED = {
    "a choice": "y = where(past, sqrt(k), 0.0)",
    "a quotient by the row's own sum": (
        "w = where(past, sigmoid(k), 0.0)\ny = w / sum(w, axis=-1, keep=true)"
    ),
    "a quotient in a window": (
        "w = where(past and p[:, None] - p[None, :] < 3, sigmoid(k), 0.0)\n"
        "y = w / sum(w, axis=-1, keep=true)"
    ),
    "a quotient by a number": "y = where(past, k, 0.0) / 3.0",
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_that_hold_are_proved(name: str) -> None:
    body = f"{POSITIONS}{KEYS}{MASKED[name]}\nreturn X + tanh(sum(y, axis=-1))[..., None]"
    assert prove(block(body, scale="8x1")).are_proved


# ---------------------------------------------------------------- counts, ends and borders

ENDS = {
    "a mean counts what its mask keeps, zeros too": (
        SCORES + POSITIONS + "w = where(p[None, :] <= p[:, None], s, 0.0)\n"
        "return X + mean(masked(w, p[None, :] <= p[:, None] + 3), axis=-1)[..., None]",
        "",
    ),
    "a variance does": (
        SCORES + POSITIONS + "w = where(p[None, :] <= p[:, None], s, 0.0)\n"
        "return X + var(masked(w, p[None, :] <= p[:, None] + 3), axis=-1)[..., None]",
        "",
    ),
    "a place in a block told from its end by a symbol": (
        "c = blocks(X, C)\nreturn X + unblocks(c * c[:, :, -w][:, :, None])",
        "    dim C = 4\n    dim w = 1\n",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends_are_seen(name: str) -> None:
    body, members = ENDS[name]
    stack = block(body, members)
    assert Oracle(stack).prefix((7,)) is not None, "the attack shows nothing"
    assert prove(stack).length.verdict is Verdict.REFUTED


def test_the_border_between_joined_parts_tells_the_length() -> None:
    """A part one shorter than the sequence ends where the next position would be."""
    text = """gab One

unit One() {
    mark = Mark()
    forward(X) {
        return mark(X)
    }
}

unit Mark() {
    forward(x: [B, N, D]) {
        return x * concat([zeros(N - 1), ones(1)], axis=0)[:, None]
    }
}
"""
    stack = stack_of(text, "16x2")
    assert Oracle(stack).prefix((7,)) is not None, "the attack shows nothing"
    assert prove(stack).length.verdict is Verdict.REFUTED


SCORED = """k = sum(X, axis=-1)
q = X[:, :, None]
y = attend(q, q, q) {{
    score = score + {score}
}}
return X + y[:, :, 0]"""


def test_the_number_of_a_row_may_only_find_the_row() -> None:
    leaking = block(SCORED.format(score="float(j) * float(b)"))
    assert Oracle(leaking).rows((7,)) is not None, "the attack shows nothing"
    (found,) = prove(leaking).diagnostics
    assert (found.code, found.message) == (
        "GAB0403",
        "a score is computed from `b`, the number of the row",
    )
    assert prove(block(SCORED.format(score="k[b, j]"))).are_proved


LEAK = "{ return X + mean(X, axis=1, keep=true) } else { return shift(X) }"

ELSEWHERE = {
    "a later layer": design(f"if layer == 10 {LEAK}"),
    "a deeper stack": design(f"if n_layers > 8 {LEAK}"),
    "a wider block": design(f"if D > 512 {LEAK}"),
    "a hyperparameter that follows from the width": design(f"if wide {LEAK}").replace(
        "One()", "One(wide: bool = D > 512)"
    ),
    "a child by its layer": design(
        "return c[layer](X)", f"    c = [{'Good(), ' * 2}{'Bad(), ' * 10}]"
    )
    + "unit Good() { forward(X) { return X } }\n"
    + "unit Bad() { forward(X) { return X - mean(X, axis=1, keep=true) } }\n",
    "a loop": design(
        "for k in range(n_layers - 2) { X = X - mean(X, axis=1, keep=true) }\nreturn X"
    ),
    "a batch that a later layer mixes": design(
        "if layer == 10 { return X - mean(X, axis=0, keep=true) } else { return shift(X) }"
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_another_scale_chooses_is_not_proved_of_every_scale(name: str) -> None:
    here = prove(stack_of(ELSEWHERE[name], "16x2"))
    assert here.are_proved
    assert {here.causality.holds_at, here.batch.holds_at, here.length.holds_at} == {"16x2"}
    assert not prove(stack_of(ELSEWHERE[name], "1024x12")).are_proved


def test_a_choice_by_a_number_of_the_design_is_the_same_at_every_scale() -> None:
    text = design(f"if wide {LEAK}").replace("One()", "One(wide: bool = false)")
    found = prove(stack_of(text, "16x2"))
    assert found.are_proved
    assert found.causality.holds_at is None


def test_a_bound_that_is_zero_at_one_scale_keeps_its_symbols() -> None:
    """The mask keeps `D - 16` positions too many: none at a width of 16."""
    keep = "p[None, :] <= p[:, None] + (D - 16)"
    text = design(SCORES + POSITIONS + ATTEND.format(keep=keep))
    here = prove(stack_of(text, "16x2"))
    assert (here.causality.verdict, here.causality.holds_at) == (Verdict.PROVED, "16x2")
    assert prove(stack_of(text, "32x2")).causality.verdict is Verdict.REFUTED
