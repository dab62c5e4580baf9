"""Diagnostics as SARIF 2.1.0, the format of code scanning services (OASIS, 27 March 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NotRequired, TypedDict

from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.explain import explain
from gabc.diagnostics.model import Diagnostic, Fix
from gabc.syntax.source import Source, Span

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


class Message(TypedDict):
    text: str
    markdown: NotRequired[str]


class Region(TypedDict):
    """Lines and columns from 1, the end exclusive; offsets in characters (code points)."""

    startLine: int
    startColumn: int
    endLine: int
    endColumn: int
    charOffset: int
    charLength: int


class Artifact(TypedDict):
    uri: str


class Place(TypedDict):
    artifactLocation: Artifact
    region: Region


class Location(TypedDict):
    physicalLocation: Place
    message: NotRequired[Message]


class Replacement(TypedDict):
    deletedRegion: Region
    insertedContent: Message


class Change(TypedDict):
    artifactLocation: Artifact
    replacements: list[Replacement]


class SarifFix(TypedDict):
    """SARIF knows no degrees of certainty: `applicability` is a property of its own."""

    description: Message
    artifactChanges: list[Change]
    properties: dict[str, str]


class Result(TypedDict):
    ruleId: str
    ruleIndex: int
    level: str
    message: Message
    locations: list[Location]
    relatedLocations: list[Location]
    partialFingerprints: dict[str, str]
    fixes: list[SarifFix]
    properties: dict[str, object]


class Rule(TypedDict):
    id: str
    shortDescription: Message
    fullDescription: Message
    help: Message
    defaultConfiguration: dict[str, str]
    properties: dict[str, str]


class Driver(TypedDict):
    name: str
    version: str
    rules: list[Rule]


class Tool(TypedDict):
    driver: Driver


class Run(TypedDict):
    tool: Tool
    columnKind: str
    results: list[Result]


Log = TypedDict("Log", {"$schema": str, "version": str, "runs": list[Run]})


def render_sarif(diagnostics: Iterable[Diagnostic], version: str) -> Log:
    """One run with the findings in the order given, and the rules that they break.

    `version` is that of the tool.
    """
    found = list(diagnostics)
    codes = sorted({diagnostic.code for diagnostic in found})
    driver: Driver = {"name": "gabc", "version": version, "rules": [_rule(code) for code in codes]}
    results = [_result(diagnostic, codes.index(diagnostic.code)) for diagnostic in found]
    run: Run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> Rule:
    entry = CATALOGUE[code]
    explanation = explain(code)
    return {
        "id": code,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": explanation.reason},
        "help": {"text": explanation.text, "markdown": explanation.text},
        "defaultConfiguration": {"level": entry.severity},
        "properties": {"phase": entry.phase},
    }


def _result(diagnostic: Diagnostic, rule: int) -> Result:
    properties: dict[str, object] = {"facts": dict(diagnostic.facts)}
    for name in ("expected", "actual", "help"):
        if value := getattr(diagnostic, name):
            properties[name] = value
    return {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity.value,
        "message": {"text": diagnostic.message},
        "locations": [_location(diagnostic.span, diagnostic.label)],
        "relatedLocations": [_location(note.span, note.text) for note in diagnostic.related],
        "partialFingerprints": {"gabc/v1": diagnostic.fingerprint},
        "fixes": [_fix(fix) for fix in diagnostic.fixes],
        "properties": properties,
    }


def _location(span: Span, text: str) -> Location:
    location: Location = {
        "physicalLocation": {"artifactLocation": _artifact(span.source), "region": _region(span)}
    }
    if text:
        location["message"] = {"text": text}
    return location


def _artifact(source: Source) -> Artifact:
    return {"uri": _uri(source.path)}


def _uri(path: str) -> str:
    """A path as a URI reference: what has a meaning in URIs is escaped."""
    from urllib.parse import quote  # takes 5 ms to import, and no other format needs it

    return quote(path.replace("\\", "/"), safe="/")


def _region(span: Span) -> Region:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "startLine": line,
        "startColumn": column,
        "endLine": end_line,
        "endColumn": end_column,
        "charOffset": span.start,
        "charLength": span.end - span.start,
    }


def _fix(fix: Fix) -> SarifFix:
    """The edits of a fix, gathered by file."""
    changes: dict[str, Change] = {}
    for edit in fix.edits:
        source = edit.span.source
        new: Change = {"artifactLocation": _artifact(source), "replacements": []}
        changes.setdefault(source.path, new)["replacements"].append(
            {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}}
        )
    return {
        "description": {"text": fix.title},
        "artifactChanges": list(changes.values()),
        "properties": {"applicability": fix.applicability.value},
    }
