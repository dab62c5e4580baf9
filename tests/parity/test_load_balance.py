"""The load-balancing loss of std.moe against transformers', of the same router."""

from __future__ import annotations

import pytest
import torch

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.runtime.model import build
from gabc.runtime.reference import ReferenceModel
from gabc.syntax.source import Source

from .weights import in_double

pytestmark = pytest.mark.slow

DESIGN = """
gab Root

from std.mlp import MLP
from std.moe import TopKExperts

unit Root() {{
    moe = TopKExperts(experts=5, top={top}, balance=0.3, expert=MLP(hidden=4))
    forward(X) {{ return X + moe(X) }}
}}
"""


@pytest.mark.parametrize("top", [1, 2, 5])
def test_as_in_transformers(top: int) -> None:
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    scale = parse_scale("8x1")
    report = check(Source("moe.gab", DESIGN.format(top=top)), scales=(scale,))
    assert report.ok
    stack = report.stacks[scale.name]
    generator = torch.Generator().manual_seed(top)
    model = build(stack, vocab_size=7, seed=1).double()
    state = dict(model.state_dict())
    router = torch.randn(5, 8, generator=generator, dtype=torch.float64).requires_grad_()
    state["blocks.0.moe.router.weight"] = router
    X = torch.randn(3, 11, 8, generator=generator, dtype=torch.float64)
    reference = ReferenceModel(stack, state)
    reference.block(0, X, {})
    (found,) = reference.losses.values()
    logits = (X @ router.T).reshape(-1, 5)
    with in_double():
        wanted = 0.3 * load_balancing_loss_func((logits,), num_experts=5, top_k=top)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(loss, router)[0] for loss in (found, wanted)]
    assert gradients[1].abs().max() > 1e-6 or top == 5
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)
