"""What `gabc check` prints, in every format."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum

from gabc import __version__
from gabc.check.causality.verdict import Proofs
from gabc.check.report import Report
from gabc.cli.output import as_json, print_diagnostics, print_json
from gabc.diagnostics.github import render_github
from gabc.diagnostics.model import Diagnostic, Severity
from gabc.diagnostics.select import select


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def print_reports(
    reports: Sequence[Report],
    format: Format,
    as_document: bool = False,
    unread: Mapping[str, str] | None = None,
) -> None:
    """Print the findings of all files: text for people, lines or one document for programs.

    `as_document` is `--json`, which says more than any format: what was checked, and how it went,
    and which files are `unread`, with the reason.
    """
    if as_document:
        print_json(_document(reports, unread or {}))
        return
    match format:
        case Format.TEXT:
            for report in reports:
                print_diagnostics(report.diagnostics, sys.stdout)
                if report.ok:
                    print(f"{report.source.path}: {_verdict(report)}")
        case Format.JSON:
            for report in reports:
                for entry in as_json(report.diagnostics):
                    print(json.dumps(entry, ensure_ascii=False))
        case Format.GITHUB:
            for diagnostic in _roots(reports):
                print(render_github(diagnostic))
        case Format.SARIF:
            from gabc.diagnostics.sarif import render_sarif

            print_json(render_sarif(_roots(reports), __version__))


def _roots(reports: Sequence[Report]) -> list[Diagnostic]:
    """The findings of all files without those that follow from others."""
    return [
        diagnostic
        for report in reports
        for diagnostic in select(report.diagnostics, limit=len(report.diagnostics)).shown
    ]


def _verdict(report: Report) -> str:
    if not report.stacks:
        if any(diagnostic.code == "GAB0119" for diagnostic in report.diagnostics):
            return "well-formed; it defines nothing"
        return "well-formed; it defines units and no design, so nothing is proved"
    name = next(stack.name for stack in report.stacks.values())
    scales = ", ".join(report.stacks)
    missing = [f"{subject} ({found})" for subject, found in _verdicts(report) if found != "proved"]
    if not missing:
        return f"{name} is well-formed and proved causal at {scales}"
    return f"{name} is well-formed at {scales}; not proved: {', '.join(dict.fromkeys(missing))}"


def _verdicts(report: Report) -> list[tuple[str, str]]:
    """Every verdict of every scale, with what it is about."""
    return [
        (subject, verdict)
        for proofs in report.proofs.values()
        for subject, verdict in _verdicts_of(proofs).items()
    ]


def _verdicts_of(proofs: Proofs) -> dict[str, str]:
    return {
        "causality": proofs.causality.verdict.value,
        "batch": proofs.batch.verdict.value,
        "length": proofs.length.verdict.value,
    }


def _document(reports: Sequence[Report], unread: Mapping[str, str]) -> dict[str, object]:
    found = [diagnostic for report in reports for diagnostic in report.diagnostics]
    errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in found)
    return {
        "ok": errors == 0 and not unread,
        "errors": errors,
        "warnings": len(found) - errors,
        "files": [
            {
                "path": report.source.path,
                "ok": report.ok,
                "design": next((stack.name for stack in report.stacks.values()), None),
                "scales": list(report.stacks),
                "proofs": {scale: _verdicts_of(p) for scale, p in report.proofs.items()},
                "diagnostics": as_json(report.diagnostics),
            }
            for report in reports
        ]
        + [{"path": path, "ok": False, "error": reason} for path, reason in unread.items()],
    }
