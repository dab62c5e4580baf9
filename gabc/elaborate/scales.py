"""Scales of model: the table of the Genesys ladder, and widths of one's own."""

from __future__ import annotations

import re

from gabc.graph.instance import Scale

_ROWS: tuple[tuple[str, int, int, int | None, float, float, int], ...] = (
    # name, D, blocks, reference parameters (GPT, tied head, vocabulary 32000), learning rate,
    # batch in millions of tokens, tokens per parameter
    ("14M", 128, 6, 5_280_384, 1e-3, 0.5, 50),
    ("31M", 256, 6, 12_920_064, 1e-3, 0.5, 40),
    ("70M", 512, 6, 35_277_312, 1e-3, 0.5, 30),
    ("125M", 768, 12, 109_566_720, 6e-4, 0.5, 20),
    ("350M", 1024, 24, 334_906_368, 3e-4, 0.5, 20),
    ("760M", 1536, 24, 728_851_968, 2.5e-4, 0.5, 20),
    ("1300M", 2048, 24, 1_273_792_512, 2e-4, 1.0, 20),
    ("2.7B", 2560, 32, None, 1.6e-4, 1.0, 20),
    ("6.7B", 4096, 32, None, 1.2e-4, 2.0, 20),
    ("13B", 5120, 40, None, 1e-4, 2.0, 20),
    ("175B", 12288, 96, None, 0.6e-4, 3.2, 20),
    ("1T", 20480, 200, None, 0.3e-4, 6.4, 20),
)

SCALES: dict[str, Scale] = {
    name: Scale(name, width, blocks, params, rate, round(batch * 1e6), tokens)
    for name, width, blocks, params, rate, batch, tokens in _ROWS
}
"""The ladder of genesys.md, smallest first."""

DEFAULT_SCALE = "14M"
VOCAB_SIZE = 32_000

MAX_WIDTH = 1 << 20
MAX_BLOCKS = 10_000

_ALIASES = {"1.3B": "1300M"}
_CUSTOM = re.compile(r"(\d{1,9})x(\d{1,9})", re.ASCII)


class ScaleError(ValueError):
    """No such scale; the message says which there are."""


def parse_scale(text: str) -> Scale:
    """A scale of the table by its name, or `64x2`: width 64, two blocks.

    Raises `ScaleError`.
    """
    name = _ALIASES.get(text, text)
    if name in SCALES:
        return SCALES[name]
    match = _CUSTOM.fullmatch(text)
    if match is None:
        raise ScaleError(
            f"unknown scale `{text}`: use one of {', '.join(SCALES)}, "
            "or WIDTHxBLOCKS such as `64x2`"
        )
    width, blocks = int(match[1]), int(match[2])
    if not 1 <= width <= MAX_WIDTH or not 1 <= blocks <= MAX_BLOCKS:
        raise ScaleError(
            f"scale `{text}` is out of range: the width may be 1 to {MAX_WIDTH}, "
            f"the number of blocks 1 to {MAX_BLOCKS}"
        )
    return Scale(text, width, blocks)
