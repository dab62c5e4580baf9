"""Applies fixes, each one checked before it is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix
from gabc.diagnostics.select import select
from gabc.syntax.source import Source

Check = Callable[[Source], Sequence[Diagnostic]]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A text with fixes applied. `refused` are the fixes that would have done harm, or nothing."""

    text: str
    applied: tuple[tuple[Diagnostic, Fix], ...]
    refused: tuple[tuple[Diagnostic, Fix], ...]
    remaining: tuple[Diagnostic, ...]


def apply_fixes(source: Source, check: Check, unsafe: bool = False) -> Fixed:
    """Apply every fix of a file that is sure, and with `unsafe` those that may be right.

    Fixes are tried one at a time, those of causes before those of consequences and from the top of
    the file down; after each the text is checked anew, so that edits never overlap. A fix is kept
    if it `helps`. Edits of other files are left to a run on those files.
    """
    allowed = {Applicability.MACHINE, *((Applicability.MAYBE,) if unsafe else ())}
    applied: list[tuple[Diagnostic, Fix]] = []
    found = check(source)
    while True:
        refused: list[tuple[Diagnostic, Fix]] = []
        for diagnostic, fix in _candidates(source, found, allowed):
            changed = Source(source.path, apply_edits(source.text, fix.edits))
            after = check(changed)
            if helps(diagnostic, found, after):
                applied.append((diagnostic, fix))
                source, found = changed, after
                break
            refused.append((diagnostic, fix))
        else:
            return Fixed(source.text, tuple(applied), tuple(refused), tuple(found))


def _candidates(
    source: Source, found: Sequence[Diagnostic], allowed: set[Applicability]
) -> list[tuple[Diagnostic, Fix]]:
    """Machine fixes before the others, each in the order in which diagnostics are shown."""
    shown = select(found, limit=len(found)).shown
    pairs = [
        (diagnostic, fix)
        for diagnostic in shown
        for fix in diagnostic.fixes
        if fix.applicability in allowed
        and all(edit.span.source.path == source.path for edit in fix.edits)
    ]
    return sorted(pairs, key=lambda pair: pair[1].applicability is not Applicability.MACHINE)


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """A text with the spans of edits replaced.

    Insertions at one place keep their order. Raises `ValueError` if two spans overlap.
    """
    ordered = sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))
    pieces: list[str] = []
    position = 0
    for edit in ordered:
        if edit.span.start < position:
            raise ValueError(f"two edits overlap at offset {edit.span.start}")
        pieces += (text[position : edit.span.start], edit.text)
        position = edit.span.end
    return "".join([*pieces, text[position:]])


def helps(
    diagnostic: Diagnostic, before: Sequence[Diagnostic], after: Sequence[Diagnostic]
) -> bool:
    """Whether a fix removed its diagnostic and added none, by the findings before and after it.

    What could not be read was not checked: the fix of a syntax error may bring to light what is
    wrong in later phases, which was there before.
    """
    fingerprint = (diagnostic.code, diagnostic.fingerprint)
    if _by_fingerprint(after)[fingerprint] >= _by_fingerprint(before)[fingerprint]:
        return False
    # By message, since a fix may change the text that another finding marks.
    known, left = _by_message(before), _by_message(after)
    if left[_key(diagnostic)] >= known[_key(diagnostic)]:
        return False
    new = [other for other in after if left[_key(other)] > known[_key(other)]]
    return not new or (
        diagnostic.phase == "syntax" and all(other.phase != "syntax" for other in new)
    )


def _by_fingerprint(found: Sequence[Diagnostic]) -> Counter[tuple[str, str]]:
    return Counter((diagnostic.code, diagnostic.fingerprint) for diagnostic in found)


def _by_message(found: Sequence[Diagnostic]) -> Counter[tuple[str, str]]:
    return Counter(map(_key, found))


def _key(diagnostic: Diagnostic) -> tuple[str, str]:
    return diagnostic.code, diagnostic.message
