"""`elaborate_tests`: the `test` blocks of a file, each as a unit of its own with facts about it.

A test is elaborated like a `forward`: names, shapes and sizes are checked by the same rules. What
it adds is `random(...)`, whose results are the inputs of that unit, units assigned to names, which
are its children, and facts after `require` (see `gabc.check.testing_facts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gabc.check.testing_facts import FACTS, Fact, facts_of
from gabc.diagnostics.model import Diagnostic, Diagnostics
from gabc.elaborate.bound import Bound, Template
from gabc.elaborate.builder import Builder
from gabc.elaborate.declare import may_declare
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.modules import Module, UnitDefinition
from gabc.elaborate.names import BUILT_IN_UNITS
from gabc.elaborate.parts import declare_child
from gabc.elaborate.prover import discharge
from gabc.elaborate.rules import RULES
from gabc.elaborate.scope import Session, UnitScope
from gabc.elaborate.statements import run_body
from gabc.elaborate.zflow import ZFlow
from gabc.graph.instance import Instance, Scale
from gabc.graph.nodes import Graph, Value, ZRead, ZWrite
from gabc.graph.static import UnknownStatic
from gabc.graph.types import RESIDUAL_STREAM, L, TensorType
from gabc.ops.base import Refused
from gabc.syntax import tree

SCALE = Scale("the size of tests", 64, 2)
"""`D` is 64: the usual numbers of heads divide it."""


@dataclass(frozen=True, slots=True, eq=False)
class TestProgram:
    """A test that can be run: a block whose Z entries are its random inputs and its outcomes.

    `randoms` enter as the Z reads `in.0`, `in.1`, ..., and `outcomes` leave as the Z writes
    `out.0`, `out.1`, ...
    """

    __test__ = False  # no test of pytest's

    title: str
    test: tree.Test
    instance: Instance
    randoms: tuple[Value, ...]
    outcomes: tuple[Value, ...]
    facts: tuple[Fact, ...]


def elaborate_tests(module: Module, diagnostics: Diagnostics) -> list[TestProgram]:
    """The tests of a file in order, without those with faults, which are reported.

    Needs no torch. Raises `LimitReached`.
    """
    programs: list[TestProgram] = []
    titles: set[str] = set()
    for test in module.file.tests:
        errors = len(diagnostics.found)
        elaboration = _Elaboration(module, test, diagnostics)
        program = elaboration.run()
        if test.title.value in titles:
            diagnostics.add(
                elaboration.evaluator.refuse(
                    "GAB0104", f"there are two tests `{test.title.value}`", test.title.span
                ).diagnostic
            )
        titles.add(test.title.value)
        if not diagnostics.has_errors_since(errors):
            programs.append(program)
    return programs


@dataclass(eq=False)
class _TestRules:
    """The rules of the language, and `random` in the test itself. Implements `scope.Rules`."""

    randoms: list[Value] = field(default_factory=list)
    scope: UnitScope | None = None

    def expression(self, evaluator: Evaluator, expr: tree.Expr, names: Sequence[str]) -> Bound:
        is_here = evaluator.scope is self.scope and evaluator.module is None
        if is_here and isinstance(expr, tree.Call) and isinstance(expr.function, tree.Name):
            name = expr.function.id
            if name == "random" and evaluator.lookup(name) is None:
                return self._random(evaluator, expr, names)
            if name in FACTS and evaluator.lookup(name) is None:
                raise evaluator.refuse(
                    "GAB0115", f"`{name}` states a fact: it stands after `require`", expr.span
                )
        return RULES.expression(evaluator, expr, names)

    def unit(self, session: Session, template: Template, position: tuple[int, ...]) -> Instance:
        return RULES.unit(session, template, position)

    def _random(self, evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Value:
        if evaluator.in_region or evaluator.builder is None:
            raise evaluator.refuse(
                "GAB0115",
                f"`random` cannot be drawn inside {evaluator.place}",
                expr.span,
                help="draw it before, and pass it on",
            )
        sizes = expr.args
        if len(sizes) == 1 and isinstance(sizes[0], tree.ListLiteral):
            sizes = sizes[0].items
        if not sizes or expr.keywords:
            raise evaluator.refuse(
                "GAB0107", "`random` takes the sizes of its axes", expr.span, help="random(B, L, D)"
            )
        type_ = TensorType("float", tuple(evaluator.dim(size) for size in sizes))
        value = Value(type_, expr.span, names[0] if names else "")
        self.randoms.append(value)
        return value


class _Elaboration:
    """One test while it is elaborated."""

    def __init__(self, module: Module, test: tree.Test, diagnostics: Diagnostics) -> None:
        self.test = test
        rules = _TestRules()
        session = Session(diagnostics, SCALE, rules, layer=0)
        title = tree.Name(test.title.span, "test")
        forward = tree.Forward(test.span, (), None, ())
        unit = tree.Unit(test.span, title, (), (), forward, "")
        self.scope = rules.scope = UnitScope(session, module, unit, test.span)
        self.scope.env.update({"D": SCALE.D, "n_layers": SCALE.n_layers, "layer": 0})
        self.randoms = rules.randoms
        self.builder = Builder(self.scope)
        self.z = ZFlow("test")
        self.evaluator = Evaluator(
            self.scope, self.builder, z=self.z, place="a test", time=L, any_rank=True
        )
        self.facts: list[Fact] = []

    def run(self) -> TestProgram:
        if not any(isinstance(part, tree.Require) for part in self.test.body):
            title = self.test.title
            self.scope.report(
                Diagnostic(
                    "GAB0118",
                    f"the test `{title.value}` states nothing",
                    title.span,
                    help="add `require` and what must hold",
                )
            )
        for statement in self.test.body:
            self.z.in_statement.clear()
            self._statement(statement)
        _, failed = discharge(self.scope.prover.obligations, self.scope.sizes, SCALE.name)
        for diagnostic in failed:
            self.scope.report(diagnostic)
        for read in self.z.entering.values():
            if not read.optional:
                self._report(
                    self.evaluator.refuse(
                        "GAB0301",
                        f"nothing writes `Z.{read.key}` before {' -> '.join(read.path)} reads it",
                        self.test.title.span,
                        help=f"hand it in by its name: `unit(x, {read.key}=random(...))`",
                    )
                )
        return self._program()

    def _program(self) -> TestProgram:
        stream = Value(RESIDUAL_STREAM, self.test.title.span)
        outcomes = tuple(
            dict.fromkeys(value for fact in self.facts for value in fact.claim.values())
        )
        reads = [ZRead(f"in.{i}", value, False) for i, value in enumerate(self.randoms)]
        reads += [read for read in self.z.entering.values() if read.optional]
        graph = Graph(
            (stream,),
            tuple(self.builder.nodes),
            (stream,),
            tuple(reads),
            tuple(ZWrite(f"out.{i}", value) for i, value in enumerate(outcomes)),
            span=self.test.span,
        )
        scope = self.scope
        instance = Instance(
            "test",
            scope.unit,
            {},
            {},
            dict(scope.env),
            (),
            dict(scope.children),
            graph,
            self.test.span,
        )
        return TestProgram(
            self.test.title.value,
            self.test,
            instance,
            tuple(self.randoms),
            outcomes,
            tuple(self.facts),
        )

    def _statement(self, statement: tree.Stmt | tree.Require) -> None:
        try:
            if isinstance(statement, tree.Require):
                self.facts.extend(
                    facts_of(self.evaluator, statement.condition, frozenset(self.randoms))
                )
            elif isinstance(statement, tree.Assign) and self._makes_unit(statement.value):
                self._child(statement)
            else:
                self._refuse_foreign(statement)
                run_body(self.evaluator, [statement])
        except Refused as refused:
            self._report(refused)
        except (SilentError, UnknownStatic):
            return  # reported before

    def _report(self, refused: Refused) -> None:
        self.scope.report(refused.diagnostic)

    def _refuse_foreign(self, statement: tree.Stmt) -> None:
        """What has a meaning in `forward` only, wherever it stands in the statement."""
        for part in _statements(statement):
            if isinstance(part, (tree.Return, tree.Loss)):
                what = "return" if isinstance(part, tree.Return) else "loss"
                raise self.evaluator.refuse(
                    "GAB0115",
                    f"`{what}` belongs into `forward`, and this is a test",
                    part.span,
                    help="state what must hold with `require`",
                )
            if isinstance(part, tree.Assign):
                for target in part.targets:
                    base = target.base if isinstance(target, tree.Subscript) else target
                    if isinstance(base, tree.Attribute):
                        raise self.evaluator.refuse(
                            "GAB0305",
                            "a test writes no Z",
                            target.span,
                            help="hand an entry to a unit by its name: `unit(x, key=value)`",
                        )

    def _makes_unit(self, expr: tree.Expr) -> bool:
        """Whether an expression constructs a unit, or several."""
        match expr:
            case tree.Call(_, tree.Name(_, name)):
                found = self.evaluator.lookup(name)
                return isinstance(found, UnitDefinition) or (
                    found is None and name in BUILT_IN_UNITS
                )
            case tree.Binary(_, "*", left, _):
                return self._makes_unit(left)
            case tree.ListLiteral(_, items):
                return any(self._makes_unit(item) for item in items)
        return False

    def _child(self, statement: tree.Assign) -> None:
        target = statement.targets[0]
        if len(statement.targets) != 1 or not isinstance(target, tree.Name):
            raise self.evaluator.refuse("GAB0115", "a unit is assigned to one name", statement.span)
        if may_declare(self.scope, target, self.evaluator.locals):
            child = tree.Child(statement.span, target, statement.value, False)
            declare_child(Evaluator(self.scope, place="a test"), child)


def _statements(statement: tree.Stmt) -> Iterator[tree.Stmt]:
    """A statement and those inside its `if` or `for`."""
    yield statement
    inner: tuple[tree.Stmt, ...] = ()
    if isinstance(statement, tree.For):
        inner = statement.body
    elif isinstance(statement, tree.If):
        inner = (*statement.then, *statement.otherwise)
    for part in inner:
        yield from _statements(part)
