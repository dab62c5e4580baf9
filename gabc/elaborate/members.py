"""Members of a unit in order: dims, requirements, Z entries, parameters and children."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from gabc.diagnostics.model import Diagnostic, Related
from gabc.dims import ContradictionError, Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.bound import POISON
from gabc.elaborate.declare import check_size, may_declare
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.parts import declare_child, declare_param
from gabc.elaborate.prover import Assumption, Relation, holds
from gabc.elaborate.scope import UnitScope
from gabc.elaborate.zflow import Declared, ZFlow
from gabc.graph.static import Apply, Literal, Ref, Static, UnknownStatic, names, shown, to_dim
from gabc.ops.base import Refused
from gabc.syntax import tree


def declare_members(evaluator: Evaluator, z: ZFlow, members: Sequence[tree.Member]) -> None:
    for member in members:
        try:
            _member(evaluator, z, member)
        except Refused as refused:
            evaluator.scope.report(refused.diagnostic)
            _poison_member(evaluator, member)
        except (SilentError, UnknownStatic):
            # Reported already; or a unit checked alone, where this waits for a design.
            _poison_member(evaluator, member)


def _poison_member(evaluator: Evaluator, member: tree.Member) -> None:
    if isinstance(member, (tree.Dim, tree.Param, tree.Child)):
        evaluator.scope.members.setdefault(member.name.id, POISON)
    elif isinstance(member, tree.MemberIf):
        for inner in (*member.then, *member.otherwise):
            _poison_member(evaluator, inner)


def _member(evaluator: Evaluator, z: ZFlow, member: tree.Member) -> None:
    scope = evaluator.scope
    match member:
        case tree.Dim():
            if may_declare(scope, member.name):
                _declare_dim(evaluator, member)
        case tree.Reads(_, entries):
            for entry in entries:
                z.declared_reads[entry.name.id] = _declared(evaluator, entry)
        case tree.Writes(_, entries):
            for entry in entries:
                z.declared_writes[entry.name.id] = _declared(evaluator, entry)
        case tree.Require():
            _require(evaluator, member)
        case tree.Param():
            if may_declare(scope, member.name):
                parameter = declare_param(evaluator, member)
                scope.params[parameter.name] = parameter
                scope.members[parameter.name] = bd.ParamRef(parameter.name)
        case tree.Child():
            if may_declare(scope, member.name):
                declare_child(evaluator, member)
        case tree.MemberIf(_, condition, then, otherwise):
            _member_if(evaluator, z, condition, then, otherwise)


def _member_if(
    evaluator: Evaluator,
    z: ZFlow,
    condition: tree.Expr,
    then: Sequence[tree.Member],
    otherwise: Sequence[tree.Member],
) -> None:
    decided = evaluator.condition(condition)
    if decided is not None:
        declare_members(evaluator, z, then if decided else otherwise)
        return
    _both(evaluator, z, then, otherwise)


def _both(
    evaluator: Evaluator, z: ZFlow, then: Sequence[tree.Member], otherwise: Sequence[tree.Member]
) -> None:
    """A unit checked alone: what either branch declares is declared, once; facts hold in both."""
    prover = evaluator.scope.prover
    outside, told = prover.facts, len(prover.assumed)
    prover.facts = outside.copy()
    declare_members(evaluator, z, then)
    facts_then, in_then = prover.facts, prover.assumed[told:]
    prover.facts, prover.assumed = outside.copy(), prover.assumed[:told]
    known = set(evaluator.scope.members)
    again = [dim for dim in otherwise if isinstance(dim, tree.Dim) and dim.name.id in known]
    for dim in again:
        _define(evaluator, dim, evaluator.dim(dim.value))
    declare_members(evaluator, z, _without(otherwise, known))
    facts_otherwise, in_otherwise = prover.facts, prover.assumed[told:]
    prover.facts, prover.assumed = outside, prover.assumed[:told]
    branches = (then, facts_otherwise, in_then), (otherwise, facts_then, in_otherwise)
    twice = {dim.name.id for dim in again}
    for members, other, assumed in branches:
        # The dim of one branch is used under its condition only: there it is what it is.
        own = {m.name.id for m in members if isinstance(m, tree.Dim)} - twice
        for fact in assumed:
            if _defines(fact, own) or holds(other, fact):
                with suppress(ContradictionError):  # a fault of its own branch, reported there
                    prover.assume(fact)


def _without(members: Sequence[tree.Member], known: set[str]) -> tuple[tree.Member, ...]:
    """Those whose names are not known, also within the branches of an `else if`."""
    kept: list[tree.Member] = []
    for member in members:
        match member:
            case tree.MemberIf(_, _, then, otherwise):
                branches = _without(then, known), _without(otherwise, known)
                kept.append(replace(member, then=branches[0], otherwise=branches[1]))
            case tree.Dim() | tree.Param() | tree.Child() if member.name.id in known:
                pass
            case _:
                kept.append(member)
    return tuple(kept)


def _defines(fact: Assumption, names_: set[str]) -> bool:
    return any(fact.left == Dim.symbol(name) for name in names_)


def _define(evaluator: Evaluator, member: tree.Dim, dim: Dim) -> None:
    """Take a dim's definition for a fact."""
    try:
        evaluator.scope.prover.assume(Assumption(Relation.EQUAL, Dim.symbol(member.name.id), dim))
    except ContradictionError as contradiction:
        raise evaluator.refuse("GAB0208", str(contradiction), member.span) from contradiction


