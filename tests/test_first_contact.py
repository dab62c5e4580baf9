"""What someone meets who comes from PyTorch: the repair, not the rule, is what is asked of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from causality_ports import design

from gabc.check.report import check
from gabc.cli.main import main
from gabc.diagnostics.model import Diagnostic
from gabc.syntax.source import Source


def _first(text: str) -> Diagnostic:
    return check(Source("design.gab", text)).diagnostics[0]


FROM_PYTORCH = {
    "X.mean(dim=1)": "write `mean(X, ...)`",
    "X.float()": "write `float(X, ...)`",
    "X.view(B, L, 2, 8)": "write `rearrange(X, ...)`",
    "X.transpose(1, 2)": "write `rearrange(X, ...)`",
    "torch.softmax(X, -1)": "write `softmax(...)`",
    "F.scaled_dot_product_attention(X, X, X)": "write `attend(...)`",
    "X.shape[1] * X": "sizes are named by types",
    "nn.Linear(D, D)(X)": "`proj = Linear(...)` in the unit, `proj(x)` in `forward`",
    "Linear(D, D)(X)": "give it a name first, as a child",
}


@pytest.mark.parametrize("expression", FROM_PYTORCH)
def test_pytorch_is_answered_with_what_to_write(expression: str) -> None:
    found = _first(design(f"return {expression}"))
    assert FROM_PYTORCH[expression] in found.help


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("length_independent", "length_invariant"),
        ("batch_invariant", "batch_independent"),
        ("parameters <= 100", "params"),
        ("memory <= O(1)", "state"),
        ("flops <= O(L)", "time"),
    ],
)
def test_a_contract_by_another_name(written: str, meant: str) -> None:
    text = design("return X").replace("gab One\n", f"gab One\nrequire {written}\n")
    found = _first(text)
    assert (found.code, found.help) == ("GAB0711", f"did you mean `{meant}`?")
    assert found.fixes[0].edits[0].text == meant


def test_the_largest_so_far_has_a_way_to_be_written() -> None:
    assert "`m = maximum(m, x)`" in _first(design("return X * max(X, axis=1, keep=true)")).help
    text = """
gab One

unit One() {
    forward(X) {
        return X * scan(x=X) {
            state m: [B, D] = 0.0
            m = maximum(m, x)
            return m
        }
    }
}
"""
    assert not check(Source("design.gab", text)).diagnostics


def test_a_reach_that_grows_with_the_position_is_no_number_of_positions() -> None:
    body = 's = einsum("b l d, b m d -> b l m", X, X)\np = positions()\n'
    keep = "p[None, :] <= 2.0 * p[:, None]"
    found = _first(design(f"{body}return softmax(masked(s, {keep}), axis=-1) @ X"))
    assert found.message == "`softmax` reads positions ahead: its mask keeps s <= 2 t"


def test_values_of_a_derivation_read_as_they_are_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "design.gab"
    body = "n = cumsum(ones(B, L, 1))\nreturn X * tanh(X + n / max(n, axis=1, keep=true))"
    path.write_text(design(body), encoding="utf-8")
    assert main(["show", str(path), "--causality", "--scale", "16x1"]) == 1
    out = capsys.readouterr().out
    assert "(n / max(n, axis=1, keep=true))[b, t, c]  reads whether every position exists" in out
    assert "tanh(X + n / max(n, axis=1, keep=true))[b, t, c]" in out


def test_arithmetic_intensity_is_flops_over_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: 8 tokens of 16 numbers and 16 parameters are read, 8 of 16 are written."""
    path = tmp_path / "design.gab"
    path.write_text(design("return X + p", "    param p: [D] = ones()"), encoding="utf-8")
    arguments = ["show", str(path), "--scale", "16x1", "--length", "8"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["intensity"]
    by_hand = 8 * 16 / (4 * (8 * 16 + 16 + 8 * 16))
    assert found["per_unit"]["blocks"]["flops_per_byte"] == pytest.approx(by_hand, abs=1e-4)
    assert main([*arguments, "--cost"]) == 0
    line = f"arithmetic intensity, forward: {found['flops_per_byte']:.2f} FLOPs per byte moved"
    assert line in capsys.readouterr().out
