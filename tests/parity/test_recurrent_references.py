"""Recurrent units beside short references written from their papers, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from seeds.plain import Parameters
from torch import Tensor

from . import recurrent_elementwise as elementwise
from . import recurrent_matrix as matrix
from .recurrent_cases import PAPER, PAPERS
from .recurrent_weights import compiled, compiled_stack, disagreement, drawn, input_of

WIDTH = 16
LAYERS = 3
"""Of units that pass something from block to block."""

Layer = Callable[..., Tensor]


def hgrn_stack(mixer: Layer, x: Tensor, p: Parameters, **options: object) -> Tensor:
    """Blocks whose lower bounds come from one matrix that they share."""
    bounds = elementwise.forget_bounds(p["shared.m_bounds.Gamma"])
    for layer in range(LAYERS):
        x = x + mixer(x, block_of(p, layer), bounds[layer], **options)
    return x


def rwkv7_stack(x: Tensor, p: Parameters, core: matrix.Core = matrix.generalised_delta) -> Tensor:
    """Blocks that mix in the values of the first."""
    first = None
    for layer in range(LAYERS):
        y, first = matrix.rwkv7(x, block_of(p, layer), 4, first, core)
        x = x + y
    return x


def block_of(p: Parameters, layer: int) -> Parameters:
    start = f"blocks.{layer}.m."
    return {name.removeprefix(start): t for name, t in p.items() if name.startswith(start)}


STACKS: Mapping[str, tuple[str, Layer]] = {
    "HGRN": ("", partial(hgrn_stack, elementwise.hgru)),
    "HGRN2": ("", partial(hgrn_stack, partial(matrix.hgrn2, heads=4))),
    "RWKV-7": ("heads=4", rwkv7_stack),
}
UNITS: Mapping[str, tuple[str, Layer]] = {
    "minGRU": ("", elementwise.mingru),
    "minLSTM": ("", elementwise.minlstm),
    "LRU": ("", elementwise.lru),
    "S4D": ("pairs=4", elementwise.s4d_mixer),
    "H3": ("pairs=4", elementwise.h3),
    "Hyena": ("", elementwise.hyena),
    "sLSTM": ("", partial(elementwise.slstm, heads=4)),
    "DeltaNet": ("", partial(matrix.deltanet, heads=4)),
    "Gated DeltaNet": ("", partial(matrix.gated_deltanet, heads=4)),
    "Kimi delta attention": ("", partial(matrix.kimi_delta_attention, heads=4)),
    "Gated DeltaProduct": ("steps=3", partial(matrix.deltaproduct, heads=4, steps=3)),
    "GSA": ("slots=5", partial(matrix.gated_slot_attention, heads=4)),
    "RWKV-5": ("heads=4", partial(matrix.rwkv5, heads=4)),
    "RWKV-7 channel mix": ("", matrix.rwkv7_channel),
    "Titans": ("", partial(matrix.titans, heads=4)),
    "TTT-MLP": (
        "heads=4, mini_batch=4, base_lr=1.0",
        partial(matrix.ttt_mlp, heads=4, mini_batch=4, base_lr=1.0),
    ),
}


def disagreements(name: str, length: int, **options: object) -> dict[str, float]:
    """The unit beside its reference, the output and all gradients; options go to the reference."""
    arguments, layer = {**UNITS, **STACKS}[name]
    module, unit = PAPERS[name].unit.split(".")
    build = partial(compiled_stack, layers=LAYERS) if name in STACKS else compiled
    ours = drawn(build(f"{unit}({arguments})", f"{module} import {unit}", width=WIDTH), scale=0.4)
    parameters = {
        path.removeprefix("m."): parameter.detach().clone().requires_grad_()
        for path, parameter in ours.named_parameters()
    }
    constants = {path.removeprefix("m."): buffer for path, buffer in ours.named_buffers()}
    return disagreement(
        ours,
        lambda x: layer(x, {**parameters, **constants}, **options),
        parameters,
        {path: path for path in parameters},
        input_of(WIDTH, length, torch.float64),
    )


def test_every_paper_of_the_table_is_compared() -> None:
    assert PAPERS.keys() == UNITS.keys() | STACKS.keys()


@pytest.mark.parametrize("length", [1, 5, 18])
@pytest.mark.parametrize("name", PAPERS)
def test_unit_equals_its_paper(name: str, length: int) -> None:
    errors = disagreements(name, length)
    assert max(errors.values()) < PAPER, errors


def test_hyena_filters_fade_at_the_rates_of_its_comment() -> None:
    """A hundredth is left after 0.3 of the horizon in the first channel, 1.5 in the last."""
    block = compiled("HyenaOperator()", "long_conv import HyenaOperator", width=WIDTH)
    decay = block.get_buffer("m.filters.decay")
    assert torch.exp(-0.3 * decay[0]).item() == pytest.approx(0.01, rel=0.01)
    assert torch.exp(-1.5 * decay[-1]).item() == pytest.approx(0.01, rel=0.15)
    assert (decay.diff() < 0).all()
