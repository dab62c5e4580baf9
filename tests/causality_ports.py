"""Faults met in published or generated models, and what the tests of the proof share."""

from __future__ import annotations

from dataclasses import dataclass

from designs import stack_of

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Proofs
from gabc.graph.instance import Stack

LENGTHS = (1, 7, 23)


def design(body: str, members: str = "") -> str:
    lines = "\n".join(f"        {line}" for line in body.strip("\n").splitlines())
    return f"gab One\n\nunit One() {{\n{members}\n    forward(X) {{\n{lines}\n    }}\n}}\n"


def block(body: str, members: str = "", scale: str = "16x2") -> Stack:
    return stack_of(design(body, members), scale)


def proofs_of(body: str, members: str = "", scale: str = "16x2") -> Proofs:
    return prove(block(body, members, scale))


SCORES = 's = einsum("b l d, b m d -> b l m", X, X)\n'
POSITIONS = "p = positions()\n"


@dataclass(frozen=True)
class Port:
    """A fault met in published or generated models, as a short design.

    `shown`: whether the test must find a witness; some are hidden from every run.
    """

    body: str
    code: str
    message: str
    members: str = ""
    shown: bool = True


PORTS = {
    "a mean over the sequence feeds a gate": Port(
        "g = sigmoid(mean(X, axis=1, keep=true))\nreturn X * g",
        "GAB0401",
        "`mean` over the time axis reads every position",
    ),
    "RMS over the sequence": Port(
        'y = rms_norm(rearrange(X, "b l d -> b d l"))\nreturn rearrange(y, "b d l -> b l d")',
        "GAB0401",
        "`rms_norm` over the time axis reads every position",
    ),
    "a threshold from the mean over all blocks": Port(
        "m = mean(mean(blocks(X, 4), axis=2), axis=1)\nreturn where(X > m[:, None], X, 0.5 * X)",
        "GAB0401",
        "`mean` over the axis of blocks `ceil(L/4)` reads every block",
    ),
    "the last state goes through Z to every position": Port(
        "p = positions()\n"
        "if layer > 0 { y = X + Z.last[:, None] } else { y = X }\n"
        'Z.last = einsum("b l d, l -> b d", y, float(p == max(p, axis=0)))\n'
        "return y",
        "GAB0404",
        "`Z.last` has no time axis and depends on the sequence",
        "    reads last: [B, D]?\n    writes last: [B, D]",
    ),
    "a position divided by the last one": Port(
        "p = positions()\nreturn X * (p / max(p, axis=0, keep=true))[:, None]",
        "GAB0402",
        "`max` over the time axis depends on how long the sequence is",
    ),
    "a filter applied on both sides": Port(
        "p = positions()\nlag = abs(p[:, None] - p[None, :])\nreturn exp(-lag) @ X",
        "GAB0401",
        "`matmul` over the time axis reads every position",
    ),
    "a convolution with `same` padding": Port(
        "p = positions()\nnear = abs(p[:, None] - p[None, :]) <= 1.0\nreturn float(near) @ X",
        "GAB0401",
        "`matmul` reads the position ahead: its mask keeps s <= t + 1",
    ),
    "a mask that keeps one position too many": Port(
        POSITIONS
        + SCORES
        + "return softmax(masked(s, p[None, :] <= p[:, None] + 1.0), axis=-1) @ X",
        "GAB0401",
        "`softmax` reads the position ahead: its mask keeps s <= t + 1",
    ),
    "attention without a mask": Port(
        SCORES + "return softmax(s, axis=-1) @ X",
        "GAB0401",
        "`softmax` over the time axis reads every position",
    ),
    "a chunk's summary without the shift": Port(
        "x = blocks(X, 4)\nreturn unblocks(x + sum(x, axis=2, keep=true))",
        "GAB0401",
        "`sum` over the axis `4` of a block reads up to 3 positions ahead",
    ),
    "summaries of blocks up to the own one": Port(
        "x = blocks(X, 4)\n"
        "n = blocks(positions(), 4)[:, 0]\n"
        's = einsum("n m, b m d -> b n d", float(n[:, None] >= n[None, :]), sum(x, axis=2))\n'
        "return unblocks(x + s[:, :, None])",
        "GAB0401",
        "`sum` over the axis `4` of a block reads up to 3 positions ahead",
    ),
    "pooling that looks ahead by one": Port(
        "x = blocks(X, 2)\nreturn unblocks(0.5 * x + 0.5 * x[:, :, -1:])",
        "GAB0401",
        "`x[:, :, -1:]` reads the position ahead",
    ),
    "experts choose their tokens": Port(
        "m = topk_mask(mean(X, axis=-1), 3, axis=1)\nreturn X * float(m)[:, :, None]",
        "GAB0401",
        "`topk_mask` over the time axis reads every position",
    ),
    "BatchNorm": Port(
        "m = mean(mean(X, axis=0), axis=0)\nreturn X - m",
        "GAB0403",
        "`mean` over the batch axis mixes the rows of the batch",
    ),
    "a sum of ones over the length": Port(
        "n = sum(ones(L), axis=0)\nreturn X / n",
        "GAB0402",
        "`sum` over the time axis depends on how long the sequence is",
    ),
    "positions from the end": Port(
        "left = sum(X, axis=1, keep=true) - cumsum(X)\nreturn X + left",
        "GAB0401",
        "`sum` over the time axis reads every position",
    ),
    "a chunked scan that reads its state after the update": Port(
        "return scan(X) chunk 4 {\n    state S: [B, D] = 0.0\n    S = S + sum(X, axis=1)\n"
        "    return X + S[:, None]\n}",
        "GAB0401",
        "what this `scan` returns depends on positions up to 3 ahead",
    ),
    "a product with zero masks what overflows": Port(
        POSITIONS
        + 's = einsum("b l d, b m d -> b l m", X, X)\n'
        + "w = float(p[:, None] >= p[None, :]) * exp(s)\n"
        + "return w @ X / (p + 1.0)[:, None]",
        "GAB0401",
        "`float(p[:, None] >= p[None, :]) * exp(s)` masks by a product what may be infinite",
    ),
    "an attention capture one ahead": Port(
        "x = X[:, :, None]\ng = mean(X, axis=-1)\n"
        "y = attend(x, x, x) {\n    score = score + g[b, j + 1]\n}\nreturn y[:, :, 0]",
        "GAB0401",
        "`g[b, j + 1]` reads the position ahead",
    ),
    "an attention capture that the softmax cancels": Port(
        "x = X[:, :, None]\ng = mean(X, axis=-1)\n"
        "y = attend(x, x, x) {\n    score = score + g[b, i + 1]\n}\nreturn y[:, :, 0]",
        "GAB0405",
        "`g[b, i + 1]` reads the position ahead",
        shown=False,
    ),
    "a large number as a mask": Port(
        POSITIONS
        + SCORES
        + "s = s + where(p[:, None] >= p[None, :], 0.0, -1e9)\nreturn softmax(s, axis=-1) @ X",
        "GAB0405",
        "an added number is no mask",
        shown=False,
    ),
    "a count of steps summed up": Port(
        "n = scan(X) {\n    state n: [B] = 0.0\n    n = n + 1.0\n    return n\n}\n"
        "return X / sum(n, axis=1, keep=true)[:, :, None]",
        "GAB0402",
        "`sum` over the time axis depends on how long the sequence is",
    ),
    "the padding of the last block": Port(
        "x = blocks(X, 4)\nreturn unblocks(x - mean(exp(x), axis=2, keep=true))",
        "GAB0401",
        "`mean` over the axis `4` of a block reads up to 3 positions ahead",
    ),
}
