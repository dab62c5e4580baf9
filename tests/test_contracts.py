"""Contracts beside `gab`: how they are decided, and whom they name (`language/contracts.md`)."""

from __future__ import annotations

import pytest
from designs import EXAMPLES, example

from gabc.check.contracts import decide, reference_parameters
from gabc.check.cost import Asymptotic, cost
from gabc.check.report import Report, check
from gabc.diagnostics.fixes import apply_edits
from gabc.diagnostics.model import Diagnostic
from gabc.elaborate.scales import SCALES, parse_scale
from gabc.graph.instance import Scale
from gabc.graph.types import ONE
from gabc.passes import optimise
from gabc.syntax.source import Source

LINEAR = ("mamba2", "retnet", "rwkv6", "ttt")
SMALL = parse_scale("64x2")

ALTERNATING = """
from std.attention import MultiHeadAttention
from std.mlp import MLP

unit Alternating() {
    if layer % 2 == 0 {
        mix = MultiHeadAttention(heads=4, window=16)
    } else {
        mix = MultiHeadAttention(heads=4)
    }
    mlp = MLP()

    forward(X) {
        X = X + mix(X)
        return X + mlp(X)
    }
}
"""


def with_contracts(text: str, *contracts: str) -> str:
    """The text of a design with contracts after its `gab` line."""
    lines = text.lstrip().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("gab "))
    return "\n".join([*lines[: at + 1], *(f"require {c}" for c in contracts), *lines[at + 1 :]])


def about_contracts(report: Report) -> list[Diagnostic]:
    return [d for d in report.diagnostics if d.code in ("GAB0710", "GAB0711")]


def checked(text: str, *contracts: str, scale: str = "64x2") -> list[Diagnostic]:
    source = Source("design.gab", with_contracts(text, *contracts))
    return about_contracts(check(source, scales=(parse_scale(scale),)))


@pytest.mark.parametrize("name", LINEAR)
def test_recurrences_keep_what_attention_does_not(name: str) -> None:
    text = (EXAMPLES / f"{name}.gab").read_text(encoding="utf-8")
    assert not checked(text, "causal", "time <= O(L)", "state <= O(1)", "time == O(L)")


def test_attention_is_named() -> None:
    text = (EXAMPLES / "gpt2.gab").read_text(encoding="utf-8")
    time, state = checked(text, "time <= O(L)", "state <= O(1)")
    for found, growth in ((time, "O(L^2)"), (state, "O(L)")):
        assert (found.code, found.actual) == ("GAB0710", growth)
        (related,) = found.related
        assert "MultiHeadAttention" in related.text
        assert related.span.text.startswith("MultiHeadAttention(")


def test_the_layers_that_grow_are_named() -> None:
    """Of blocks that differ, those with a window are not blamed."""
    (found,) = checked("gab Alternating\n" + ALTERNATING, "time <= O(L)", scale="64x4")
    text = [related.text for related in found.related]
    assert text == ["`blocks.1.mix` (MultiHeadAttention) grows as O(L^2)"]
    assert found.related[0].span.text == "MultiHeadAttention(heads=4)"


@pytest.mark.parametrize("scale", [s for s in SCALES.values() if s.reference_params is not None])
def test_reference_is_that_of_the_ladder(scale: Scale) -> None:
    assert reference_parameters(scale) == scale.reference_params


def test_parameters_are_counted_as_torch_counts_them() -> None:
    from gabc.runtime.model import build

    stack = example("gpt2", "64x2")
    model = build(stack, vocab_size=32_000, seed=0)
    count = sum(parameter.numel() for parameter in model.parameters())
    text = (EXAMPLES / "gpt2.gab").read_text(encoding="utf-8")
    assert not checked(text, f"params <= {count}", f"params == {count}", f"params >= {count}")
    (less,) = checked(text, f"params < {count}")
    assert less.actual == f"{count:,}"


WRITTEN_OUT = """
unit Windowed() {
    forward(X) {
        p = positions()
        scores = einsum("b l d, b m d -> b l m", X, X)
        keep = p[None, :] <= p[:, None] and p[:, None] - p[None, :] < 4
        return X + softmax(masked(scores, keep), axis=-1) @ X
    }
}
"""


def test_costs_are_those_of_the_compiled_form() -> None:
    """As written it is quadratic; `gabc show --cost` and the contract say the same of it."""
    text = "gab Windowed\n" + WRITTEN_OUT
    (stack,) = check(Source("design.gab", text), scales=(SMALL,)).stacks.values()
    plain, compiled = (
        Asymptotic.of(cost(form).total.needed.substitute({"B": ONE}))
        for form in (stack, optimise(stack))
    )
    assert (str(plain), str(compiled)) == ("O(L^2)", "O(L)")
    assert not checked(text, "time <= O(L)", "state <= O(1)")


def test_every_scale_is_decided() -> None:
    text = (EXAMPLES / "gpt2.gab").read_text(encoding="utf-8")
    source = Source("design.gab", with_contracts(text, "params <= 6000000"))
    small = check(source, scales=(parse_scale("14M"),))
    both = check(source, scales=(parse_scale("14M"), parse_scale("31M")))
    assert small.ok
    (found,) = about_contracts(both)
    assert ("scale", "31M") in found.facts


def test_decide_is_pure() -> None:
    source = Source(
        "design.gab", with_contracts("gab Alternating\n" + ALTERNATING, "state <= O(1)")
    )
    report = check(source, scales=(SMALL,))
    (stack,) = report.stacks.values()
    (proofs,) = report.proofs.values()
    assert not decide(stack, proofs, ())
    assert [d.code for d in about_contracts(report)] == ["GAB0710"]


def test_the_fix_of_a_misspelt_contract() -> None:
    text = with_contracts("gab Alternating\n" + ALTERNATING, "stat <= O(L)")
    (found,) = about_contracts(check(Source("design.gab", text), scales=(SMALL,)))
    (fix,) = found.fixes
    fixed = apply_edits(text, fix.edits)
    assert "require state <= O(L)" in fixed
    assert not about_contracts(check(Source("design.gab", fixed), scales=(SMALL,)))
