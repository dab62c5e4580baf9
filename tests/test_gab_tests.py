"""`gabc test`: the facts of `test` blocks, true and false (see `language/tests.md`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gabc.check.testing import TestProgram, elaborate_tests
from gabc.cli import extras
from gabc.cli.main import main
from gabc.diagnostics.model import Diagnostics
from gabc.elaborate.modules import Loader
from gabc.runtime.testing import Outcome, run_test
from gabc.syntax.source import Source

UNITS = """
from std.attention import MultiHeadAttention
from std.linear_attention import GatedLinearAttention
from std.mlp import GatedMLP
from std.rwkv import RWKV6TimeMix

unit Plain(width: dim = 2 * D) {
    up   = Linear(D, width, bias=false)
    down = Linear(width, D, bias=false)

    forward(X) {
        return down(relu(up(X)))
    }
}

unit Again() {
    up   = Linear(D, 2 * D, bias=false)
    down = Linear(2 * D, D, bias=false)

    forward(X) {
        h = up(X)
        return down(where(h > 0.0, h, zeros(B, L, 2 * D)))
    }
}

unit Closed() {
    proj = Linear(D, D)
    param gate: [D] = zeros()

    forward(X) {
        return gate * proj(X)
    }
}

unit Leaky() {
    forward(X) {
        return X + 0.001 * mean(X, axis=1, keep=true)
    }
}

unit Ahead() {
    param gate: [D] = zeros()

    forward(X) {
        return X + gate * mean(X, axis=1, keep=true)
    }
}

unit Mixer() {
    forward(X) {
        return X + mean(X, axis=0, keep=true)
    }
}

unit Memory() {
    reads memory: [B, L, D]?
    writes memory: [B, L, D]

    forward(X) {
        Z.memory = 2.0 * X
        return X + Z.memory
    }
}

fn twice(x: [B, L, D]) -> [B, L, D] {
    return 2.0 * x
}
"""


def programs(body: str) -> list[TestProgram]:
    found = Diagnostics()
    text = UNITS + f'test "it" {{\nX = random(B, L, D)\n{body}\n}}\n'
    tests = elaborate_tests(Loader(found).load(Source("design.gab", text), None), found)
    assert not found.found, [d.message for d in found.found]
    return tests


def outcomes(body: str, seed: int = 0) -> list[Outcome]:
    (program,) = programs(body)
    return run_test(program, seed)


TRUE = {
    "two wordings of one function": "a = Plain() b = Again() require equal(a(X), b(X))",
    "functions": "require equal(twice(X), X + X) and close(twice(X), 2.0 * X)",
    "zero": "a = Plain() require equal(a(zeros(B, L, D)), 0.0)",
    "initial values": "c = Closed() require equal(c(X), 0.0) and depends(c(X), X)",
    "attention": "a = MultiHeadAttention(heads=4) y = a(X)\n"
    "require is_causal(y, X) and keeps_rows(y, X) and is_finite(y) and shape(y) == shape(X)",
    "window": "a = MultiHeadAttention(heads=4, window=4) require is_causal(a(X), X)",
    "recurrence": "a = GatedLinearAttention(heads=4) require is_causal(a(X), X)",
    "rwkv": "a = RWKV6TimeMix() require is_causal(a(X), X) and keeps_rows(a(X), X)",
    "a leak": "a = Leaky() require not is_causal(a(X), X) and not equal(a(X), X)",
    "a leak behind a closed gate": "a = Ahead() require equal(a(X), X)\n"
    "require not is_causal(a(X), X)",
    "rows": "a = Mixer() require not keeps_rows(a(X), X) require is_causal(a(X), X)",
    "shapes": "y = rearrange(X, 'b l (h k) -> b l h k', h=4) require shape(y) == [B, L, 4, D / 4]",
    "everywhere": "require square(X) >= 0.0 and D == 64",
    "loop": "ms = Plain() * 3 for m in ms { X = X + m(X) } require is_finite(X)",
    "branch": "y = X if D > 8 { y = 2.0 * X } require equal(y, X + X)",
    "scan": "y = scan(x=X) { state s: [B, D] = 0.0 s = s + x return s }\n"
    "require close(y, cumsum(X, axis=1)) and is_causal(y, X)",
    "hypers": "a = Plain(width=3 * D) require shape(a(X)) == [B, L, D]",
    "Z": "m = Memory() require equal(m(X), 3.0 * X) require equal(Z.memory, X + X)",
    "independent": "y = random(B, L, D) require not depends(X, y) and not equal(X, y)",
    "sequential": "s = Sequential(Linear(D, 8), gelu, Linear(8, D))\n"
    "require shape(s(X)) == [B, L, D]",
}

FALSE = {
    "equal": ("require equal(X + X, 2.5 * X)", "[0, 0, 0]"),
    "close": ("require close(X, X + 0.1, tolerance=0.001)", "[0, 0, 0]"),
    "shape": ("require shape(X) == [B, D, L]", ""),
    "causal": ("a = Leaky() require is_causal(a(X), X)", "[0, 0, 0]"),
    "rows": ("a = Mixer() require keeps_rows(a(X), X)", "[0, 0, 0]"),
    "depends": ("a = Leaky() require not depends(a(X), X)", "[0, 0, 0]"),
    "finite": ("require is_finite(log(zeros(B, L)))", "[0, 0]"),
    "everywhere": ("require positions() < 20.0", "[20]"),
    "static": ("require D == 65", ""),
    "not": ("require not equal(X, X)", "[0, 0, 0]"),
}


@pytest.mark.parametrize("name", TRUE)
def test_true_facts(name: str) -> None:
    found = outcomes(TRUE[name].replace("'", '"'))
    assert found
    for outcome in found:
        assert outcome.holds, outcome


@pytest.mark.parametrize("name", FALSE)
def test_false_facts(name: str) -> None:
    body, where = FALSE[name]
    (outcome,) = outcomes(body)
    assert not outcome.holds
    assert outcome.where.startswith(where)
    assert outcome.left


def test_shapes_are_those_of_tensors() -> None:
    (outcome,) = outcomes("require shape(X) == [B, D, L]")
    assert (outcome.left, outcome.right) == ("[2, 33, 64]", "[2, 64, 33]")


def test_both_values_are_told() -> None:
    (outcome,) = outcomes("require equal(positions(), zeros(L))")
    assert (outcome.left, outcome.right) == ("1.0", "0.0")
    assert outcome.where == "[1] and 31 more"


def test_a_seed_is_the_same_run() -> None:
    body = "require equal(X, 0.0)"
    assert outcomes(body, seed=3)[0].left == outcomes(body, seed=3)[0].left
    assert outcomes(body, seed=3)[0].left != outcomes(body, seed=4)[0].left


# ---------------------------------------------------------------- the command

TESTS = """
test "holds" {
    a = Plain()
    X = random(B, L, D)
    require equal(a(X), a(X))
}

