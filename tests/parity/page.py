"""The generated sections of docs/parity.md."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"


def require_section(name: str, section: str, update: bool) -> None:
    """That the page has this text between the marks of `name`; `update` writes it there."""
    begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if update:
        text = f"{before}{begin}{section}{end}{after}"
        PAGE.write_text(text, encoding="utf-8")
    assert f"{begin}{section}{end}" in text
