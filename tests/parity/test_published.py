"""Published architectures that compose the library's units: equal to transformers' blocks.

`docs/parity.md` is kept in step; rewrite its part with `--update-golden`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.syntax.source import Source

from .attention_cases import Case
from .page import require_section
from .published_cases import DENSE, EXPERTS, HYBRID, NOT_COMPARED, PUBLISHED
from .weights import (
    DESIGNS,
    Other,
    in_double,
    input_of,
    measure_design,
    path_of,
    stack_of,
    stream_of,
    text_of,
    worst,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", [path.stem for path in sorted(DESIGNS.glob("*.gab"))])
def test_proved_without_a_warning(name: str) -> None:
    report = check(Source(f"{name}.gab", text_of(name)), scales=[parse_scale("125M")])
    assert [diagnostic.message for diagnostic in report.diagnostics] == []
    assert report.proofs["125M"].are_proved


def test_every_design_is_compared() -> None:
    compared = {case.design or name for name, case in PUBLISHED.items()}
    assert {path.stem for path in DESIGNS.glob("*.gab")} <= compared


def modules() -> tuple[ModuleType, ...]:
    from . import (
        published_delta,
        published_dense,
        published_experts,
        published_gpt,
        published_hybrid,
    )

    return published_delta, published_dense, published_experts, published_gpt, published_hybrid


def build_other(name: str) -> Other:
    other = next(getattr(module, name) for module in modules() if hasattr(module, name))()
    assert isinstance(other, Other)
    return other


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("fla") is not None,
    reason="where fla-core is installed, transformers calls its kernels, which need a GPU",
)
@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_transformers(name: str) -> None:
    case = PUBLISHED[name]
    with in_double():
        other = build_other(name)
        model = stream_of(stack_of(case.design or name, case.scale, **case.sizes))
        X = input_of(64)
        expected = other.measure(X)
        assert [n for n, gradient in expected.gradients.items() if not gradient.any()] == []
        found = measure_design(model, X, other.state(), other.constants())
    assert worst(expected, found) < case.double

    other.module.float()
    expected = other.measure(X.float())
    found = measure_design(model.float(), X.float(), other.state(), other.constants())
    assert worst(expected, found) < case.single


def section() -> str:
    """The part of the page about these architectures."""
    rows = [
        "| architecture | design | transformers | float64 | float32 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cases in (DENSE, EXPERTS, HYBRID):
        rows += [row(name, case) for name, case in cases.items()]
    left = ["| not compared | why |", "| --- | --- |"]
    left += [f"| {what} | {why} |" for what, why in NOT_COMPARED]
    return "\n".join([*rows, "", *left])


def row(name: str, case: Case) -> str:
    path = path_of(case.design or name).relative_to(ROOT).as_posix()
    return f"| {case.title} | `{path}` | {case.compared} | {case.double:.0e} | {case.single:.0e} |"


def test_page_is_up_to_date(update_golden: bool) -> None:
    require_section("published", section(), update_golden)
