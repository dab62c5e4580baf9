"""docs/gallery.md: every design of `examples/`, generated from the designs themselves.

Rewrite it, and its pictures, with `pytest tests/test_gallery.py --update-golden`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gabc.check.cost import Asymptotic, per_token, value_at
from gabc.check.report import check
from gabc.draw.svg import svg
from gabc.draw.unit_tree import unit_tree
from gabc.elaborate.scales import SCALES
from gabc.recurrences.classify import classify
from gabc.runtime.inspect import DesignSummary, UnitSummary, inspect
from gabc.runtime.inspect_facts import Facts, gather
from gabc.syntax.source import Source

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "gallery"
SCALE, LENGTH, VOCAB = SCALES["14M"], 2048, 32_000

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Entry:
    """A design and what is known of it at 14M."""

    name: str
    about: str
    text: str
    summary: DesignSummary
    facts: Facts
    recurrences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        proofs = self.facts.proofs
        return "proved" if proofs.are_proved else proofs.causality.verdict.value

    @property
    def figures(self) -> tuple[str, ...]:
        amounts = self.facts.costs.total
        forward = value_at(amounts.forward, LENGTH) / LENGTH
        state = value_at(amounts.state, LENGTH)
        return (
            f"{self.summary.parameters.total - self.summary.parameters.embedding:,}",
            f"{forward / 1e6:.1f} M",
            str(Asymptotic.of(per_token(amounts.needed))),
            str(Asymptotic.of(amounts.state)),
            f"{float(state) / 1024:,.0f} KiB",
            self.verdict,
        )


def entry(path: Path) -> Entry:
    text = path.read_text(encoding="utf-8")
    report = check(Source(path.name, text), scales=(SCALE,))
    assert report.ok, (path.name, [d.message for d in report.diagnostics])
    stack = report.stacks[SCALE.name]
    head, _, _ = text.partition("\ngab ")
    about = " ".join(line.removeprefix("#").strip() for line in head.splitlines())
    kinds = dict.fromkeys(
        state.kind.value if facts.is_parallel else facts.kind.value
        for facts in classify(stack)
        for state in facts.states
    )
    facts = gather(stack, report.proofs[SCALE.name], VOCAB)
    return Entry(path.stem, about, text, inspect(stack, VOCAB), facts, tuple(kinds))


def page(entries: list[Entry]) -> str:
    parts = [
        "# Gallery",
        "Every design of `examples/`, generated from the designs (`pytest tests/test_gallery.py "
        f"--update-golden`). Figures at {SCALE.name} (width {SCALE.D}, {SCALE.n_layers} blocks): "
        "parameters without the embedding, forward FLOPs of a token "
        f"in a sequence of {LENGTH}, how that and the decoder's state grow with the length, the "
        f"state after {LENGTH} tokens in float32, and what is proved: causal, the same for every "
        "length, rows apart.",
        _table(entries),
    ]
    for each in entries:
        parts += [
            f"## {each.name}",
            each.about,
            f"![The units of {each.name}](gallery/{each.name}.svg)",
        ]
        if each.recurrences:
            parts.append(f"Recurrences: {', '.join(each.recurrences)}.")
        parts.append(f"[examples/{each.name}.gab](../examples/{each.name}.gab)")
    return "\n\n".join(parts) + "\n"


def _table(entries: list[Entry]) -> str:
    head = ("design", "parameters", "FLOPs", "time", "state", "bytes", "verdict")
    rows = [head, ("---",) * len(head)]
    rows += [(f"[{each.name}](#{each.name})", *each.figures) for each in entries]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return [entry(path) for path in sorted((ROOT / "examples").glob("*.gab"))]


def test_gallery_is_up_to_date(entries: list[Entry], update_golden: bool) -> None:
    if update_golden:
        PICTURES.mkdir(exist_ok=True)
        for path in PICTURES.glob("*.svg"):
            path.unlink()
        for each in entries:
            drawn = svg(unit_tree(each.summary), is_wide=True)
            (PICTURES / f"{each.name}.svg").write_text(drawn, encoding="utf-8")
        PAGE.write_text(page(entries), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(entries)


def test_every_design_is_proved(entries: list[Entry]) -> None:
    assert {each.name: each.verdict for each in entries if each.verdict != "proved"} == {}


def test_every_design_says_where_it_is_from(entries: list[Entry]) -> None:
    for each in entries:
        assert "arXiv" in each.about or "20" in each.about, each.name


def test_pictures_show_every_unit(entries: list[Entry]) -> None:
    """The layout differs with graphviz's version, the labels do not."""
    assert {path.stem for path in PICTURES.glob("*.svg")} == {each.name for each in entries}
    for each in entries:
        drawn = (PICTURES / f"{each.name}.svg").read_text(encoding="utf-8")
        missing = [name for name in _names(each.summary.tree) if name not in drawn]
        assert not missing, (each.name, missing)


def _names(unit: UnitSummary) -> list[str]:
    return [unit.unit, *(name for child in unit.children for name in _names(child))]
