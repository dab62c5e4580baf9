"""The attention family: proved at every scale, equal to others' code, equal in both back ends.

`docs/parity.md` is kept in step; rewrite its part with `--update-golden`.
"""

from __future__ import annotations

import pytest
import torch
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.runtime.model import build
from gabc.syntax.source import Source

from . import attention_references
from .attention_cases import NOT_COMPARED, PAPERS, TRANSFORMERS, Case
from .page import require_section
from .weights import (
    Measured,
    in_double,
    input_of,
    measure,
    measure_design,
    randomise,
    stack_of,
    stream_of,
    text_of,
    worst,
)

DESIGNS = {**TRANSFORMERS, **PAPERS}


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("scale", ["14M", "125M", pytest.param("1300M", marks=pytest.mark.slow)])
def test_proved_without_a_warning(name: str, scale: str) -> None:
    report = check(Source(f"{name}.gab", text_of(name)), scales=[parse_scale(scale)])
    assert [diagnostic.message for diagnostic in report.diagnostics] == []
    assert report.proofs[scale].are_proved


@pytest.mark.parametrize("name", DESIGNS)
def test_compiled_equals_the_interpreter(name: str) -> None:
    case = DESIGNS[name]
    stack = stack_of(name, case.scale, **case.sizes)
    model = build(stack, vocab_size=20)
    state, tokens = drawn_state(model, seed=2), tokens_of(7, 20)
    expected = run_reference(stack, state, tokens)
    assert expected.gradients["embedding.weight"].any()
    assert not differences(expected, run_compiled(model, state, tokens))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_equals_transformers(name: str) -> None:
    from . import attention_experts, attention_streams, attention_transformers

    case = TRANSFORMERS[name]
    modules = (attention_experts, attention_streams, attention_transformers)
    build_other = next(getattr(module, name) for module in modules if hasattr(module, name))
    with in_double():
        other = build_other()
    model = stream_of(stack_of(name, case.scale, **case.sizes)).double()
    X = input_of(attention_transformers.WIDTH)
    with in_double():
        expected = other.measure(X)
    assert_all_felt(expected)
    assert worst(expected, measure_design(model, X, other.state(), other.constants())) < case.double

    other.module.float()
    expected = other.measure(X.float())
    found = measure_design(model.float(), X.float(), other.state(), other.constants())
    assert worst(expected, found) < case.single


@pytest.mark.parametrize("name", PAPERS)
def test_equals_the_paper(name: str) -> None:
    case = PAPERS[name]
    stack = stack_of(name, case.scale, **case.sizes)
    model = randomise(stream_of(stack).double())
    X = input_of(stack.scale.D)
    for dtype, bound in ((torch.float64, case.double), (torch.float32, case.single)):
        model.to(dtype)
        expected = by_hand(name, X.to(dtype), model, len(stack.blocks))
        assert_all_felt(expected)
        state = {n: p.detach() for n, p in model.named_parameters()}
        assert worst(expected, measure_design(model, X.to(dtype), state, {})) < bound


def by_hand(name: str, X: torch.Tensor, model: torch.nn.Module, blocks: int) -> Measured:
    """In float64, on the values that the design computes with."""
    parameters = {
        n: p.detach().double().clone().requires_grad_() for n, p in model.named_parameters()
    }
    function = getattr(attention_references, name)
    return measure(lambda x: function(x, parameters, blocks), X.double(), parameters)


def assert_all_felt(measured: Measured) -> None:
    """A parameter without a gradient would be compared with nothing."""
    assert [n for n, gradient in measured.gradients.items() if not gradient.any()] == []


def test_a_wrong_weight_is_seen() -> None:
    """The comparison fails where one weight of one block differs."""
    stack = stack_of("value_residual", "64x2")
    model = randomise(stream_of(stack).double())
    X = input_of(64)
    expected = by_hand("value_residual", X, model, 2)
    state = {n: p.detach().clone() for n, p in model.named_parameters()}
    state["blocks.1.attn.mix"][0] += 1e-6
    assert worst(expected, measure_design(model, X, state, {})) > 1e-9


def section() -> str:
    """The part of the page about attention."""
    rows = [
        "| architecture | design | compared with | float64 | float32 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cases, prefix in ((TRANSFORMERS, "transformers: "), (PAPERS, "the formulas of ")):
        rows += [row(name, case, prefix) for name, case in cases.items()]
    left = ["| not compared | why |", "| --- | --- |"]
    left += [f"| {what} | {why} |" for what, why in NOT_COMPARED]
    return "\n".join([*rows, "", *left])


def row(name: str, case: Case, prefix: str) -> str:
    return (
        f"| {case.title} | `examples/{name}.gab` | {prefix}{case.compared} "
        f"| {case.double:.0e} | {case.single:.0e} |"
    )


def test_page_is_up_to_date(update_golden: bool) -> None:
    require_section("attention", section(), update_golden)