test "does not" {
    a = Leaky()
    X = random(B, L, D)
    require shape(X) == [B, L, D]
    require is_causal(a(X), X)
    require equal(positions(), 1.0)
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "design.gab"
    path.write_text(UNITS + TESTS, encoding="utf-8")
    return path


def test_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"{file}::holds PASSED" in out
    assert f"{file}::does not FAILED" in out
    line = (UNITS + TESTS).splitlines().index("    require is_causal(a(X), X)") + 1
    assert f"{file}:{line}: is_causal(a(X), X)\n        before: " in out
    assert "        left:  0.0 at [0] and 31 more\n        right: 1.0\n" in out
    assert out.endswith("1 failed, 1 passed\n")
    assert main(["test", str(file), "-k", "holds"]) == 0
    assert capsys.readouterr().out == f"{file}::holds PASSED\n1 passed\n"


def test_command_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(file), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert [(test["name"], test["ok"]) for test in document["tests"]] == [
        ("holds", True),
        ("does not", False),
    ]
    facts = document["tests"][1]["facts"]
    assert [fact["ok"] for fact in facts] == [True, False, False]
    assert (facts[2]["left"], facts[2]["right"]) == ("0.0", "1.0")


def test_a_design_with_errors_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.gab"
    path.write_text(UNITS + TESTS.replace("Leaky()", "Leeky()"), encoding="utf-8")
    assert main(["test", str(path)]) == 1
    captured = capsys.readouterr()
    assert "GAB0101" in captured.err
    assert "PASSED" not in captured.out


def test_no_tests_and_tests_without_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "few.gab"
    path.write_text(UNITS, encoding="utf-8")
    assert main(["test", str(path)]) == 0
    assert capsys.readouterr().out == "no tests\n"
    path.write_text('test "empty" {\n    X = random(B)\n}\n', encoding="utf-8")
    assert main(["test", str(path)]) == 1
    assert "it states no fact" in capsys.readouterr().out


def test_without_torch(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert main(["test", str(file)]) == 2
    assert "this command needs torch, which is not installed" in capsys.readouterr().err


def test_check_needs_no_torch(file: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gabc.cli.main import main\n"
        f"sys.exit(main(['check', {str(file)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
