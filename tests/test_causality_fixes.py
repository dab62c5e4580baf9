"""Fixes for faults of causality: every one that is offered removes its finding and adds none."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from causality_ports import PORTS, POSITIONS, SCORES, design
from causality_programs import program
from designs import EXAMPLES

from gabc.check.report import Report, check
from gabc.cli.main import main
from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.explain import explain
from gabc.diagnostics.fixes import apply_edits
from gabc.diagnostics.model import Applicability, Diagnostic
from gabc.elaborate.scales import parse_scale
from gabc.runtime.oracle import Oracle
from gabc.syntax.source import Source

SMALL = parse_scale("16x2")
CODES = sorted(code for code in CATALOGUE if code.startswith("GAB04"))
BLOCKS = "x = blocks(X, 4)\n"
ATTEND = (
    "x = X[:, :, None]\ng = mean(X, axis=-1)\ny = attend(x, x, x) {{\n    {}\n}}\nreturn y[:, :, 0]"
)


def checked(text: str, offers_fixes: bool = True) -> Report:
    source = Source("design.gab", text)
    return check(source, scales=(SMALL,), offers_fixes=offers_fixes)


def messages(found: tuple[Diagnostic, ...]) -> Counter[tuple[str, str]]:
    return Counter((d.code, d.message) for d in found)


# ---------------------------------------------------------------- what is offered

MACHINE, MAYBE, FILL_IN = Applicability.MACHINE, Applicability.MAYBE, Applicability.PLACEHOLDER

REPAIRS = {
    "attention without a mask": (
        SCORES + "return softmax(s, axis=-1) @ X",
        MACHINE,
        SCORES + "return softmax(causal(s), axis=-1) @ X",
    ),
    "a softmax that is a part of its line": (
        SCORES + "return X + tanh(2.0 * softmax((s + 1.0), axis=-1)) @ X",
        MACHINE,
        SCORES + "return X + tanh(2.0 * softmax((causal(s + 1.0)), axis=-1)) @ X",
    ),
    "a large number as a mask": (
        POSITIONS
        + SCORES
        + "s = s + where(p[:, None] >= p[None, :], 0.0, -1e9)\nreturn softmax(s, axis=-1) @ X",
        MACHINE,
        POSITIONS
        + SCORES
        + "s = masked(s, p[:, None] >= p[None, :])\nreturn softmax(s, axis=-1) @ X",
    ),
    "a product as a mask": (
        POSITIONS + SCORES + "w = float(p[:, None] >= p[None, :]) * exp(s)\nreturn w @ X",
        MACHINE,
        POSITIONS + SCORES + "w = where(p[:, None] >= p[None, :], exp(s), 0.0)\nreturn w @ X",
    ),
    "a mask that is not understood": (
        POSITIONS
        + SCORES
        + "s = masked(s, square(p[:, None]) >= square(p[None, :]))\nreturn softmax(s, axis=-1) @ X",
        MAYBE,
        POSITIONS
        + SCORES
        + "s = masked(s, square(p[:, None]) >= square(p[None, :]))\n"
        + "return softmax(causal(s), axis=-1) @ X",
    ),
    "a product of pairs": (SCORES + "return s @ X", MAYBE, SCORES + "return causal(s) @ X"),
    "a contraction of pairs": (
        SCORES + 'return einsum("b l m, b m d -> b l d", tanh(s), X)',
        MAYBE,
        SCORES + 'return einsum("b l m, b m d -> b l d", causal(tanh(s)), X)',
    ),
    "a maximum over keys": (
        SCORES + "return X * tanh(max(s, axis=-1, keep=true))",
        MAYBE,
        SCORES + "return X * tanh(max(causal(s), axis=-1, keep=true))",
    ),
    "a mean with its axis kept": (
        "return X * sigmoid(mean(X, axis=1, keep=true))",
        MAYBE,
        "return X * sigmoid(running_mean(X))",
    ),
    "a mean with its axis put back": (
        "return X * sigmoid(mean(X, axis=1)[:, None])",
        MAYBE,
        "return X * sigmoid(running_mean(X))",
    ),
    "a mean with its axis put back at every use": (
        "m = mean(X, axis=1)\ny = X - m[:, None, :]\nreturn y * sigmoid(m[:, None])",
        MAYBE,
        "m = running_mean(X)\ny = X - m\nreturn y * sigmoid(m)",
    ),
    "a sum": (
        "return X * tanh(sum(X, axis=1, keep=true))",
        MAYBE,
        "return X * tanh(cumsum(X, axis=1))",
    ),
    "a sum over a block": (
        BLOCKS + "return unblocks(x + sum(x, axis=2, keep=true))",
        MAYBE,
        BLOCKS + "return unblocks(x + cumsum(x, axis=2))",
    ),
    "one key too many": (
        POSITIONS
        + SCORES
        + "return softmax(masked(s, p[None, :] <= p[:, None] + 1.0), axis=-1) @ X",
        MAYBE,
        POSITIONS + SCORES + "return softmax(masked(s, p[None, :] <= p[:, None]), axis=-1) @ X",
    ),
    "two keys too many, by a distance": (
        POSITIONS
        + SCORES
        + "d = p[:, None] - p[None, :]\nreturn softmax(masked(s, d >= -2.0), axis=-1) @ X",
        MAYBE,
        POSITIONS
        + SCORES
        + "d = p[:, None] - p[None, :]\nreturn softmax(masked(s, d >= 0.0), axis=-1) @ X",
    ),
    "a window on both sides": (
        POSITIONS + "d = p[:, None] - p[None, :]\nreturn float(abs(d) < 3.0) @ X",
        MAYBE,
        POSITIONS + "d = p[:, None] - p[None, :]\nreturn float(d >= 0.0 and abs(d) < 3.0) @ X",
    ),
    "a mask turned round": (
        POSITIONS
        + SCORES
        + "keep = p[None, :] >= p[:, None]\nreturn softmax(masked(s, keep), axis=-1) @ X",
        MAYBE,
        POSITIONS
        + SCORES
        + "keep = p[None, :] <= p[:, None]\nreturn softmax(masked(s, keep), axis=-1) @ X",
    ),
    "blocks up to the own one": (
        BLOCKS
        + "n = blocks(positions(), 4)[:, 0]\nkeep = float(n[:, None] >= n[None, :])\n"
        + 's = einsum("n m, b m d -> b n d", keep, sum(x, axis=2))\n'
        + "return unblocks(x + s[:, :, None])",
        MAYBE,
        BLOCKS
        + "n = blocks(positions(), 4)[:, 0]\nkeep = float(n[:, None] > n[None, :])\n"
        + 's = einsum("n m, b m d -> b n d", keep, sum(x, axis=2))\n'
        + "return unblocks(x + s[:, :, None])",
    ),
    "a capture one key ahead": (
        ATTEND.format("score = score + g[b, j + 1]"),
        MAYBE,
        ATTEND.format("score = score + g[b, j]"),
    ),
    "a capture one query ahead": (
        ATTEND.format("score = score * g[b, i + 2]"),
        MAYBE,
        ATTEND.format("score = score * g[b, i]"),
    ),
    "a look-up one ahead": (
        'x = rearrange(X, "b l d -> l b d")\n'
        'return rearrange(x[int(positions()) + 1], "l b d -> b l d")',
        MAYBE,
        'x = rearrange(X, "b l d -> l b d")\n'
        'return rearrange(x[int(positions())], "l b d -> b l d")',
    ),
    "a share of the length": (
        "p = positions()\nreturn X * (p / max(p, axis=0, keep=true))[:, None]",
        FILL_IN,
        "p = positions()\nreturn X * (p / 1024.0)[:, None]",
    ),
    "a mean over rows": (
        "return X - mean(X, axis=0, keep=true)",
        MAYBE,
        "return X - mean(X, axis=-1, keep=true)",
    ),
}


@pytest.mark.parametrize("name", REPAIRS)
def test_repairs(name: str) -> None:
    """The fix is the one expected, and the repaired design is proved and does not leak."""
    wrong, applicability, right = REPAIRS[name]
    report = checked(design(wrong))
    (diagnostic,) = report.diagnostics
    (fix,) = diagnostic.fixes
    assert fix.applicability is applicability
    repaired = apply_edits(report.source.text, fix.edits)
    assert repaired == design(right)
    after = checked(repaired)
    assert not after.diagnostics
    assert after.proofs["16x2"].are_proved
    assert Oracle(after.stacks["16x2"]).future((1, 7)) is None


NOT_REPAIRED = {
    "what a mean is used for has no time axis": "m = mean(X, axis=1)\n"
    "return X * mean(m, axis=-1)[:, None, None]",
    "positions compete": "m = topk_mask(mean(X, axis=-1), 3, axis=1)\n"
    "return X * float(m)[:, :, None]",
    "a norm over time": 'y = rms_norm(rearrange(X, "b l d -> b d l"))\n'
    'return rearrange(y, "b d l -> b l d")',
}


@pytest.mark.parametrize("name", NOT_REPAIRED)
def test_not_repaired(name: str) -> None:
    found = checked(design(NOT_REPAIRED[name])).diagnostics
    assert [d.code for d in found] == ["GAB0401"]
    assert not found[0].fixes


def bad_fixes(text: str) -> list[str]:
    """The fixes of any kind that, applied, leave their finding or bring another."""
    report = checked(text)
    before = messages(report.diagnostics)
    bad: list[str] = []
    for diagnostic in report.diagnostics:
        if diagnostic.phase != "causality":
            continue
        for fix in diagnostic.fixes:
            after = messages(checked(apply_edits(text, fix.edits), False).diagnostics)
            own = diagnostic.code, diagnostic.message
            if after - before or after[own] >= before[own]:
                bad.append(f"{own}: {fix.title}: {after - before}")
    return bad


@pytest.mark.parametrize("name", PORTS)
def test_every_fix_of_a_port_helps(name: str) -> None:
    port = PORTS[name]
    assert bad_fixes(design(port.body, port.members)) == []


@pytest.mark.parametrize("code", CODES)
def test_every_fix_of_an_explanation_helps(code: str) -> None:
    """And where there is a sure one, it makes the wrong example right."""
    assert bad_fixes(explain(code).wrong) == []
    assert not checked(explain(code).right).diagnostics


def test_every_fix_of_random_programs_helps() -> None:
    assert [bad for seed in range(12) for bad in bad_fixes(program(seed))] == []


@pytest.mark.slow
def test_every_fix_of_many_random_programs_helps() -> None:
    assert [bad for seed in range(2000, 2400) for bad in bad_fixes(program(seed))] == []


def test_faults_in_imported_files_have_no_fix_here(tmp_path: Path) -> None:
    """A fix edits the file that is checked."""
    unit = (
        "unit Soft() {\n    forward(X) {\n        return X * mean(X, axis=1, keep=true)\n    }\n}\n"
    )
    (tmp_path / "part.gab").write_text(unit, encoding="utf-8")
    text = design("return s(X)", "    s = Soft()").replace(
        "unit One", "from part import Soft\n\nunit One"
    )
    source = Source(str(tmp_path / "whole.gab"), text)
    (diagnostic,) = check(source, scales=(SMALL,), folder=tmp_path).diagnostics
    assert diagnostic.code == "GAB0401"
    assert not diagnostic.fixes


# ---------------------------------------------------------------- what it costs


def test_a_proved_design_pays_nothing() -> None:
    code = (
        "import sys, pathlib\n"
        "from gabc.check.report import check\n"
        "from gabc.syntax.source import Source\n"
        f"text = pathlib.Path({str(EXAMPLES / 'gpt2.gab')!r}).read_text()\n"
        "assert check(Source('gpt2.gab', text)).ok\n"
        "assert 'gabc.check.causality.repair' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_checks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many faults in one file do not take many checks each."""
    from gabc.check.causality import repair

    lines = [f"X = X * sigmoid(mean(tanh({i}.0 * X), axis=1, keep=true))" for i in range(1, 20)]
    text = design("\n".join([SCORES, *lines, "return s @ X"]))
    tried: list[str] = []
    monkeypatch.setattr(repair, "helps", lambda *_: bool(tried.append("")))
    checked(text)
    assert 0 < len(tried) <= repair.MOST_TRIED


# ---------------------------------------------------------------- the command


def test_command_applies_sure_fixes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "design.gab"
    wrong, _, right = REPAIRS["attention without a mask"]
    path.write_text(design(wrong), encoding="utf-8")
    assert main(["check", "--fix", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == design(right)
    assert "One is well-formed and proved causal at 14M" in capsys.readouterr().out


def test_command_applies_others_when_told(tmp_path: Path) -> None:
    path = tmp_path / "design.gab"
    wrong, _, right = REPAIRS["a mean with its axis put back at every use"]
    path.write_text(design(wrong), encoding="utf-8")
    assert main(["check", "--fix", "--static", str(path)]) == 1
    assert path.read_text(encoding="utf-8") == design(wrong)
    assert main(["check", "--fix", "--static", "--unsafe", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == design(right)
