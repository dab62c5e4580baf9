"""Faults of real models, and attacks on the rules: none may be proved causal."""

from __future__ import annotations

import pytest
from causality_ports import LENGTHS, PORTS, POSITIONS, SCORES, block, design, proofs_of
from designs import stack_of

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Verdict
from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.runtime.oracle import Oracle, confirm
from gabc.syntax.source import Source

# ---------------------------------------------------------------- real faults


@pytest.mark.parametrize("name", PORTS)
def test_ports_are_refused(name: str) -> None:
    port = PORTS[name]
    stack = block(port.body, port.members)
    found = prove(stack)
    assert any(p.verdict is Verdict.REFUTED for p in (found.causality, found.length, found.batch))
    confirmed = confirm(found, stack, lengths=LENGTHS)
    diagnostic = confirmed.diagnostics[0]
    assert diagnostic.code == port.code
    assert port.message in diagnostic.message
    assert diagnostic.help
    if port.shown:
        witnesses = [confirmed.causality, confirmed.length, confirmed.batch]
        assert any(p.witness is not None for p in witnesses), "no run shows the leak"


def test_ports_differ() -> None:
    """Each fault is told apart by its message or its place."""
    told = {
        (prove(block(p.body, p.members)).diagnostics[0].message, p.body) for p in PORTS.values()
    }
    assert len(told) == len(PORTS)


