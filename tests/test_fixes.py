"""Fixes: every one that is offered as sure is, and `--fix` applies them and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from language_fences import Fence, read_fences

from gabc.check.report import check
from gabc.cli.main import main
from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.explain import explain
from gabc.diagnostics.fixes import apply_edits, apply_fixes, helps
from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Severity
from gabc.elaborate.scales import DEFAULT_SCALE, parse_scale
from gabc.syntax.source import Source, Span

FENCES = [
    fence
    for path in sorted(Path(__file__).parent.glob("language/*.md"))
    for fence in read_fences(path)
]

_Findings = Callable[[Source], Sequence[Diagnostic]]


def _findings(source: Source) -> tuple[Diagnostic, ...]:
    return check(source).diagnostics


def _errors(found: Sequence[Diagnostic]) -> Counter[tuple[str, str]]:
    return Counter((d.code, d.message) for d in found if d.severity is Severity.ERROR)


# ---------------------------------------------------------------- what is offered


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.id)
def test_sure_fixes_of_the_specification(
    fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, sibling in fence.siblings.items():
        (tmp_path / name).write_text(sibling, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    scale = parse_scale(fence.options.get("scale", DEFAULT_SCALE))

    def findings(source: Source) -> tuple[Diagnostic, ...]:
        return check(source, scales=(scale,), folder=Path()).diagnostics

    source = Source(fence.options.get("file", "design.gab"), fence.text)
    assert _bad_fixes(source, findings(source), findings) == []


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_sure_fixes_of_the_explanations(code: str) -> None:
    source = Source("design.gab", explain(code).wrong)
    assert _bad_fixes(source, _findings(source), _findings) == []


def _bad_fixes(source: Source, before: Sequence[Diagnostic], findings: _Findings) -> list[str]:
    """The sure fixes that, applied alone, leave their finding or bring an error.

    What could not be read was not checked: the fix of a syntax error may bring to light errors of
    later phases.
    """
    bad: list[str] = []
    for diagnostic in before:
        for fix in diagnostic.fixes:
            if fix.applicability is not Applicability.MACHINE:
                continue
            if any(edit.span.source.path != source.path for edit in fix.edits):
                continue
            after = findings(Source(source.path, apply_edits(source.text, fix.edits)))
            title = f"{diagnostic.code} {diagnostic.message}: {fix.title}"
            if any(other.fingerprint == diagnostic.fingerprint for other in after):
                bad.append(f"{title}: the finding stays")
            for code, message in _errors(after) - _errors(before):
                if diagnostic.phase != "syntax" or CATALOGUE[code].phase == "syntax":
                    bad.append(f"{title}: brings {code} {message}")
    return bad


# ---------------------------------------------------------------- how it is applied

HABITS = """unti Gate() {
    proj = Linear(D, D)

    forward(X) {
        y = softmax(self.proj(X), dim=-1)
        return y * .5
    }
}
"""

FIXED = """unit Gate() {
    proj = Linear(D, D)

    forward(X) {
        y = softmax(proj(X), axis=-1)
        return y * 0.5
    }
}
"""

TYPO = "unit Gate() {\n    forward(X) {\n        return sigmod(X) * X\n    }\n}\n"


def test_all_sure_fixes_at_once() -> None:
    fixed = apply_fixes(Source("a.gab", HABITS), _findings)
    assert fixed.text == FIXED
    assert sorted(d.code for d, _ in fixed.applied) == ["GAB0003", "GAB0004", "GAB0011", "GAB0106"]
    assert fixed.remaining == ()


def test_a_second_run_changes_nothing() -> None:
    again = apply_fixes(Source("a.gab", FIXED), _findings)
    assert (again.text, again.applied) == (FIXED, ())


def test_perhaps_is_not_sure() -> None:
    source = Source("a.gab", TYPO)
    assert apply_fixes(source, _findings).text == TYPO
    fixed = apply_fixes(source, _findings, unsafe=True)
    assert fixed.text == TYPO.replace("sigmod", "sigmoid")
    assert fixed.remaining == ()


def test_a_fix_that_would_bring_an_error_is_refused() -> None:
    """`Linaer` is surely `Linear`, whose argument is then missing."""
    text = "unit A() {\n    p = Linaer(D)\n\n    forward(X) {\n        return p(X)\n    }\n}\n"
    fixed = apply_fixes(Source("a.gab", text), _findings, unsafe=True)
    assert fixed.text == text
    assert [fix.title for _, fix in fixed.refused] == ["write `Linear`"]


def _made_up(*edits: tuple[int, int, str], message: str = "made up") -> Diagnostic:
    source = Source("a.gab", "abcdef")
    spans = [Edit(Span(source, start, end), text) for start, end, text in edits]
    fix = Fix(message, tuple(spans), Applicability.MACHINE)
    return Diagnostic("GAB0101", message, Span(source, edits[0][0], edits[0][1]), fixes=(fix,))


def test_overlapping_fixes_do_not_meet() -> None:
    """The first is applied; then the text is checked anew, and the second is no longer offered."""
    first = _made_up((0, 3, "x"), message="first")
    second = _made_up((2, 4, "y"), message="second")

    def findings(source: Source) -> Sequence[Diagnostic]:
        return (second, first) if source.text == "abcdef" else ()

    fixed = apply_fixes(Source("a.gab", "abcdef"), findings)
    assert fixed.text == "xdef"
    assert [fix.title for _, fix in fixed.applied] == ["first"]


def test_edits_of_one_text() -> None:
    first, second = _made_up((1, 2, "B"), (4, 4, "!"), (4, 5, "E")).fixes[0], _made_up((0, 3, "x"))
    assert apply_edits("abcdef", first.edits) == "aBcd!Ef"
    with pytest.raises(ValueError, match="overlap at offset 1"):
        apply_edits("abcdef", [*first.edits, *second.fixes[0].edits])


def test_what_helps() -> None:
    fault, other = _made_up((0, 1, "")), _made_up((2, 3, ""), message="another")
    assert helps(fault, [fault], [])
    assert helps(fault, [fault, other], [other])
    assert not helps(fault, [fault], [fault])
    assert not helps(fault, [fault], [other])
    assert helps(fault, [fault, fault], [fault])


# ---------------------------------------------------------------- the command


@pytest.fixture
def habits(tmp_path: Path) -> Path:
    path = tmp_path / "habits.gab"
    path.write_text(HABITS, encoding="utf-8")
    return path


def test_command(habits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    habits.chmod(0o640)
    assert main(["check", "--fix", str(habits)]) == 0
    assert habits.read_text(encoding="utf-8") == FIXED
    assert habits.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in habits.parent.iterdir()] == ["habits.gab"]
    shown = capsys.readouterr()
    assert f"{habits}:5:30: GAB0106: write `axis=`" in shown.err
    assert shown.err.endswith(f"{habits}: 4 fixes\n")
    assert shown.out.startswith(f"{habits}: well-formed; it defines units and no design")


def test_command_diff_writes_nothing(habits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--fix", "--diff", str(habits)]) == 1
    assert habits.read_text(encoding="utf-8") == HABITS
    diff = capsys.readouterr().out
    assert "-unti Gate() {\n" in diff
    assert "+unit Gate() {\n" in diff


def test_command_unsafe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "typo.gab"
    path.write_text(TYPO, encoding="utf-8")
    assert main(["check", "--fix", str(path)]) == 1
    assert path.read_text(encoding="utf-8") == TYPO
    assert main(["check", "--fix", "--unsafe", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == TYPO.replace("sigmod", "sigmoid")
    capsys.readouterr()


def test_command_follows_links(habits: Path) -> None:
    link = habits.with_name("link.gab")
    link.symlink_to(habits.name)
    assert main(["check", "--fix", str(link)]) == 0
    assert link.is_symlink()
    assert habits.read_text(encoding="utf-8") == FIXED


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--fix", "-"], "add --diff"),
        (["--unsafe", "x.gab"], "add --fix"),
        (["--diff", "x.gab"], "add --fix"),
        (["--fix", "--watch", "x.gab"], "leave out --fix"),
    ],
)
def test_command_refuses(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_command_where_nothing_can_be_written(
    habits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert main(["check", "--fix", str(habits)]) == 2
    assert "no space left on device" in capsys.readouterr().err
    assert habits.read_text(encoding="utf-8") == HABITS
    assert [path.name for path in habits.parent.iterdir()] == ["habits.gab"]
