"""Recurrent and hybrid designs beside transformers, in plain PyTorch on a CPU.

transformers computes states, norms and gates in float32 whatever the dtype of the input; in float64
it is made to compute in float64 where it asks for float32, so that what is left is rounding.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from .recurrent_cases import DOUBLE, MIXERS, MODELS, SINGLE
from .recurrent_weights import disagreement, input_of
from .weights import in_double, measure_design, stack_of, stream_of, worst
from .weights import input_of as stream_input

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("fla") is not None,
        reason="where fla-core is installed, transformers calls its kernels, which need a GPU",
    ),
]


@pytest.mark.parametrize("length", [1, 33])
@pytest.mark.parametrize("name", MIXERS)
def test_unit_equals_the_module_of_transformers(name: str, length: int) -> None:
    from . import recurrent_transformers

    with in_double():
        sides = getattr(recurrent_transformers, name)()
        x = input_of(sides.width, length, torch.float64)
        parameters = dict(sides.theirs.named_parameters())
        errors = disagreement(sides.ours, sides.run, parameters, sides.copies, x)
    assert max(errors.values()) < DOUBLE, errors


@pytest.mark.parametrize("name", MIXERS)
def test_unit_equals_the_module_of_transformers_in_single(name: str) -> None:
    from . import recurrent_transformers

    sides = getattr(recurrent_transformers, name)()
    x = input_of(sides.width, 33, torch.float32)
    parameters = dict(sides.theirs.float().named_parameters())
    errors = disagreement(sides.ours.float(), sides.run, parameters, sides.copies, x)
    assert max(errors.values()) < SINGLE, errors


@pytest.mark.parametrize("name", MODELS)
def test_design_equals_the_model_of_transformers(name: str) -> None:
    from . import recurrent_models

    case = MODELS[name]
    with in_double():
        other = getattr(recurrent_models, name)()
        model = stream_of(stack_of(name, case.scale, **case.sizes))
        x = stream_input(64)
        expected = other.measure(x)
        assert [n for n, gradient in expected.gradients.items() if not gradient.any()] == []
        found = measure_design(model, x, other.state(), other.constants())
    assert worst(expected, found) < DOUBLE

    other.module.float()
    expected = other.measure(x.float())
    found = measure_design(model.float(), x.float(), other.state(), other.constants())
    assert worst(expected, found) < SINGLE


def test_a_wrong_weight_is_seen() -> None:
    """The comparison fails where one weight is not the other's."""
    from . import recurrent_transformers

    with in_double():
        sides = recurrent_transformers.mamba()
        parameters = dict(sides.theirs.named_parameters())
        wrong = {**sides.copies, "dt_bias": lambda tensors: tensors["dt_proj.bias"] + 1e-6}
        x = input_of(sides.width, 7, torch.float64)
        errors = disagreement(sides.ours, sides.run, parameters, wrong, x)
    assert errors["output"] > 100 * DOUBLE
