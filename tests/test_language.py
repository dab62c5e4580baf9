"""Runs the executable language specification, `tests/language/*.md` (see `language_fences`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from language_fences import Fence, read_fences, replace_lines, without_expectations

from gabc.check.report import Report, check
from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.fixes import apply_edits
from gabc.diagnostics.model import Applicability, Diagnostic, Fix
from gabc.diagnostics.render import render_text, select
from gabc.elaborate.scales import DEFAULT_SCALE, parse_scale
from gabc.ops.verify import verify
from gabc.syntax.source import Source

FILES = sorted((Path(__file__).parent / "language").glob("*.md"))
FENCES = [fence for path in FILES for fence in read_fences(path)]


def _check(fence: Fence, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    for name, sibling in fence.siblings.items():
        (folder / name).write_text(sibling, encoding="utf-8")
    monkeypatch.chdir(folder)  # so that messages name siblings by their bare names
    scale = parse_scale(fence.options.get("scale", DEFAULT_SCALE))
    path = fence.options.get("file", "design.gab")
    (folder / path).write_text(text, encoding="utf-8")
    return check(Source(path, text), scales=(scale,), folder=Path())


def _shown(report: Report) -> tuple[Diagnostic, ...]:
    return select(report.diagnostics, limit=1000).shown


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.id)
def test_fence(
    fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool
) -> None:
    report = _check(fence, fence.text, tmp_path, monkeypatch)
    shown = _shown(report)
    _compare(fence, shown)
    for stack in report.stacks.values():
        for block in stack.blocks:
            for _, instance in block.walk():
                if instance.graph is not None:
                    verify(instance.graph, instance)
    for diagnostic in shown:
        for fix in diagnostic.fixes:
            if fix.applicability is Applicability.MACHINE:
                fixed = _check(fence, _apply(fence.text, [fix]), tmp_path, monkeypatch)
                assert not _has(fixed, diagnostic), f"the fix does not help: {fix.title}"
    if fence.fixed is not None:
        fixes = [f for d in shown for f in d.fixes if f.applicability is Applicability.MACHINE]
        text = without_expectations(_apply(fence.text, fixes))
        assert text == without_expectations(fence.fixed.text)
        _compare(fence.fixed, _shown(_check(fence, fence.fixed.text, tmp_path, monkeypatch)))
    if fence.golden is not None:
        _golden(fence, render_text(report.diagnostics, color=False), update_golden)


def _compare(fence: Fence, shown: tuple[Diagnostic, ...]) -> None:
    """Every diagnostic is promised, every promise kept."""
    missing = list(fence.expected)
    unexpected = []
    for diagnostic in shown:
        for expected in missing:
            found = (diagnostic.span.line, diagnostic.severity.value, diagnostic.code)
            promised = (expected.line, expected.severity, expected.code)
            if found == promised and expected.message in diagnostic.message:
                missing.remove(expected)
                break
        else:
            unexpected.append(f"{fence.first + diagnostic.span.line}: {diagnostic.message}")
    if missing or unexpected:
        promises = [f"  promised, not found: {e.code} {e.message}" for e in missing]
        findings = [f"  found, not promised: {line}" for line in unexpected]
        where = f"{fence.path.name}:{fence.first + 1}"
        pytest.fail(
            "\n".join([where, *promises, *findings, render_text(shown, color=False)]), pytrace=False
        )


def _apply(text: str, fixes: list[Fix]) -> str:
    return apply_edits(text, tuple(dict.fromkeys(e for fix in fixes for e in fix.edits)))


def _has(report: Report, diagnostic: Diagnostic) -> bool:
    return any(d.fingerprint == diagnostic.fingerprint for d in report.diagnostics)


def _golden(fence: Fence, rendered: str, update: bool) -> None:
    # Line numbers move when another fence of the file is rewritten: look them up anew.
    here = next(f for f in read_fences(fence.path) if f.id == fence.id)
    assert here.golden is not None
    first, last = here.golden
    lines = fence.path.read_text(encoding="utf-8").splitlines()[first:last]
    if update:
        replace_lines(fence.path, first, last, rendered)
    else:
        assert "\n".join(lines) + "\n" == rendered


_ELSEWHERE = ("causality",)
"""Phases whose codes are specified by tests of their own."""


def test_every_code_has_an_example() -> None:
    shown = {expected.code for fence in FENCES for expected in fence.expected}
    own = {code for code, entry in CATALOGUE.items() if entry.phase not in _ELSEWHERE}
    assert sorted(own - shown) == [], "codes without an example"
    assert sorted(shown - CATALOGUE.keys()) == [], "examples of codes that do not exist"


def test_ids_are_distinct() -> None:
    ids = [fence.id for fence in FENCES]
    assert len(ids) == len(set(ids))
