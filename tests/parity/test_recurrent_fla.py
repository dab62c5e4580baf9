"""Recurrent units beside fla-core's naive references, where it is installed; it is no dependency.

fla-core has the recurrence alone: it takes the place of the recurrence in the references of this
folder, and outputs and gradients of whole units are compared.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from torch import Tensor

from .recurrent_cases import PAPER, PAPERS
from .test_recurrent_references import disagreements
from .weights import in_double

pytest.importorskip("fla", reason="fla-core is not installed")

Naive = Callable[..., tuple[Tensor, object]]


def by_head(*tensors: Tensor) -> list[Tensor]:
    """[B, L, H, ...] to [B, H, L, ...]; fla's older references write in place."""
    return [tensor.transpose(1, 2).clone() for tensor in tensors]


def elementwise(naive: Naive, keep: Tensor, new: Tensor) -> Tensor:
    return naive(new, keep.log())[0]


def delta_rule(naive: Naive, q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    return naive(*by_head(q, k, v, beta))[0].transpose(1, 2)


def with_names(naive: Naive, **tensors: Tensor) -> Tensor:
    return naive(**tensors)[0]


def delta_product(naive: Naive, k: Tensor, v: Tensor, beta: Tensor, **rest: Tensor) -> Tensor:
    steps = {"k": k.flatten(1, 2), "v": v.flatten(1, 2), "beta": beta.flatten(1, 2)}
    scale = k.shape[-1] ** -0.5
    return naive(**steps, **rest, scale=scale, num_householder=k.shape[2])[0]


def gla(naive: Naive, q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    return naive(q * q.shape[-1] ** 0.5, k, v, g)[0]


def dplr(naive: Naive, q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    return naive(*by_head(q * q.shape[-1] ** 0.5, k, v, a, b, g))[0].transpose(1, 2)


CORES: Mapping[str, Callable[..., Tensor]] = {
    "minGRU": elementwise,
    "minLSTM": elementwise,
    "DeltaNet": delta_rule,
    "Gated DeltaNet": with_names,
    "Kimi delta attention": with_names,
    "Gated DeltaProduct": delta_product,
    "HGRN2": gla,
    "GSA": with_names,
    "RWKV-7": dplr,
}


def test_every_reference_named_in_the_table_is_run() -> None:
    assert CORES.keys() == {name for name, paper in PAPERS.items() if paper.fla is not None}


@pytest.mark.parametrize("name", CORES)
def test_unit_equals_the_naive_reference_of_fla(name: str) -> None:
    found = PAPERS[name].fla
    assert found is not None
    module, function = found.split(": ")
    naive = getattr(importlib.import_module(f"fla.ops.{module}.naive"), function)
    with in_double():
        errors = disagreements(name, length=18, core=partial(CORES[name], naive))
    assert max(errors.values()) < PAPER, errors
