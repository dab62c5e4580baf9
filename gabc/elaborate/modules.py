"""Files and what their names mean: imports from the standard library and from sibling files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from gabc.diagnostics.model import Applicability, Diagnostic, Diagnostics, Edit, Fix
from gabc.diagnostics.suggest import nearest
from gabc.elaborate.names import BUILT_IN, hides_built_in
from gabc.syntax import tree
from gabc.syntax.parse import parse
from gabc.syntax.read import SourceError, read_source
from gabc.syntax.source import Source, Span


@dataclass(frozen=True, slots=True, eq=False)
class UnitDefinition:
    unit: tree.Unit
    module: Module


@dataclass(frozen=True, slots=True, eq=False)
class FunctionDefinition:
    function: tree.Function
    module: Module


Definition: TypeAlias = UnitDefinition | FunctionDefinition


@dataclass(slots=True, eq=False)
class Module:
    """One parsed file. `scope` has its own definitions and what it imports."""

    name: str
    file: tree.File
    scope: dict[str, Definition] = field(default_factory=dict)
    imported: dict[str, Span] = field(default_factory=dict)
    """Where each imported name is written, for names never used."""


def standard_modules() -> list[str]:
    """The names of the standard library's modules, without `std.`."""
    folder = resources.files("gabc.stdlib_gaus")
    return sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".gab"))


@cache
def parse_standard(name: str) -> tuple[tree.File, tuple[Diagnostic, ...]]:
    text = (resources.files("gabc.stdlib_gaus") / f"{name}.gab").read_text(encoding="utf-8")
    file, diagnostics = parse(Source(f"std/{name}.gab", text))
    return file, tuple(diagnostics)


class Loader:
    """Loads a file and everything it imports; findings go to `diagnostics`."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self._modules: dict[str, Module] = {}
        self._loading: list[str] = []

    @property
    def modules(self) -> list[Module]:
        """Every module loaded, in the order in which loading ended."""
        return list(self._modules.values())

    def load(self, source: Source, folder: Path | None) -> Module:
        """The module of a design's own text; `folder` is where its siblings lie."""
        file, diagnostics = parse(source)
        self._diagnostics.extend(diagnostics)
        return self._build(source.path, file, folder)

    def _build(self, key: str, file: tree.File, folder: Path | None) -> Module:
        module = Module(key, file)
        self._loading.append(key)
        for item in file.imports:
            self._import(module, item, folder)
        self._loading.pop()
        for unit in file.units:
            self._define(module, unit.name, UnitDefinition(unit, module))
        for function in file.functions:
            self._define(module, function.name, FunctionDefinition(function, module))
        self._modules[key] = module
        return module

    def _define(self, module: Module, name: tree.Name, definition: Definition) -> None:
        if name.id in BUILT_IN:
            self._diagnostics.add(hides_built_in(name))
        if name.id in module.scope:
            self._diagnostics.add(
                Diagnostic(
                    "GAB0104",
                    f"`{name.id}` is already defined in this file",
                    name.span,
                    help="give one of the two another name",
                )
            )
            return
        module.scope[name.id] = definition

    def _import(self, module: Module, item: tree.Import, folder: Path | None) -> None:
        source = self._resolve(item, folder)
        if source is None:
            # The names are known, if not their meaning: no cascade of unknown names.
            for imported in item.names:
                module.imported.setdefault((imported.alias or imported.name).id, imported.span)
            return
        for imported in item.names:
            definition = source.scope.get(imported.name.id)
            target = imported.alias or imported.name
            if definition is None or definition.module is not source:
                self._unknown_import(item, imported, source)
                module.imported.setdefault(target.id, imported.span)
                continue
            module.imported[target.id] = imported.span
            self._define(module, target, definition)

    def _unknown_import(
        self, item: tree.Import, imported: tree.ImportedName, source: Module
    ) -> None:
        name = imported.name
        own = [key for key, value in source.scope.items() if value.module is source]
        near = nearest(name.id, own)
        # Under the name that the file uses: every use stays as it is.
        text = near if near is None or imported.alias else f"{near} as {name.id}"
        self._diagnostics.add(
            Diagnostic(
                "GAB0103",
                f"`{'.'.join(part.id for part in item.module)}` defines no `{name.id}`",
                name.span,
                help=f"did you mean `{near}`?" if near else f"it defines {', '.join(own)}",
                fixes=_rename(name.span, text),
            )
        )

    def _resolve(self, item: tree.Import, folder: Path | None) -> Module | None:
        parts = [part.id for part in item.module]
        span = item.module[0].span.to(item.module[-1].span)
        if parts[0] == "std":
            return self._standard(parts, span)
        if len(parts) > 1:
            self._unknown_module(
                span, "a sibling file is imported by its bare name", sibling_names(folder)
            )
            return None
        path = None if folder is None else folder / f"{parts[0]}.gab"
        if path is None or not path.is_file():
            known = sibling_names(folder)
            self._unknown_module(span, f"there is no `{parts[0]}.gab` beside this file", known)
            return None
        return self._sibling(path, parts[0], span)

    def _standard(self, parts: list[str], span: Span) -> Module | None:
        known = standard_modules()
        if len(parts) != 2 or parts[1] not in known:
            name = ".".join(parts)
            self._unknown_module(span, f"the standard library has no `{name}`", known, "std.")
            return None
        key = f"std/{parts[1]}.gab"
        if key in self._modules:
            return self._modules[key]
        if self._is_cycle(key, span):
            return None
        file, diagnostics = parse_standard(parts[1])
        self._diagnostics.extend(diagnostics)
        return self._build(key, file, None)

    def _sibling(self, path: Path, name: str, span: Span) -> Module | None:
        key = str(path)
        if key in self._modules:
            return self._modules[key]
        if self._is_cycle(key, span):
            return None
        try:
            source = read_source(path)
        except SourceError as error:
            self._diagnostics.add(error.diagnostic)
            return None
        except OSError as error:
            self._unknown_module(span, f"`{name}.gab` cannot be read: {error.strerror}", [])
            return None
        file, diagnostics = parse(source)
        self._diagnostics.extend(diagnostics)
        return self._build(key, file, path.parent)

    def _is_cycle(self, key: str, span: Span) -> bool:
        if key not in self._loading:
            return False
        chain = " -> ".join(Path(part).name for part in [*self._loading, key])
        self._diagnostics.add(
            Diagnostic(
                "GAB0102",
                f"files import each other in a circle: {chain}",
                span,
                help="move what both need into a third file",
            )
        )
        return True

    def _unknown_module(self, span: Span, message: str, known: list[str], prefix: str = "") -> None:
        near = nearest(span.text.removeprefix(prefix), known)
        suggestion = f"{prefix}{near}" if near else None
        help = (
            f"did you mean `{suggestion}`?"
            if suggestion
            else f"there are {', '.join(prefix + name for name in known)}"
            if known
            else "the standard library is imported as `std.NAME`"
        )
        self._diagnostics.add(
            Diagnostic("GAB0102", message, span, help=help, fixes=_rename(span, suggestion))
        )


def sibling_names(folder: Path | None) -> list[str]:
    """The modules that lie beside a file."""
    return [] if folder is None else sorted(path.stem for path in folder.glob("*.gab"))


def _rename(span: Span, near: str | None) -> tuple[Fix, ...]:
    if near is None:
        return ()
    return (Fix(f"write `{near}`", (Edit(span, near),), Applicability.MAYBE),)