UNWRITABLE = {
    "a position divided by L - 1": (
        "return X * (positions() / (L - 1))[:, None]",
        "GAB0207",
        "`L` is a size, never a number",
    ),
    "a shift into the future": ("return shift(X, -1)", "GAB0210", "would read the future"),
    "the last position": ("return X + X[:, -1][:, None]", "GAB0210", "can only be kept whole"),
    "a row of the batch": ("return X + X[0]", "GAB0210", "can only be kept whole"),
    "reversed positions": ("return flip(X, axis=1)", "GAB0101", "no function or unit `flip`"),
    "a rolled sequence": ("return roll(X, 1)", "GAB0101", "no function or unit `roll`"),
    "an FFT over the sequence": ("return fft(X, axis=1)", "GAB0101", "no function or unit `fft`"),
    "a step counter": (
        "state n: [B] = 0.0\nn = n + 1.0\nreturn X * n[:, None, None]",
        "GAB0115",
        "a `state` belongs inside `scan`",
    ),
    "a gather along time": (
        "i = int(X)\nreturn gather(X, i, axis=1)",
        "GAB0204",
        "cannot read along the time axis",
    ),
    "the future of a scan's argument": (
        "g = sigmoid(X)\nreturn scan(x=X) {\n    state S: [B, D] = 0.0\n"
        "    S = S + sum(g, axis=1) * x\n    return S\n}",
        "GAB0115",
        "has a time axis and cannot be captured",
    ),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written(name: str) -> None:
    body, code, message = UNWRITABLE[name]
    source = Source("design.gab", design(body))
    report = check(source, scales=(parse_scale("16x2"),))
    found = [d for d in report.diagnostics if d.code == code and message in d.message]
    assert found, [(d.code, d.message) for d in report.diagnostics]


# ---------------------------------------------------------------- attacks on the rules


def test_the_index_of_a_filled_block_is_no_position() -> None:
    """The last block is filled with zeros: place c of a block of positions is n C + c or 0."""
    body = (
        "x = blocks(X, 4)\nn = blocks(positions(), 4)[:, 3]\n"
        's = einsum("n m, b m d -> b n d", float(n[:, None] > n[None, :]), sum(x, axis=2))\n'
        "return unblocks(x + s[:, :, None])"
    )
    assert proofs_of(body).causality.verdict is not Verdict.PROVED


def test_padding_of_a_chunk_is_no_position() -> None:
    """The last chunk is filled with copies: a mask of positions passed to it keeps them, too."""
    body = (
        "return scan(x=X, p=positions()[None, :] * ones(B, L)) chunk 4 {\n"
        "    state S: [B, D] = 0.0\n    before = S\n    S = S + sum(x, axis=1)\n"
        '    s = x @ rearrange(x, "b c d -> b d c")\n'
        "    a = softmax(masked(s, p[:, :, None] >= p[:, None]), axis=-1)\n"
        "    return before[:, None] + a @ x\n}"
    )
    assert proofs_of(body).causality.verdict is not Verdict.PROVED


def test_shifted_ones_still_count() -> None:
    """What stands at index m + 1 exists only if the sequence is that long, whatever its value."""
    body = (
        "p = positions()\nnear = float(p[:, None] + 1.0 >= p[None, :])\n"
        "n = sum(shift(ones(L), 1)[None, :] * near, axis=1)\nreturn X * n[:, None]"
    )
    stack = block(body)
    assert prove(stack).length.verdict is Verdict.REFUTED
    assert Oracle(stack).prefix((7,)) is not None


def test_a_long_chain_of_states_is_followed_to_its_end() -> None:
    states = [f"    state s{i}: [B, D] = 0.0" for i in range(12)]
    moves = [f"    s{i} = s{i - 1}" for i in range(11, 0, -1)]
    lines = [*states, *moves, "    s0 = x", "    return s11"]
    proofs = proofs_of("return scan(x=X) {\n" + "\n".join(lines) + "\n}", scale="16x1")
    assert proofs.are_proved
    assert proofs.receptive_field[1].value == -11


def test_rounding_does_not_shift_a_bound() -> None:
    """0.7 * 3 is less than 2.1 in floating point: the comparison holds three ahead."""
    body = (
        POSITIONS
        + SCORES
        + (
            "keep = 0.7 * p[None, :] - 0.7 * p[:, None] < 2.1 - 2.1\n"
            "return softmax(masked(s, keep), axis=-1) @ X"
        )
    )
    strict = proofs_of(body)
    assert strict.causality.verdict is Verdict.PROVED
    body = body.replace("2.1 - 2.1", "0.7")
    assert proofs_of(body).causality.verdict is Verdict.REFUTED


# ---------------------------------------------------------------- dims that the call binds

CHILDREN = {
    "a number": ("return x / N", Verdict.PROVED, Verdict.REFUTED),
    "the last position": ("return x - x[:, -1:]", Verdict.REFUTED, Verdict.REFUTED),
    "the first position": ("return x - x[:, :1]", Verdict.PROVED, Verdict.PROVED),
    "a cut": (
        "a, b = split(x, sizes=[1, N - 1], axis=1)\n        return concat([b, a], axis=1)",
        Verdict.REFUTED,
        Verdict.REFUTED,
    ),
    "a mean": ("return x - mean(x, axis=1, keep=true)", Verdict.REFUTED, Verdict.REFUTED),
    "a count": ("return x * cos(arange(N))[:, None]", Verdict.PROVED, Verdict.PROVED),
    "a share": ("return x * (arange(N) / N)[:, None]", Verdict.PROVED, Verdict.REFUTED),
    "a gather": ("return gather(x, int(x), axis=1)", Verdict.UNKNOWN, Verdict.UNKNOWN),
    "the identity": ("return eye(N) @ x", Verdict.PROVED, Verdict.PROVED),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_time_under_another_name(name: str) -> None:
    """A child sees the time axis as `N`: what would be refused of `L` must be proved or refuted."""
    body, causality, length = CHILDREN[name]
    text = design("return 0.5 * X + c(X)", "    c = Child()")
    text += f"unit Child() {{\n    forward(x: [B, N, D]) {{\n        {body}\n    }}\n}}\n"
    stack = stack_of(text)
    proofs = prove(stack)
    assert (proofs.causality.verdict, proofs.length.verdict) == (causality, length)
    oracle = Oracle(stack)
    if causality is Verdict.PROVED:
        assert oracle.future(LENGTHS) is None
    if length is Verdict.PROVED:
        assert oracle.prefix(LENGTHS) is None


def test_rows_under_another_name() -> None:
    text = design("return X + c(X)", "    c = Child()")
    text += "unit Child() {\n    forward(x: [M, L, D]) {\n        return x - x[:1]\n    }\n}\n"
    proofs = prove(stack_of(text))
    assert proofs.batch.verdict is Verdict.REFUTED
    assert proofs.diagnostics[0].message == "`x[:1]` reads another row of the batch"
