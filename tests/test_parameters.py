"""Parameters per block are those of the published seeds, counted from the design and from torch."""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path

import pytest
import torch
from designs import count_parameters
from seeds.test_references import PUBLISHED, SEEDS
from torch import nn

from gabc.check.report import Report, check
from gabc.elaborate.scales import SCALES, parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.model import build
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WIDTHS = (128, 256, 512, 768)
LADDER = ("14M", "31M", "70M", "125M", "350M", "760M", "1300M")
VOCAB = 32_000


@cache
def report_of(name: str, *scales: str) -> Report:
    path = EXAMPLES / f"{name}.gab"
    report = check(
        Source(path.name, path.read_text(encoding="utf-8")),
        scales=[parse_scale(scale) for scale in scales],
    )
    assert report.ok, [diagnostic.message for diagnostic in report.diagnostics]
    return report


def counted(stack: Stack, block: int = 0) -> int:
    """Trainable numbers of a block, from the elaborated design alone."""
    return sum(
        math.prod(instance.size(dim) for dim in parameter.type.dims)
        for _, instance in stack.blocks[block].walk()
        for parameter in instance.params
        if not parameter.is_buffer
    )


def on_meta(stack: Stack) -> nn.Module:
    with torch.device("meta"):
        return build(stack, vocab_size=VOCAB, seed=None, device="meta")


def ttt_by_hand(width: int) -> int:
    """The published seed crashes at 512 and 768: its units, summed by hand."""
    heads = max(4, width // 64)
    matrices = 4 * width**2 + 3 * (5 * width // 2) * width
    inner = width * (width // heads) + 3 * width  # W0, b0 and the inner norm
    rate = heads * width + heads + 16
    return matrices + inner + rate + 3 * width + 5 * width + 2 * width  # norms, conv, post norm


def expected_of(name: str, width: int) -> int:
    published = dict(zip(WIDTHS, PUBLISHED[name], strict=False))
    return published[width] if width in published else ttt_by_hand(width)


def test_ttt_by_hand_gives_the_published_figures() -> None:
    assert (ttt_by_hand(128), ttt_by_hand(256)) == PUBLISHED["ttt"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_block_has_the_published_number_of_parameters(name: str, width: int) -> None:
    stack = report_of(name, f"{width}x1").stacks[f"{width}x1"]
    assert counted(stack) == expected_of(name, width)
    built = on_meta(stack).get_submodule("blocks.0")
    assert sum(parameter.numel() for parameter in built.parameters()) == expected_of(name, width)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_named_as_in_the_references(name: str) -> None:
    """Every parameter has the name and the shape that the independent reference gives it."""
    stack = report_of(name, "128x1").stacks["128x1"]
    shapes = {
        f"{path}.{parameter.name}".removeprefix("."): tuple(
            instance.size(dim) for dim in parameter.type.dims
        )
        for path, instance in stack.blocks[0].walk()
        for parameter in instance.params
        if not parameter.is_buffer
    }
    assert shapes == SEEDS[name].shapes(128)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_builds_at_every_scale(name: str) -> None:
    report = report_of(name, *LADDER)
    assert set(report.stacks) == set(LADDER)
    for scale in LADDER:
        stack = report.stacks[scale]
        model = on_meta(stack)
        assert all(parameter.is_meta for parameter in model.parameters())
        total = sum(parameter.numel() for parameter in model.parameters())
        width, blocks = SCALES[scale].D, SCALES[scale].n_layers
        assert len(stack.blocks) == blocks
        # The embedding is tied to the head; the last norm has a weight and no bias.
        assert total == VOCAB * width + width + blocks * counted(stack)
        assert total == count_parameters(stack, VOCAB)


def test_gpt2_is_near_the_reference_size_of_every_scale() -> None:
    """The seed stands for the reference of the ladder, whose sizes were counted elsewhere."""
    stacks = report_of("gpt2", *LADDER).stacks
    for scale in LADDER:
        reference = SCALES[scale].reference_params
        assert reference is not None
        assert count_parameters(stacks[scale], VOCAB) == pytest.approx(reference, rel=0.2)


def test_checking_every_scale_is_quick() -> None:
    """All five seeds at seven scales; the limit leaves room for a slow machine."""
    started = time.process_time()
    for name in PUBLISHED:
        path = EXAMPLES / f"{name}.gab"
        source = Source(path.name, path.read_text(encoding="utf-8"))
        assert check(source, scales=[SCALES[scale] for scale in LADDER]).ok
    assert time.process_time() - started < 10
