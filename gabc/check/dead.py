"""`find_dead`: parameters, units and Z entries that cannot change what the design computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gabc.check.constants import ConstantFactor
from gabc.check.reach import Slicer
from gabc.diagnostics.model import Diagnostic
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Graph, ZWrite
from gabc.syntax import tree
from gabc.syntax.source import Span


def find_dead(stack: Stack, known: Sequence[Diagnostic] = ()) -> list[Diagnostic]:
    """Warnings of what is computed for nothing, by the flow of data through the whole stack.

    A parameter or child is dead if at no layer it reaches the stream, a Z entry that a later block
    reads to some effect, or a loss. Of a dead unit only its root is named. A unit in which `known`
    has a value that is never used is left out: what is dead there follows from that.
    """
    found = _Stack(stack)
    found.run()
    broken = [d.span for d in known if d.code == "GAB0113"]
    diagnostics = [*found.dead_parts(broken), *found.dead_writes(), *found.constant_factors()]
    unused = {(d.code, d.span) for d in known}
    return [d for d in diagnostics if (d.code, d.span) not in unused]


@dataclass(frozen=True, slots=True)
class _Part:
    """A parameter or child: where it is declared, and whether it is which."""

    what: str
    span: Span
    unit: Span


@dataclass(eq=False)
class _Stack:
    stack: Stack
    slicer: Slicer = field(default_factory=Slicer)
    live: set[str] = field(default_factory=set)
    parts: dict[str, _Part] = field(default_factory=dict)
    wanted_keys: set[str] = field(default_factory=set)
    read_keys: set[str] = field(default_factory=set)
    writes: dict[str, ZWrite] = field(default_factory=dict)

    def run(self) -> None:
        present: list[frozenset[str]] = []
        keys: set[str] = set()
        for block in self.stack.blocks:
            graph = _graph(block)
            present.append(frozenset(read.key for read in graph.z_reads if read.key in keys))
            self.read_keys.update(read.key for read in graph.z_reads)
            for write in graph.z_writes:
                keys.add(write.key)
                self.writes.setdefault(write.key, write)
        for block in dict.fromkeys(self.stack.blocks):
            self._declared(block)
        self._backwards(present)

    def _backwards(self, present: Sequence[frozenset[str]]) -> None:
        needed: frozenset[str] = frozenset()
        is_read = True
        for block, keys in zip(reversed(self.stack.blocks), reversed(present), strict=True):
            graph = _graph(block)
            wanted = {0} if is_read else set()
            for index, write in enumerate(graph.z_writes, len(graph.results)):
                if write.key in needed:
                    wanted.add(index)
                    self.wanted_keys.add(write.key)
            reach = self.slicer.reach(block, frozenset(wanted), keys)
            self.live |= reach.parts
            is_read = 0 in reach.inputs
            needed = (needed - {write.key for write in graph.z_writes}) | reach.reads

    # ---------------------------------------------------------------- parts

    def _declared(self, block: Instance) -> None:
        for path, instance in block.walk():
            if instance.unit is None:
                continue  # of a `Linear` nothing is dead but the whole
            names = _names(instance.unit)
            prefix = f"{path}." if path else ""
            for parameter in instance.params:
                span = names.get(parameter.name, parameter.span)
                part = _Part("parameter", span, instance.unit.span)
                self.parts.setdefault(prefix + parameter.name, part)
            for name, children in instance.children.items():
                part = _Part("child", names.get(name, children.span), instance.unit.span)
                for index in range(len(children.instances)):
                    here = f"{prefix}{name}.{index}" if children.is_array else prefix + name
                    self.parts.setdefault(here, part)

    def dead_parts(self, broken: Sequence[Span]) -> Iterator[Diagnostic]:
        dead = dict.fromkeys(path for path in self.parts if path not in self.live)
        for path in dead:
            part = self.parts[path]
            if any(above in dead for above in _above(path)) or _within(broken, part.unit):
                continue
            yield Diagnostic(
                "GAB0502",
                f"the {part.what} `{path}` changes nothing: no value computed from it reaches the "
                "output of the design",
                part.span,
                help="return what it computes, write it to a Z entry that is read, or drop it",
            )

    # ---------------------------------------------------------------- Z

    def dead_writes(self) -> Iterator[Diagnostic]:
        """Entries that later blocks read to no effect. Those never read are reported as such."""
        for key, write in self.writes.items():
            if key in self.read_keys and key not in self.wanted_keys:
                yield Diagnostic(
                    "GAB0307",
                    f"`Z.{key}` is written, and no block that reads it later makes use of it",
                    write.value.span,
                    help="use what is read from it, or drop the write and the read",
                )

    # ---------------------------------------------------------------- constants

    def constant_factors(self) -> Iterator[Diagnostic]:
        """Factors that are constant at every layer where they stand."""
        places: dict[tuple[str, Span], int] = {}
        found: dict[tuple[str, Span], tuple[int, ConstantFactor]] = {}
        for block in dict.fromkeys(self.stack.blocks):
            for path, instance in block.walk():
                constants = self.slicer.constants(instance)
                for span in constants.places:
                    places[path, span] = places.get((path, span), 0) + 1
                for factor in constants.found:
                    count, _ = found.get((path, factor.span), (0, factor))
                    found[path, factor.span] = count + 1, factor
        for (path, span), (count, factor) in found.items():
            if count >= places[path, span]:
                where = (("unit", path),) if path else ()
                yield Diagnostic("GAB0504", factor.what, span, help=factor.help, facts=where)


def _names(unit: tree.Unit) -> dict[str, Span]:
    """Where the names of parameters, children and slots are declared."""
    names = {hyper.name.id: hyper.name.span for hyper in unit.hypers}

    def below(members: Sequence[tree.Member]) -> None:
        for member in members:
            if isinstance(member, (tree.Param, tree.Child)):
                names.setdefault(member.name.id, member.name.span)
            elif isinstance(member, tree.MemberIf):
                below(member.then)
                below(member.otherwise)

    below(unit.members)
    return names


def _above(path: str) -> Iterator[str]:
    """The parts that a part lies in: `a` and `a.b` of `a.b.c`."""
    names = path.split(".")
    return (".".join(names[:count]) for count in range(1, len(names)))


def _within(spans: Sequence[Span], outer: Span) -> bool:
    return any(
        span.source is outer.source and outer.start <= span.start < outer.end for span in spans
    )


def _graph(block: Instance) -> Graph:
    assert block.graph is not None, "the stack is elaborated in full"
    return block.graph
