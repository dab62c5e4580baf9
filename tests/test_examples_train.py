"""Every design of `examples/` learns: a few steps on one fixed batch, at a tiny size."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F
from designs import EXAMPLES

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.model import build
from gabc.syntax.source import Source

pytestmark = pytest.mark.slow

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.gab"))
SCALES = ("32x2", "64x2", "64x4", "128x6")
"""From the smallest on: some designs need wider heads, or a layer of each kind."""
HEADS_OF_64 = ("ttt", "ttt_mlp")
"""They have a head for every 64 of the width."""
VOCAB, BATCH, LENGTH, STEPS = 32, 2, 24, 12
FALL = 0.5  # nats


def smallest_stack(name: str) -> Stack:
    """The design at the first scale at which it is well-formed."""
    source = Source(f"{name}.gab", (EXAMPLES / f"{name}.gab").read_text(encoding="utf-8"))
    for scale in SCALES[name in HEADS_OF_64 :]:
        report = check(source, scales=[parse_scale(scale)])
        if report.ok:
            return report.stacks[scale]
    pytest.fail(f"{name} is well-formed at none of {', '.join(SCALES)}")


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_and_nothing_is_nan(name: str) -> None:
    model = build(smallest_stack(name), vocab_size=VOCAB, seed=0)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCAB, (BATCH, LENGTH + 1), generator=generator)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(STEPS):
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        assert gradients
        broken = [n for n, gradient in gradients.items() if not gradient.isfinite().all()]
        assert broken == []
        optimiser.step()
        losses.append(loss.item())
    assert abs(losses[0] - log(VOCAB)) < 1.0
    assert losses[-1] < losses[0] - FALL, losses