def _declared(evaluator: Evaluator, entry: tree.ZEntry) -> Declared:
    name = entry.name.id
    if name in evaluator.scope.hypers or name in evaluator.scope.slots:
        evaluator.scope.report(
            Diagnostic(
                "GAB0104",
                f"`{name}` is a hyperparameter and a Z entry: one of the two needs another name",
                entry.name.span,
            )
        )
    return Declared(evaluator.type(entry.type), entry.optional, entry.is_indexed, entry.span)


def _declare_dim(evaluator: Evaluator, member: tree.Dim) -> None:
    scope = evaluator.scope
    name = member.name.id
    evaluator.in_dims(True)
    try:
        static = evaluator.static(member.value)
    finally:
        evaluator.in_dims(False)
    dim = evaluator.dim(member.value)
    scope.dims[name] = static
    scope.members[name] = Ref(name)
    _define(evaluator, member, dim)
    scope.prover.declare_positive(name)
    sizes = scope.sizes
    if dim.symbols() <= sizes.keys():
        try:
            number = dim.evaluate(sizes)
        except ZeroDivisionError:
            return  # reported with the obligations of the dim
        if number.denominator == 1:
            check_size(number.numerator, member.value.span)
            scope.env[name] = number.numerator


def _require(evaluator: Evaluator, member: tree.Require) -> None:
    scope = evaluator.scope
    static = evaluator.static(member.condition)
    _assume(scope, static, member)
    try:
        holds = bool(evaluator.evaluate(static, member.condition.span))
    except UnknownStatic:
        return
    if holds:
        return
    used = [name for name in dict.fromkeys(names(static)) if name in scope.env]
    raise Refused(
        Diagnostic(
            "GAB0208",
            f"`{scope.unit.name.id}` requires {member.condition.span.text}",
            member.condition.span,
            related=(Related(scope.span, "constructed here"),),
            facts=(
                ("scale", scope.session.scale_name),
                *((name, shown(scope.env[name])) for name in used),
            ),
        )
    )


def _assume(scope: UnitScope, static: Static, member: tree.Require) -> None:
    """What a requirement says of dims is a fact from here on."""
    prover = scope.prover
    try:
        match static:
            case Apply("and", (left, right)):
                _assume(scope, left, member)
                _assume(scope, right, member)
            case Apply("==", (Apply("%", (number, divisor)), Literal(0))):
                dims = to_dim(number, {}), to_dim(divisor, {})
                # A remainder by zero is no fact; evaluating the condition says so.
                if dims[0] is not None and dims[1] is not None and not dims[1].is_zero:
                    prover.assume(Assumption(Relation.DIVIDES, dims[1], dims[0]))
            case Apply("==", (left, right)):
                dims = to_dim(left, {}), to_dim(right, {})
                if dims[0] is not None and dims[1] is not None:
                    prover.assume(Assumption(Relation.EQUAL, dims[0], dims[1]))
    except ContradictionError as contradiction:
        raise Refused(
            Diagnostic("GAB0208", str(contradiction), member.condition.span)
        ) from contradiction
