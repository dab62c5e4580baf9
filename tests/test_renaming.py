"""A name that hides a built-in is offered another one, with all its uses."""

from __future__ import annotations

import pytest

from gabc.check.report import check
from gabc.diagnostics.fixes import apply_edits
from gabc.syntax.source import Source

CASES = {
    "a local": (
        "unit A() { forward(X) { exp = 2.0 * X exp = exp + X return exp(exp) } }",
        "unit A() { forward(X) { exp_ = 2.0 * X exp_ = exp_ + X return exp(exp_) } }",
    ),
    "a hyperparameter": (
        "unit A(sum: float = 0.0) { forward(X) { return sum * X + sum(X, axis=2, keep=true) } }",
        "unit A(sum_: float = 0.0) { forward(X) { return sum_ * X + sum(X, axis=2, keep=true) } }",
    ),
    "a parameter": (
        "unit A() { param grad: [D] = ones() forward(X) { return X * grad[None] } }",
        "unit A() { param grad_: [D] = ones() forward(X) { return X * grad_[None] } }",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_fix_renames_every_use(name: str) -> None:
    text, expected = CASES[name]
    source = Source("design.gab", text)
    found = [d for d in check(source).diagnostics if d.code == "GAB0105"]
    (fix,) = found[0].fixes
    fixed = apply_edits(text, fix.edits)
    assert fixed == expected
    assert check(Source("design.gab", fixed)).ok


def test_no_name_is_given_twice() -> None:
    text = "unit A() { forward(X) { exp_ = X exp = exp_ + X return exp } }"
    found = [d for d in check(Source("design.gab", text)).diagnostics if d.code == "GAB0105"]
    assert found[0].fixes == ()
