"""`gabc test`: run the `test` blocks of designs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.check.report import check
from gabc.check.testing import TestProgram, elaborate_tests
from gabc.check.testing_facts import Dependence, Fact
from gabc.cli.extras import needs
from gabc.cli.faults import DIAGNOSTICS
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.diagnostics.model import Diagnostics
from gabc.elaborate.limits import MAX_FRAMES, recursion_limit
from gabc.elaborate.modules import Loader

if TYPE_CHECKING:
    from gabc.runtime.testing import Outcome


@dataclass(frozen=True, slots=True)
class _Ran:
    """A test and the outcomes of its facts. One that states no fact has failed."""

    path: Path
    program: TestProgram
    outcomes: Sequence[Outcome]

    @property
    def ok(self) -> bool:
        return bool(self.outcomes) and all(outcome.holds for outcome in self.outcomes)


def run_tests(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Designs; `-` is standard input.")
    ],
    only: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Run the tests whose names have this in them.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of inputs and parameters.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run the tests of designs: each `test "name" { ... }`, in float64, at a small size."""
    ran: list[_Ran] = []
    programs = [(path, program) for path in files for program in _programs(path, as_json)]
    with needs("torch", "torch"):
        from gabc.runtime.testing import run_test
    for path, program in programs:
        if only not in program.title:
            continue
        result = _Ran(path, program, run_test(program, seed))
        ran.append(result)
        if not as_json:
            _print(result)
    if as_json:
        print_json(
            {"ok": all(r.ok for r in ran), "seed": seed, "tests": [_document(r) for r in ran]}
        )
    else:
        _print_summary(ran)
    if not all(result.ok for result in ran):
        raise typer.Exit(DIAGNOSTICS)


def _programs(path: Path, as_json: bool) -> list[TestProgram]:
    """The tests of a file. Raises `FoundErrors` if the file has errors, which are printed."""
    source, folder = load(path)
    refuse_errors(check(source, folder=folder).diagnostics, as_json)
    found = Diagnostics()
    with recursion_limit(MAX_FRAMES):
        programs = elaborate_tests(Loader(found).load(source, folder), found)
    refuse_errors(found.found, as_json)
    return programs


def _print(ran: _Ran) -> None:
    print(f"{ran.path}::{ran.program.title} {'PASSED' if ran.ok else 'FAILED'}")
    if not ran.outcomes:
        print("    it states no fact: add `require ...`")
    for outcome in ran.outcomes:
        if not outcome.holds:
            span = outcome.fact.span
            print(f"    {span.source.path}:{span.line}: {_text(outcome.fact)}")
            for line in _shown(outcome):
                print(f"        {line}")


def _shown(outcome: Outcome) -> list[str]:
    at = f" at {outcome.where}" if outcome.where else ""
    if isinstance(outcome.fact.claim, Dependence):
        if not outcome.left:
            return ["nothing changed"]
        return [f"before: {outcome.left}{at}", f"after:  {outcome.right}"]
    if not outcome.right:
        return [f"value: {outcome.left}{at}"]
    return [f"left:  {outcome.left}{at}", f"right: {outcome.right}"]


def _text(fact: Fact) -> str:
    text = " ".join(fact.span.text.split())
    return text if fact.expected else f"not {text}"


def _print_summary(ran: Sequence[_Ran]) -> None:
    failed = sum(not result.ok for result in ran)
    passed = len(ran) - failed
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{passed} passed"] if passed else []
    print(", ".join(parts) or "no tests")


def _document(ran: _Ran) -> dict[str, object]:
    return {
        "file": str(ran.path),
        "name": ran.program.title,
        "line": ran.program.test.span.line,
        "ok": ran.ok,
        "facts": [
            {
                "fact": _text(outcome.fact),
                "line": outcome.fact.span.line,
                "ok": outcome.holds,
                "left": outcome.left,
                "right": outcome.right,
                "where": outcome.where,
            }
            for outcome in ran.outcomes
        ],
    }
