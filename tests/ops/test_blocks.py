"""Blocks of time that overlap, and chunk hierarchies: values, proofs, and attacks on the proofs."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from designs import stack_of
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Verdict
from gabc.runtime.functional.sequence import blocks
from gabc.runtime.model import build
from gabc.runtime.oracle import Oracle

from .harness import SIZES, T, check, refusal

VOCAB = 7
LENGTHS = (1, 2, 5, 8, 13)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (4, 2), (5, 3), (2, 2), (2, 3), (1, 4)])
def test_a_block_begins_every_stride(
    size: int, stride: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "L", length)
    for shape in ("B L D", "B H L K"):
        check("blocks", {"x": T(shape), "size": size, "stride": stride}, smooth=length == 5)
    x = torch.arange(1.0, length + 1)
    found = blocks(x, size, axis=0, stride=stride)
    for n, block in enumerate(found.tolist()):
        positions = range(stride * n, stride * n + size)
        assert block == [float(p + 1) if p < length else 0.0 for p in positions]
    assert len(found) == len(range(0, length, stride))


def test_a_stride_of_the_size_is_no_overlap() -> None:
    x = torch.randn(2, 11, 3)
    torch.testing.assert_close(blocks(x, 4, stride=4), blocks(x, 4), rtol=0, atol=0)


def test_a_stride_is_a_size_of_the_configuration() -> None:
    assert refusal("blocks", {"x": T("B L D"), "size": 4, "stride": "L"}).code == "GAB0207"


# -------------------------------------------------------------------------------- proofs

# Compressed attention: a query reads the means of blocks that ended `slack` positions before it.
COMPRESSED = """gab One

unit One() {{
    w = Linear(D, D)
    forward(X) {{
        k = {op}(blocks(X, {size}, stride={stride}), axis=2)
        first = blocks(positions(), {size}, stride={stride})[:, 0]
        ended = first[None, :] + {slack} <= positions()[:, None]
        s = einsum("b l d, b n d -> b l n", w(X), k)
        return X + softmax(masked(s, ended)) @ k
    }}
}}
"""


@pytest.mark.parametrize("op", ["mean", "max"])
@pytest.mark.parametrize(("size", "stride"), [(4, 2), (4, 4), (3, 1), (2, 3), (5, 3)])
def test_a_block_may_be_read_once_it_has_ended(size: int, stride: int, op: str) -> None:
    for slack in range(size + 2):
        text = COMPRESSED.format(op=op, size=size, stride=stride, slack=float(slack))
        stack = stack_of(text, "4x1")
        has_ended = slack >= size - 1
        assert (prove(stack).causality.verdict is Verdict.PROVED) is has_ended
        leak = Oracle(stack, seed=1, magnitudes=(2.0,)).future(LENGTHS)
        assert (leak is None) is has_ended


# What each level gives is read by the next; `up` brings the last back to positions.
HIERARCHY = """gab One

unit One() {{
    down = Linear(2 * D, D)
    param taps: [D, 2] = normal(0.0, 0.5)
    forward(X) {{
        fine = blocks(X, 2)
        x = down(rearrange(fine, "b n c d -> b n (c d)"))
        {statements}
        return X + tanh(unblocks(repeat({up}, "b n d -> b n c d", c=2)))
    }}
}}
"""

STEPS = (
    "x = x + shift(x, 2)",
    "x = x + 0.3 * cumsum(x, axis=1)",
    "x = x + window_mean(x, 2)",
    "x = x + running_mean(x)",
    "x = x + causal_conv(x, taps)",
    'x = x + softmax(causal(einsum("b n d, b m d -> b n m", x, x))) @ x',
    "x = tanh(x)",
    "x = layer_norm(x)",
    "x = x - mean(x, axis=1, keep=true)",
    'x = x + softmax(einsum("b n d, b m d -> b n m", x, x)) @ x',
)
UPS = ("shift(x, 1)", "shift(x, 1)", "shift(x, 2)", "x", "shift(x, 0)")


def hierarchy(seed: int) -> str:
    choose = random.Random(seed)
    steps = choose.choices(STEPS, weights=[3] * 8 + [1] * 2, k=choose.randint(1, 4))
    return HIERARCHY.format(statements="\n        ".join(steps), up=choose.choice(UPS))


def overlapping(seed: int) -> str:
    """Blocks that overlap, worked on inside, and read at a random distance."""
    choose = random.Random(seed)
    size, stride = choose.choice([(4, 2), (3, 2), (3, 1), (2, 3), (4, 3)])
    k = choose.choice(
        [
            "mean(b, axis=2)",
            "b[:, :, 0]",
            f"b[:, :, {size - 1}]",
            "sum(cumsum(b, axis=2), axis=2)",
            "max(b, axis=2)",
            'reduce(softmax(b, axis=2) * b, "b n c d -> b n d", "sum")',
            "shift(mean(b, axis=2), 1)",
            "window_mean(mean(b, axis=2), 2)",
        ]
    )
    slack = choose.randint(0, size + stride)
    edge = choose.choice([f"{slack}.0", f"{slack}.0", f"{slack}.5"])
    order = choose.choice(["<=", "<=", "<", ">="])
    return f"""gab One

unit One() {{
    w = Linear(D, D)
    forward(X) {{
        b = blocks(X, {size}, stride={stride})
        k = {k}
        first = blocks(positions(), {size}, stride={stride})[:, 0]
        ended = first[None, :] + {edge} {order} positions()[:, None]
        s = einsum("b l d, b n d -> b l n", w(X), k)
        return X + softmax(masked(s, ended)) @ k
    }}
}}
"""


def judged(seeds: range) -> tuple[Counter[str], list[str]]:
    """How often each verdict falls, and the proofs that a run contradicts."""
    outcomes: Counter[str] = Counter()
    unsound = []
    for seed in seeds:
        text = (hierarchy if seed % 2 else overlapping)(seed)
        stack = stack_of(text, "4x1")
        proofs, oracle = prove(stack), Oracle(stack, seed=seed, magnitudes=(2.0,))
        runs = (
            (proofs.causality, oracle.future(LENGTHS)),
            (proofs.length, oracle.prefix(LENGTHS)),
            (proofs.batch, oracle.rows(LENGTHS)),
        )
        for found, witness in runs:
            outcomes[f"{found.verdict.value}, {'leaks' if witness else 'clean'}"] += 1
            if found.verdict is Verdict.PROVED and witness is not None:
                unsound.append(f"seed {seed}: {witness}\n{text}")
    return outcomes, unsound


def test_no_run_contradicts_a_proof() -> None:
    outcomes, unsound = judged(range(40))
    assert not unsound, unsound[0]
    assert outcomes["proved, clean"]
    assert outcomes["refuted, leaks"]


@pytest.mark.slow
def test_no_longer_run_contradicts_a_proof() -> None:
    _, unsound = judged(range(40, 400))
    assert not unsound, unsound[0]


@pytest.mark.parametrize("seed", range(6))
def test_code_equals_the_reference(seed: int) -> None:
    stack = stack_of((hierarchy if seed % 2 else overlapping)(seed), "4x1")
    model = build(stack, vocab_size=VOCAB).double()
    state = drawn_state(model, seed)
    for length in (1, 2, 3, 9):
        tokens = tokens_of(length, VOCAB)
        expected = run_reference(stack, state, tokens)
        assert differences(expected, run_compiled(model, state, tokens)) == []
