"""Scales of model: the table of the Genesys ladder, and widths of one's own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from gabc.diagnostics.model import MAX_EXCERPT
from gabc.diagnostics.suggest import nearest
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
_CUSTOM = re.compile(r"(\d+)x(\d+)", re.ASCII)
_DIGITS = 9
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([KMBT])", re.ASCII | re.IGNORECASE)
_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


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
        near = _nearest(text, SCALES)
        hint = f"; did you mean `{near}`?" if near else ":"
        raise ScaleError(
            f"unknown scale `{_shown(text)}`{hint} use one of {', '.join(SCALES)}, "
            "or WIDTHxBLOCKS such as `64x2`"
        )
    # Of more digits than are allowed, no number is made: that takes time.
    width, blocks = (int(part) if len(part) <= _DIGITS else 10**_DIGITS for part in match.groups())
    if not 1 <= width <= MAX_WIDTH or not 1 <= blocks <= MAX_BLOCKS:
        raise ScaleError(
            f"scale `{_shown(text)}` is out of range: the width may be 1 to {MAX_WIDTH}, "
            f"the number of blocks 1 to {MAX_BLOCKS}"
        )
    return Scale(text, width, blocks)


def parse_fitted(text: str) -> Scale:
    """A scale that has a reference size to fit a design to. Raises `ScaleError`."""
    sized = [name for name, scale in SCALES.items() if scale.reference_params is not None]
    name = _ALIASES.get(text, text)
    if name in sized:
        return SCALES[name]
    if name in SCALES or _CUSTOM.fullmatch(text):
        reason, near = f"scale `{_shown(text)}` has no reference size to fit", None
    else:
        reason, near = f"unknown scale `{_shown(text)}`", _nearest(text, sized)
    hint = f"; did you mean `{near}`?" if near else ":"
    raise ScaleError(f"{reason}{hint} fit to one of {', '.join(sized)}")


def _nearest(text: str, names: Iterable[str]) -> str | None:
    """The name nearest in size where `text` is one, in spelling where not."""
    size = _size(text)
    if not size:
        return nearest(text, names)
    return min(names, key=lambda name: abs(math.log(_size(name) / size)))


def _size(text: str) -> float:
    """`2.7B` as a number, 0 where it is none."""
    match = _SIZE.fullmatch(text)
    return float(match[1]) * _UNITS[match[2].upper()] if match else 0.0


def _shown(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 3]}..."
