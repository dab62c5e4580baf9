"""`check`: everything that is known of a design from its text. Pure: no printing, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Proofs
from gabc.check.conditions import depends_on_place
from gabc.check.contracts import decide
from gabc.check.dead import find_dead
from gabc.check.loops import find_loops
from gabc.check.routing import find_mixing_experts
from gabc.check.unused import report_unused
from gabc.diagnostics.model import Diagnostic, Diagnostics, Severity, TooManyErrors
from gabc.elaborate.faults import SilentError
from gabc.elaborate.limits import MAX_FRAMES, LimitReached, recursion_limit
from gabc.elaborate.modules import Loader, Module, UnitDefinition
from gabc.elaborate.rules import RULES
from gabc.elaborate.scales import DEFAULT_SCALE, SCALES
from gabc.elaborate.scope import Session
from gabc.elaborate.stack import elaborate_stack
from gabc.elaborate.units import elaborate_alone
from gabc.graph.instance import Scale, Stack
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Source, Span


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found.

    `stacks` has the design at every scale where it is well-formed, `proofs` what is proved of it.
    """

    source: Source
    diagnostics: tuple[Diagnostic, ...]
    stacks: Mapping[str, Stack]
    proofs: Mapping[str, Proofs]

    @property
    def ok(self) -> bool:
        """No errors; warnings do not count."""
        return not any(d.severity is Severity.ERROR for d in self.diagnostics)


def check(
    source: Source,
    *,
    scales: Sequence[Scale] = (),
    folder: Path | None = None,
    offers_fixes: bool = True,
) -> Report:
    """Check a `.gab` text at the scales given (the default scale if none is).

    `folder` is where sibling files are looked for. Units that the design does not reach are checked
    alone. Never raises for a fault of the design. Fixes for faults of causality are each checked in
    turn before they are offered, which `offers_fixes=False` leaves out.
    """
    found = Diagnostics(bounded=True)
    stacks: dict[str, Stack] = {}
    proofs: dict[str, Proofs] = {}
    # Where there are too many errors, the last finding says so.
    with recursion_limit(MAX_FRAMES), suppress(TooManyErrors):
        stacks, design = _check(source, scales, folder, found)
        proofs = {name: prove(stack) for name, stack in stacks.items()}
        for name, stack in stacks.items():
            found.extend(proofs[name].diagnostics)
            found.extend(find_mixing_experts(stack))
            if design is not None:
                found.extend(decide(stack, proofs[name], design.contracts))
            found.extend(find_dead(stack, tuple(found.found)))
            found.extend(find_loops(stack))
    diagnostics = found.found
    if offers_fixes and any(p.faults for p in proofs.values()):
        from gabc.check.causality.repair import with_fixes

        def again(text: Source) -> Sequence[Diagnostic]:
            return check(text, scales=scales, folder=folder, offers_fixes=False).diagnostics

        diagnostics = with_fixes(diagnostics, proofs.values(), source, again)
    return Report(source, tuple(diagnostics), stacks, proofs)


def _check(
    source: Source, scales: Sequence[Scale], folder: Path | None, found: Diagnostics
) -> tuple[dict[str, Stack], tree.Design | None]:
    loader = Loader(found)
    module = loader.load(source, folder)
    stacks: dict[str, Stack] = {}
    syntax_errors = found.has_errors
    reached: set[UnitDefinition] = set()
    try:
        if module.file.design is not None:
            sources = {part.file.source.path: part.file.source.text for part in loader.modules}
            for scale in scales or (SCALES[DEFAULT_SCALE],):
                stack = elaborate_stack(module, scale, found, sources, reached)
                if stack is not None:
                    stacks[scale.name] = stack
        _alone(module, found, reached)
        if module.file.tests:
            from gabc.check.testing import elaborate_tests

            elaborate_tests(module, found)
    except LimitReached as end:
        found.add(end.diagnostic)
    if not syntax_errors:
        report_unused(module, found)
        _report_empty(module.file, found)
    return stacks, module.file.design


def _report_empty(file: tree.File, found: Diagnostics) -> None:
    """Nothing is wrong with an empty file, and nothing is checked."""
    if file.design or file.units or file.functions or file.tests or file.imports:
        return
    what = "holds comments only" if file.comments else "is empty"
    found.add(
        Diagnostic(
            "GAB0119",
            f"the file {what}: there is nothing to check",
            Span(file.source, 0, 0),
            help="a design is `gab Name` and `unit Name() { forward(X) { return X } }`",
        )
    )


def _alone(module: Module, found: Diagnostics, reached: Set[UnitDefinition]) -> None:
    """Every unit of the file by itself, with unknown hyperparameters.

    Where the design has met a unit as it is here, and the unit leaves nothing to a condition, that
    would say nothing new.
    """
    for definition in module.scope.values():
        if not isinstance(definition, UnitDefinition) or definition.module is not module:
            continue
        if definition in reached and not depends_on_place(definition.unit):
            continue
        try:
            elaborate_alone(Session(found, None, RULES), definition)
        except Refused as refused:
            found.add(refused.diagnostic)
        except SilentError:
            continue  # a circle, reported where it closes
