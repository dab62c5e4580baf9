"""The classes of a module: one per unit, or several where its instances differ in their text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from gabc.codegen.construct import Constructor
from gabc.codegen.context import Argument, ClassContext, SharedModule, UnitClass
from gabc.codegen.kernels.file import KernelTable
from gabc.codegen.layout import WIDTH, Line
from gabc.codegen.methods import forward_lines, initialiser_lines
from gabc.codegen.names import local_name
from gabc.graph.instance import Instance, Stack
from gabc.graph.names import unused
from gabc.graph.nodes import ChildRef
from gabc.graph.static import Literal, Static
from gabc.syntax import tree

_LABEL = re.compile(r"[A-Z][a-z]+: ")
"""`Shapes: ` and `Source: ` begin a paragraph."""

UnitKey = tuple[str, str]
"""A unit's file and name."""


@dataclass(frozen=True)
class _Text:
    """All that makes a class but its name."""

    lines: tuple[Line, ...]
    arguments: tuple[Argument, ...]
    shared: tuple[tuple[str, str], ...]
    losses: tuple[str, ...]


@dataclass
class ClassTable:
    """The classes written so far, in an order in which each is defined before its use."""

    require: Callable[[str], str]
    reserved: frozenset[str]
    taken: set[str]
    defaults: Mapping[UnitKey, Mapping[str, Static]]
    of: dict[Instance, UnitClass] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    kernels: KernelTable = field(default_factory=KernelTable)
    _texts: dict[UnitKey, dict[_Text, str]] = field(default_factory=dict)

    def add(self, instance: Instance, suffix: str = "") -> UnitClass:
        """The class of an instance; those of its children are added first."""
        if instance in self.of:
            return self.of[instance]
        for children in instance.children.values():
            for child in children.instances:
                if child.unit is not None:
                    self.add(child)
        context = ClassContext(instance, self.require, self.of, self.reserved, kernels=self.kernels)
        text = self._write(context)
        key = unit_key(instance)
        known = self._texts.setdefault(key, {})
        if text not in known:
            known[text] = unused(local_name(f"{instance.name}{suffix}"), self.taken)
            self.taken.add(known[text])
            self.lines[known[text]] = _class_lines(known[text], instance, text)
        cls = UnitClass(known[text], text.arguments, tuple(context.shared), text.losses)
        self.of[instance] = cls
        return cls

    def _write(self, context: ClassContext) -> _Text:
        instance = context.instance
        if instance.graph is None:
            raise ValueError(f"{instance.name} has no graph: the design was not elaborated in full")
        self._claim_shared(context)
        forward = forward_lines(context, instance.graph)
        initialiser = initialiser_lines(context)
        constructor = Constructor(context, self.defaults[unit_key(instance)])
        head, arguments = constructor.write(context.attributes)
        parts = [head, initialiser, forward.lines]
        lines = [line for part in parts if part for line in (*part, Line(""))]
        return _Text(tuple(lines[:-1]), arguments, _names(context.shared), forward.losses)

    def _claim_shared(self, context: ClassContext) -> None:
        """Every module that blocks share below this unit, called or not: its parameters exist."""
        for name, children in context.instance.children.items():
            for index, child in enumerate(children.instances):
                reference = ChildRef(name, index if children.is_array else None)
                _, path, _ = context.child(reference)
                for inner in () if child.unit is None else self.of[child].shared:
                    context.shared_module(f"{path}.{inner.path}", inner.instance)


def unit_key(instance: Instance) -> UnitKey:
    assert instance.unit is not None
    return instance.unit.span.source.path, instance.unit.name.id


def default_expressions(stack: Stack) -> dict[UnitKey, dict[str, Static]]:
    """The default of each hyperparameter: as some instance took it, or a literal of the text."""
    defaults: dict[UnitKey, dict[str, Static]] = {}
    for instance in _instances(stack):
        known = defaults.setdefault(unit_key(instance), {})
        assert instance.unit is not None
        for declared in instance.unit.hypers:
            literal = _literal(declared.default)
            if literal is not None:
                known.setdefault(declared.name.id, literal)
        for name, hyper in instance.hypers.items():
            if hyper.is_default:
                known.setdefault(name, hyper.given)
    return defaults


def _instances(stack: Stack) -> Iterator[Instance]:
    for block in dict.fromkeys(stack.blocks):
        for _, instance in block.walk():
            if instance.unit is not None:
                yield instance


def _literal(default: tree.Expr | None) -> Static | None:
    match default:
        case tree.Number(value=value) | tree.String(value=value) | tree.Bool(value=value):
            return Literal(value)
        case tree.NoneLiteral():
            return Literal(None)
    return None


def _names(shared: list[SharedModule]) -> tuple[tuple[str, str], ...]:
    return tuple((module.argument, module.path) for module in shared)


def _class_lines(name: str, instance: Instance, text: _Text) -> list[Line]:
    assert instance.unit is not None
    head = [Line(f"class {name}(nn.Module):", 0, instance.unit.name.span)]
    return [*head, *docstring(instance.unit.doc, 1), *text.lines]


def docstring(text: str, level: int) -> list[Line]:
    """The text as a docstring with a blank line after it; nothing for no text.

    Paragraphs are wrapped anew, indented lines are kept.
    """
    rows = [*_rows(text.replace("\\", "\\\\").replace('"""', "'''"), WIDTH - 4 * level - 3)]
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        return []
    if len(rows) == 1 and len(rows[0]) + 4 * level + 6 <= WIDTH:
        return [Line(f'"""{rows[0]}"""', level, is_prose=True), Line("")]
    rows[0] = f'"""{rows[0]}'
    prose = [Line(row, level, is_prose=True) if row else Line("") for row in [*rows, '"""']]
    return [*prose, Line("")]


def _rows(text: str, width: int) -> Iterator[str]:
    paragraph: list[str] = []
    for row in [*text.strip().splitlines(), ""]:
        is_prose = bool(row.strip()) and not row.startswith(" ")
        if not is_prose or _LABEL.match(row):
            yield from textwrap.wrap(" ".join(paragraph), width, break_on_hyphens=False)
            paragraph = []
        if is_prose:
            paragraph.append(row.strip())
        else:
            yield row.rstrip()
