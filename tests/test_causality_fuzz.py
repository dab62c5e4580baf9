"""No random program may be proved that the float64 oracle refutes.

The long run of 20,000 programs, about an hour on two idle cores, in parts by `--start`:

    OMP_NUM_THREADS=1 python tests/test_causality_fuzz.py 20000 --lengths 1,7,100,257
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from causality_programs import program

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Verdict, Witness
from gabc.check.report import check
from gabc.diagnostics.model import Severity
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.oracle import Oracle
from gabc.syntax.source import Source

QUICK, SLOW = range(60), range(1000, 1500)
WIDTH = 4


def elaborated(text: str) -> Stack | None:
    """The stack of a design; `None` if it is refused before any proof."""
    scale = parse_scale(f"{WIDTH}x{2 if 'Z.' in text else 1}")
    report = check(Source("design.gab", text), scales=(scale,))
    refused = [
        d
        for d in report.diagnostics
        if d.severity is Severity.ERROR and not d.code.startswith("GAB04")
    ]
    return None if refused else report.stacks.get(scale.name)


def judged(seeds: Iterable[int], lengths: Sequence[int]) -> tuple[Counter[str], list[str]]:
    """How often each outcome occurs, and the programs whose proof a run contradicts."""
    outcomes: Counter[str] = Counter()
    unsound: list[str] = []
    for seed in seeds:
        text = program(seed)
        stack = elaborated(text)
        if stack is None:
            outcomes["not a design"] += 1
            continue
        proofs = prove(stack)
        oracle = Oracle(stack, seed=seed, magnitudes=(2.0,))
        subjects = (
            ("causality", proofs.causality, oracle.future),
            ("length", proofs.length, oracle.prefix),
            ("batch", proofs.batch, oracle.rows),
        )
        for subject, found, search in subjects:
            # What is refuted needs no long sequences: a short one tells whether it shows.
            is_claimed = found.verdict is not Verdict.REFUTED
            witness = search(lengths if is_claimed else lengths[:2])
            outcome = f"{subject} {found.verdict.value}"
            outcomes[outcome if witness is None else f"{outcome}, leaks"] += 1
            if found.verdict is not Verdict.PROVED or witness is None:
                continue
            if any(_redrawn(stack, subject, seed, draw, lengths) for draw in range(1, 4)):
                unsound.append(f"seed {seed}, {subject}: {witness}\n{text}")
            else:
                outcomes[f"{subject} proved, a tie"] += 1
        outcomes["designs"] += 1
        outcomes["unknown"] += any(found.verdict is Verdict.UNKNOWN for _, found, _ in subjects)
    return outcomes, unsound


def _redrawn(
    stack: Stack, subject: str, seed: int, draw: int, lengths: Sequence[int]
) -> Witness | None:
    """The witness of another stream.

    A threshold on what is zero but for rounding can fall otherwise in a run of another length: of
    20,000 programs one had a score of 0 in one run, of 6e-17 in the other, and kept what is above
    0. A leak shows for other numbers, too.
    """
    oracle = Oracle(stack, seed=seed + 1_000_000 * draw, magnitudes=(2.0,))
    searches = {"causality": oracle.future, "length": oracle.prefix, "batch": oracle.rows}
    return searches[subject](lengths)


def _check(outcomes: Counter[str], unsound: list[str]) -> None:
    assert not unsound, unsound[0]
    designs = outcomes["designs"]
    assert outcomes["not a design"] <= 0.05 * designs
    # Both outcomes occur: a generator of causal programs only would prove nothing.
    assert outcomes["causality proved"] > 0.25 * designs
    assert outcomes["causality refuted, leaks"] > 0.25 * designs
    assert outcomes["batch refuted, leaks"] > 0
    assert outcomes["length refuted, leaks"] > outcomes["causality refuted, leaks"]


def test_no_proof_is_contradicted() -> None:
    _check(*judged(QUICK, (1, 7)))


@pytest.mark.slow
def test_no_proof_is_contradicted_by_many() -> None:
    outcomes, unsound = judged(SLOW, (1, 9))
    _check(outcomes, unsound)
    assert outcomes["unknown"] < 0.02 * outcomes["designs"], outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--lengths", default="1,7,11")
    options = parser.parse_args()
    lengths = [int(length) for length in options.lengths.split(",")]
    outcomes, unsound = judged(range(options.start, options.start + options.count), lengths)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:7d}  {outcome}")
    for text in unsound:
        print(text)
    designs = outcomes["designs"]
    print(f"unknown {outcomes['unknown'] / designs:.2%}, unsound {len(unsound)}")


if __name__ == "__main__":
    main()
