"""Statements: assignment, return, static `if` and `for`. Errors stay within their statement."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import joined_value, same_type
from gabc.elaborate.bound import POISON, Bound, Poison, describe
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.limits import MAX_UNROLLED, LimitReached
from gabc.elaborate.names import BUILT_IN, RESERVED_NAMES, hides_built_in
from gabc.elaborate.subscripts import assign_element
from gabc.graph.nodes import Value
from gabc.graph.static import Literal, Ref, Static, StaticList, UnknownStatic
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span

Results = list[Value | Poison]


def run_body(
    evaluator: Evaluator, body: Sequence[tree.Stmt], names: Sequence[str] = ()
) -> Results | None:
    """Elaborate statements in order; the returned values, or `None` if there was no `return`."""
    for statement in body:
        if evaluator.z is not None:
            evaluator.z.in_statement.clear()
        try:
            results = _statement(evaluator, statement, names)
        except Refused as refused:
            evaluator.scope.report(refused.diagnostic)
            results = _poison(evaluator, statement)
        except (SilentError, UnknownStatic):
            # Reported already; or a unit checked alone, where this waits for a design.
            results = _poison(evaluator, statement)
        if results is not None:
            return results
    return None


def _poison(evaluator: Evaluator, statement: tree.Stmt) -> Results | None:
    """What a refused statement would have bound is bound to nothing, silently."""
    match statement:
        case tree.Return(_, values):
            return [POISON for _ in values]
        case tree.Assign(_, targets, _):
            for target in targets:
                if isinstance(target, tree.Name):
                    evaluator.locals[target.id] = POISON
                elif isinstance(target, tree.Attribute) and evaluator.z is not None:
                    evaluator.z.current[target.name.id] = (POISON, target.span)
                elif isinstance(target, tree.Subscript) and isinstance(target.base, tree.Name):
                    evaluator.locals[target.base.id] = POISON
        case tree.State(_, name, _, _):
            evaluator.locals[name.id] = POISON
        case tree.For(_, _, _, inner):
            for part in inner:
                _poison(evaluator, part)
        case tree.If(_, _, then, otherwise):
            for part in (*then, *otherwise):
                _poison(evaluator, part)
    return None


def _statement(evaluator: Evaluator, statement: tree.Stmt, names: Sequence[str]) -> Results | None:
    match statement:
        case tree.Assign():
            _assign(evaluator, statement)
            return None
        case tree.Return(_, values):
            return _return(evaluator, values, names)
        case tree.If():
            return _if(evaluator, statement, names)
        case tree.For():
            return _for(evaluator, statement, names)
        case tree.Loss(_, name, value):
            _loss(evaluator, name, evaluator.tensor(value), value.span)
            return None
        case tree.State():
            raise evaluator.refuse(
                "GAB0115",
                "a `state` belongs inside `scan`",
                statement.span,
                help="nothing else carries a value from one position to the next",
            )


def _return(evaluator: Evaluator, values: Sequence[tree.Expr], names: Sequence[str]) -> Results:
    results: Results = []
    for value in values:
        label = names[len(results) : len(results) + 1] if len(values) > 1 else names
        bound = evaluator.expr(value, label)
        parts = bound.items if isinstance(bound, bd.Items) and len(values) == 1 else (bound,)
        for part in parts:
            if isinstance(part, bd.Masked):
                raise evaluator.refuse("GAB0115", "a masked value cannot be returned", value.span)
            results.append(
                part if isinstance(part, Poison) else evaluator.as_value(part, value.span)
            )
    return results


def _loss(evaluator: Evaluator, name: tree.Name, value: Value, span: Span) -> None:
    if evaluator.z is None:
        raise evaluator.refuse(
            "GAB0115", f"`loss` belongs into `forward`, not into {evaluator.place}", name.span
        )
    if value.type.rank:
        raise evaluator.refuse(
            "GAB0206",
            f"the loss `{name.id}` is one number, and this is {value.type}",
            span,
            help="reduce every axis: `mean(x, axis=0)`",
        )
    if any(name.id == known for known, _ in evaluator.losses):
        raise evaluator.refuse("GAB0104", f"the loss `{name.id}` is declared twice", name.span)
    evaluator.losses.append((name.id, value))


# ---------------------------------------------------------------- assignment


def _assign(evaluator: Evaluator, statement: tree.Assign) -> None:
    targets = statement.targets
    for target in targets:
        if isinstance(target, tree.Name):
            _check_rebinding(evaluator, target)
    labels = [target.id if isinstance(target, tree.Name) else "" for target in targets]
    if len(targets) == 1:
        _bind(evaluator, targets[0], evaluator.expr(statement.value, labels), statement)
        return
    bound = evaluator.expr(statement.value, labels)
    if isinstance(bound, Poison):
        raise SilentError
    if not isinstance(bound, bd.Items) or len(bound.items) != len(targets):
        count = len(bound.items) if isinstance(bound, bd.Items) else 1
        raise evaluator.refuse(
            "GAB0109",
            f"{len(targets)} targets, but the value has {count} part{'s' if count > 1 else ''}",
            statement.span,
        )
    for target, part in zip(targets, bound.items, strict=True):
        _bind(evaluator, target, part, statement)


def _check_rebinding(evaluator: Evaluator, name: tree.Name) -> None:
    if name.id in RESERVED_NAMES and not (name.id == "t" and evaluator.step is None):
        raise evaluator.refuse(
            "GAB0105",
            f"`{name.id}` has a fixed meaning and cannot be rebound",
            name.span,
            help="choose another name",
        )
    if evaluator.module is None and name.id in evaluator.scope.members:
        member = evaluator.scope.members[name.id]
        what = describe(member) if not isinstance(member, Ref) else "a name of the unit"
        raise evaluator.refuse(
            "GAB0105",
            f"`{name.id}` is {what} and cannot be rebound",
            name.span,
            help=f"choose another name, such as `{name.id}_`",
        )
    if name.id in BUILT_IN:
        forward = evaluator.scope.unit.forward if evaluator.module is None else None
        raise Refused(hides_built_in(name, forward))


def _bind(
    evaluator: Evaluator,
    target: tree.Name | tree.Attribute | tree.Subscript,
    bound: Bound,
    statement: tree.Assign,
) -> None:
    if isinstance(target, tree.Name):
        if isinstance(bound, (bd.Template, bd.LinearTemplate, bd.SequenceTemplate)):
            raise evaluator.refuse(
                "GAB0115",
                "a unit is a child: it is declared beside the parameters, not in `forward`",
                statement.span,
                help=f"move `{statement.span.text.splitlines()[0]}` above `forward`",
            )
        evaluator.assign(target, bound)
        return
    if isinstance(target, tree.Attribute):
        if not (isinstance(target.base, tree.Name) and target.base.id == "Z"):
            raise evaluator.refuse("GAB0109", "only `Z` has entries to assign", target.span)
        z = evaluator.require_z(target.span)
        z.write(evaluator, target.name, None, bound, target.span)
        return
    base = target.base
    if isinstance(base, tree.Attribute):
        (item,) = target.items if len(target.items) == 1 else (None,)
        if item is None or isinstance(item, (tree.Slice, tree.EllipsisLiteral)):
            raise evaluator.refuse("GAB0210", "an entry of Z has one static index", target.span)
        evaluator.require_z(target.span).write(evaluator, base.name, item, bound, target.span)
        return
    assign_element(evaluator, target, bound)


# ---------------------------------------------------------------- static control


def _if(evaluator: Evaluator, statement: tree.If, names: Sequence[str]) -> Results | None:
    decided = evaluator.condition(statement.condition)
    with evaluator.under_condition():
        if decided is not None:
            return run_body(evaluator, statement.then if decided else statement.otherwise, names)
        return _both(evaluator, statement, names)


def _both(evaluator: Evaluator, statement: tree.If, names: Sequence[str]) -> Results | None:
    """A unit checked alone: both branches, and afterwards what both agree on."""
    z = evaluator.z
    before = dict(evaluator.locals)
    z_before = None if z is None else z.snapshot()
    then = run_body(evaluator, statement.then, names)
    after_then, evaluator.locals = evaluator.locals, dict(before)
    z_then = None if z is None else z.snapshot()
    if z is not None and z_before is not None:
        z.restore(z_before)
    otherwise = run_body(evaluator, statement.otherwise, names)
    if then is not None and otherwise is None:
        return None
    if otherwise is not None and then is None:
        evaluator.locals = after_then
        if z is not None and z_then is not None:
            z.restore(z_then)
        return None
    evaluator.locals = _joined(evaluator, after_then, evaluator.locals)
    if z is not None and z_then is not None:
        z.join(evaluator, z_then)
    if then is not None and otherwise is not None:
        _check_returns(evaluator, statement, then, otherwise)
    return then


def _joined(
    evaluator: Evaluator, then: dict[str, Bound], otherwise: dict[str, Bound]
) -> dict[str, Bound]:
    """The names after both branches. A tensor has one type: else it is a fault to use it."""
    merged: dict[str, Bound] = dict.fromkeys((*then, *otherwise), POISON)
    for name in then.keys() & otherwise.keys():
        here, there = then[name], otherwise[name]
        if isinstance(here, Value) and isinstance(there, Value) and here is not there:
            merged[name] = joined_value(evaluator, f"`{name}`", here, there, "GAB0201")
        elif isinstance(there, Poison):
            merged[name] = there
        else:
            merged[name] = here
    return merged


def _check_returns(
    evaluator: Evaluator, statement: tree.If, then: Results, otherwise: Results
) -> None:
    """Both branches return the same types."""
    if len(then) != len(otherwise):
        raise evaluator.refuse(
            "GAB0206",
            f"one branch returns {len(then)} values, the other {len(otherwise)}",
            statement.span,
        )
    for here, there in zip(then, otherwise, strict=True):
        if isinstance(here, Value) and isinstance(there, Value):
            what = "the other branch's result"
            same_type(evaluator, here.type, there.type, there.span, what, "GAB0206")


def _for(evaluator: Evaluator, statement: tree.For, names: Sequence[str]) -> Results | None:
    rounds = _iterate(evaluator, statement.iterable)
    _check_rounds(evaluator, len(rounds), statement.iterable.span)
    with evaluator.under_condition(), evaluator.repeated(len(rounds)):
        for round_ in rounds:
            parts: tuple[Bound, ...] = (
                round_.items
                if isinstance(round_, bd.Items) and len(statement.targets) > 1
                else (round_,)
            )
            if len(parts) != len(statement.targets):
                raise evaluator.refuse(
                    "GAB0109",
                    f"{len(statement.targets)} names for {len(parts)} "
                    f"part{'s' if len(parts) != 1 else ''}",
                    statement.span,
                )
            for target, part in zip(statement.targets, parts, strict=True):
                _check_rebinding(evaluator, target)
                evaluator.assign(target, part)
            results = run_body(evaluator, statement.body, names)
            if results is not None:
                return results
    return None


def _check_rounds(evaluator: Evaluator, rounds: int, span: Span) -> None:
    total = rounds * evaluator.rounds
    if total > MAX_UNROLLED:
        times = "" if evaluator.rounds == 1 else f"{evaluator.rounds:,} times "
        raise LimitReached(
            span, f"{times}{rounds:,} rounds are beyond the limit of {MAX_UNROLLED:,}"
        )


def _iterate(evaluator: Evaluator, iterable: tree.Expr) -> list[Bound]:
    """What a `for` runs over: `range`, a list, children, `enumerate` and `zip` of these."""
    if isinstance(iterable, tree.Call) and isinstance(iterable.function, tree.Name):
        function = iterable.function.id
        if function == "range":
            return _range(evaluator, iterable)
        if function == "enumerate" and len(iterable.args) == 1:
            inner = _iterate(evaluator, iterable.args[0])
            return [bd.Items((Literal(i), item)) for i, item in enumerate(inner)]
        if function == "zip" and iterable.args:
            columns = [_iterate(evaluator, arg) for arg in iterable.args]
            if len({len(column) for column in columns}) > 1:
                lengths = ", ".join(str(len(column)) for column in columns)
                raise evaluator.refuse(
                    "GAB0109", f"`zip` of lists of different lengths: {lengths}", iterable.span
                )
            return [bd.Items(row) for row in zip(*columns, strict=True)]
    bound = evaluator.expr(iterable)
    match bound:
        case Poison():
            raise SilentError
        case bd.ChildArray(refs):
            return list(refs)
        case bd.Items(items):
            return list(items)
        case StaticList(items):
            return list(items)
    static = evaluator.as_static(bound)
    if static is not None:
        return _static_list(evaluator, static, iterable)
    raise evaluator.refuse(
        "GAB0109",
        f"`for` runs over `range`, a list or children, not over {describe(bound)}",
        iterable.span,
        help="a loop over positions is a `scan`" if isinstance(bound, Value) else "",
    )


def _static_list(evaluator: Evaluator, static: Static, iterable: tree.Expr) -> list[Bound]:
    """A list hyperparameter, item by item."""
    try:
        value = evaluator.evaluate(static, iterable.span)
    except UnknownStatic:
        return [Ref("item")]
    if not isinstance(value, tuple):
        raise evaluator.refuse("GAB0109", "`for` runs over a list", iterable.span)
    items: list[Bound] = []
    for item in value:
        if isinstance(item, tuple):
            raise evaluator.refuse("GAB0109", "a list of lists cannot be unrolled", iterable.span)
        items.append(Literal(item))
    return items


def _range(evaluator: Evaluator, call: tree.Call) -> list[Bound]:
    bounds: list[int] = []
    for arg in call.args:
        try:
            value = evaluator.value_of(arg)
        except UnknownStatic:
            return [Literal(0)]
        if not isinstance(value, int) or isinstance(value, bool):
            raise evaluator.refuse("GAB0109", "`range` takes static ints", arg.span)
        bounds.append(value)
    if not 1 <= len(bounds) <= 3 or call.keywords or (len(bounds) == 3 and bounds[2] == 0):
        raise evaluator.refuse(
            "GAB0109", "`range` takes a stop, or a start, a stop and a step other than 0", call.span
        )
    # `len` of a range is bounded by the machine's word; static ints are not.
    start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    _check_rounds(evaluator, max(0, -((start - stop) // step)), call.span)
    return [Literal(number) for number in range(start, stop, step)]
