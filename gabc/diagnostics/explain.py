"""The long texts about each code: why it is an error, an example of it, and the same done right.

They are Markdown files, one for each code, in `explanations/`. A test compiles every example.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from gabc.diagnostics.catalogue import CATALOGUE

_FORM = re.compile(
    r"# (?P<code>GAB\d{4}): (?P<title>[^\n]+)\n\n"
    r"(?P<reason>.+?)\n\n"
    r"## Wrong\n\n```gab\n(?P<wrong>.+?\n)```\n\n```text\n(?P<report>.+?\n)```\n\n"
    r"## Right\n\n```gab\n(?P<right>.+?\n)```\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`reason` is Markdown; `report` is what `gabc check` prints for `wrong`; `right` is clean."""

    code: str
    title: str
    reason: str
    wrong: str
    report: str
    right: str

    @property
    def text(self) -> str:
        """The whole of it as Markdown, as it lies in its file."""
        return (
            f"# {self.code}: {self.title}\n\n{self.reason}\n\n"
            f"## Wrong\n\n```gab\n{self.wrong}```\n\n```text\n{self.report}```\n\n"
            f"## Right\n\n```gab\n{self.right}```\n"
        )


@cache
def explain(code: str) -> Explanation:
    """The explanation of a code of the catalogue.

    Raises:
        KeyError: the catalogue has no such code.
        ValueError: its text is missing or not in the form that all of them have.
    """
    if code not in CATALOGUE:
        raise KeyError(code)
    file = resources.files("gabc.diagnostics") / "explanations" / f"{code}.md"
    if not file.is_file():
        raise ValueError(f"{code} has no explanation: write explanations/{code}.md")
    return read_explanation(code, file.read_text(encoding="utf-8"))


def read_explanation(code: str, text: str) -> Explanation:
    """The parts of an explanation. Raises `ValueError` if they are not all there."""
    found = _FORM.fullmatch(text)
    if found is None or found["code"] != code:
        raise ValueError(f"explanations/{code}.md is not in the form of the others")
    return Explanation(**found.groupdict())
