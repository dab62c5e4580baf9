"""What a file declares and never uses: by its text alone, whatever static conditions decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields

from gabc.diagnostics.model import Diagnostic, Diagnostics, Severity
from gabc.elaborate.modules import Module
from gabc.syntax import tree
from gabc.syntax.source import Span
from gabc.syntax.walk import assigned, mentions


def report_unused(module: Module, diagnostics: Diagnostics) -> None:
    """Warn of values, members and imports that nothing mentions.

    Units and functions with errors are left out: what is unused there may be what was misspelt.
    """
    file = module.file
    errors = [d.span for d in diagnostics.found if d.severity is Severity.ERROR]
    for unit in file.units:
        if not _holds_any(unit.span, errors):
            _unit(unit, diagnostics)
    for function in file.functions:
        if not _holds_any(function.span, errors):
            _values(function.body, mentions(function.body), diagnostics)
    used = mentions(file.units, file.functions, tuple(test.body for test in file.tests))
    root = file.design.name.id if file.design is not None else None
    for name, span in module.imported.items():
        if not used[name] and name != root:
            diagnostics.add(
                Diagnostic(
                    "GAB0116", f"`{name}` is imported and never used", span, help="drop the import"
                )
            )


def _holds_any(span: Span, others: Sequence[Span]) -> bool:
    return any(
        other.source is span.source and span.start <= other.start <= span.end for other in others
    )


def _unit(unit: tree.Unit, diagnostics: Diagnostics) -> None:
    used = mentions(unit.members, unit.forward, unit.hypers)
    _values(unit.forward.body, used, diagnostics)
    for hyper in unit.hypers:
        if not used[hyper.name.id]:
            diagnostics.add(_never_used("hyperparameter", hyper.name))
    for member in _declared(unit.members):
        name = member.name
        if not used[name.id] and isinstance(member, tree.Dim):
            diagnostics.add(_never_used("dim", name))
        elif not used[name.id]:
            what = "parameter" if isinstance(member, tree.Param) else "child"
            diagnostics.add(
                Diagnostic(
                    "GAB0502",
                    f"the {what} `{name.id}` is never used",
                    name.span,
                    help=f"use it in `forward`, or drop it: a dead {what} costs memory and "
                    "changes nothing",
                )
            )


def _never_used(what: str, name: tree.Name) -> Diagnostic:
    message = f"the {what} `{name.id}` is never used"
    return Diagnostic("GAB0117", message, name.span, help="use it, or drop it")


def _declared(members: Sequence[tree.Member]) -> Iterator[tree.Dim | tree.Param | tree.Child]:
    for member in members:
        if isinstance(member, (tree.Dim, tree.Param, tree.Child)):
            yield member
        elif isinstance(member, tree.MemberIf):
            yield from _declared(member.then)
            yield from _declared(member.otherwise)


def _values(body: Sequence[tree.Stmt], used: Counter[str], diagnostics: Diagnostics) -> None:
    names = assigned(tuple(body))
    for block in _blocks(body):
        own = {s.name.id for s in block.body if isinstance(s, tree.State)} | {"score", "keep"}
        names += [name for name in assigned(block.body) if name.id not in own]
    for name in names:
        if not used[name.id] and not name.id.startswith("_"):
            diagnostics.add(
                Diagnostic(
                    "GAB0113",
                    f"`{name.id}` is never used",
                    name.span,
                    help="drop the statement, or name it `_` if only another result is wanted",
                )
            )


def _blocks(root: object) -> Iterator[tree.Block]:
    """The blocks of `scan` and `attend` in a piece of syntax."""
    if isinstance(root, tree.Block):
        yield root
    if isinstance(root, (tuple, list)):
        for part in root:
            yield from _blocks(part)
    elif isinstance(root, tree.Node):
        for field in fields(root):
            if field.name != "span":
                yield from _blocks(getattr(root, field.name))
