"""`compare` and `gabc diff`: the units that differ, in what, and what that costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from designs import EXAMPLES, example, stack_of
from rewriting import flat, renamed
from small_designs import DESIGNS

from gabc.check.identity import Difference, compare
from gabc.cli.main import main

SCALE = "64x2"
GPT2 = (EXAMPLES / "gpt2.gab").read_text(encoding="utf-8")


def difference(text: str) -> Difference:
    return compare(example("gpt2", SCALE), stack_of(text, SCALE))


def test_the_same_function_has_no_differences() -> None:
    found = difference(renamed(flat("gpt2")))
    assert found.is_same
    assert found.changes == found.head == ()


def test_a_hyperparameter_is_named_where_it_matters() -> None:
    found = difference(GPT2.replace("heads=heads", "heads=4"))
    assert [(change.path, change.kind) for change in found.changes] == [
        ("blocks", "changed"),
        ("blocks.attn", "changed"),
    ]
    root, attention = found.changes
    assert [line[0] for line in root.statements] == ["-", "+"]
    assert "heads=4" in root.statements[1]
    assert attention.settings[:2] == (("heads", "8", "4"), ("kv_heads", "8", "4"))
    assert ("K", "8", "16") in attention.settings
    assert attention.statements == ()


def test_values_are_written_as_in_the_language() -> None:
    """Truth values, texts and what is absent."""
    text = 'gab One\n\nunit One(deep: bool = {}, act: str = "{}", cap: float = {}) {{\n'
    text += "    forward(X) {{ return X * {} }}\n}}\n"
    old = stack_of(text.format("true", "silu", "none", 2.0), SCALE)
    new = stack_of(
        text.format("false", "gelu", 1.5, 3.0).replace("One\n", "One with tie=false\n", 1), SCALE
    )
    found = compare(old, new)
    (change,) = found.changes
    assert change.settings == (
        ("deep", "true", "false"),
        ("act", '"silu"', '"gelu"'),
        ("cap", "none", "1.5"),
    )
    assert found.head == (("tie", "true", "false"),)


def test_a_statement_is_shown() -> None:
    found = difference(GPT2.replace("X + mlp(mlp_norm(X))", "X - mlp(mlp_norm(X))"))
    (change,) = found.changes
    assert change.statements == (
        "- return X + mlp(mlp_norm(X))",
        "+ return X - mlp(mlp_norm(X))",
    )


def test_a_replaced_unit_speaks_for_what_is_below_it() -> None:
    text = GPT2.replace("import GatedMLP", "import MLP").replace("GatedMLP()", "MLP()")
    found = difference(text)
    assert [(c.path, c.kind, c.before, c.after) for c in found.changes[1:]] == [
        ("blocks.mlp", "replaced", "GatedMLP", "MLP")
    ]


def test_an_added_unit() -> None:
    text = GPT2.replace("    forward", "    last = RMSNorm()\n\n    forward")
    text = text.replace("return X + mlp(mlp_norm(X))", "return last(X + mlp(mlp_norm(X)))")
    found = difference(text)
    assert ("blocks.last", "added") in [(change.path, change.kind) for change in found.changes]


def test_head_options() -> None:
    found = difference(GPT2.replace("gab GPT2", "gab GPT2 with logit_cap=30.0"))
    assert found.changes == ()
    assert found.head == (("logit_cap", "none", "30.0"),)


def test_only_the_layers_that_differ_are_named() -> None:
    text = DESIGNS["by_layer"]
    before, after = (stack_of(t, "16x3") for t in (text, text.replace("tanh(out(X))", "out(X)")))
    paths = [change.path for change in compare(before, after).changes]
    assert paths == ["blocks.1"]  # the even layers take the other branch


# -------------------------------------------------------------------------------- command


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.gab"
    path.write_text(GPT2.replace("GatedMLP()", "GatedMLP(hidden=D)"), encoding="utf-8")
    return path


def test_the_command_says_what_a_change_costs(
    other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", str(EXAMPLES / "gpt2.gab"), str(other), "--scale", SCALE]) == 0
    text = capsys.readouterr().out
    assert "different designs" in text
    assert "blocks.mlp: GatedMLP changed" in text
    assert "hidden: 256 -> 64" in text
    # Two blocks, three matrices each that lose 192 columns of 64.
    assert "(-73,728," in text


def test_the_document(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(EXAMPLES / "gpt2.gab"), str(other), "--scale", SCALE, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["same"] is False
    before, after = document["costs"]["parameters"]
    assert before - after == 73_728
    unit = next(unit for unit in document["units"] if unit["path"] == "blocks.mlp")
    assert unit["settings"] == {"hidden": ["256", "64"]}
    assert unit["costs"]["parameters"] == [3 * 64 * 256, 3 * 64 * 64]
    assert document["classes"]["state"] == ["O(L)", "O(L)"]


def test_the_command_on_equal_designs(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EXAMPLES / "gpt2.gab")
    assert main(["diff", path, path]) == 0
    assert "same function" in capsys.readouterr().out


@pytest.mark.slow
def test_the_results_of_equal_and_other_designs(
    other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two forms of one function: other hashes, the same results."""
    one, two = tmp_path / "one.gab", tmp_path / "two.gab"
    design = "gab One\n\nunit One() {{ forward(X) {{ return X + {} }} }}\n"
    one.write_text(design.format("sigmoid(X)"), encoding="utf-8")
    two.write_text(design.format("0.5 + 0.5 * tanh(0.5 * X)"), encoding="utf-8")
    assert main(["diff", str(one), str(two), "--scale", "16x2", "--run"]) == 0
    text = capsys.readouterr().out
    assert "different designs" in text
    assert "run on fixed numbers: the same results" in text
    arguments = ["diff", str(EXAMPLES / "gpt2.gab"), str(other), "--scale", "32x1", "--run"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fingerprint"]
    assert found["before"] != found["after"]


def test_a_design_with_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.gab"
    path.write_text("gab One\n\nunit One() { forward(X) { return Y } }\n", encoding="utf-8")
    assert main(["diff", str(EXAMPLES / "gpt2.gab"), str(path)]) == 1
    assert "Y" in capsys.readouterr().err
