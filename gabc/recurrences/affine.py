"""Forms of the values of a scan's body, and one rule for each operation that is linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gabc.dims import Dim
from gabc.elaborate.dim_static import static_of
from gabc.elaborate.prover import RUNTIME_DIMS
from gabc.graph.nodes import Argument, ChildRef, Node, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList
from gabc.ops.patterns_parse import Side, parse_pattern
from gabc.recurrences.body import Body
from gabc.recurrences.terms import (
    MAX_TERMS,
    Axes,
    Factor,
    Form,
    Letter,
    NotAffine,
    Term,
    add,
    leaf,
    letters_for,
    multiply,
    number,
    products,
    use_of,
)


@dataclass
class Forms:
    """Forms with respect to some states. `ends`: values that are taken as a state itself.

    A value that does not depend on the states is a factor, and is not taken apart.
    """

    body: Body
    states: tuple[Value, ...]
    ends: tuple[Value, ...]
    _known: dict[Value, Form] = field(default_factory=dict)

    def of(self, value: Value) -> Form:
        """Raises `NotAffine`."""
        if value not in self._known:
            self._known[value] = self._of(value)
        return self._known[value]

    def _of(self, value: Value) -> Form:
        if value in self.ends:
            return use_of(value)
        if self.body.depends(value).isdisjoint(self.states):
            return leaf(
                self.body.mask(value, negated=False) if value.type.kind == "bool" else value
            )
        node = self.body.definition(value)
        assert node is not None
        return one_step(self.body, node, value, self.of)


def one_step(body: Body, node: Node, value: Value, of: Callable[[Value], Form]) -> Form:
    """The form of a node's result in those of its operands. Raises `NotAffine`."""
    rule = _RULES.get(node.op)
    if rule is None:
        raise NotAffine(_nonlinear(node), node.span)
    form = rule(_Site(body, node, value, of))
    if len(form.terms) > MAX_TERMS or any(len(t.factors) > MAX_TERMS for t in form.terms):
        raise NotAffine(f"the step has more than {MAX_TERMS} terms, or factors of one", node.span)
    return form


def _nonlinear(node: Node) -> str:
    if node.op == "call":
        child = node.args["child"]
        name = child.name if isinstance(child, ChildRef) else "a child"
        return f"`{name}` is called on the state"
    return f"`{node.op}` of the state is not linear"


@dataclass(frozen=True, slots=True)
class _Site:
    body: Body
    node: Node
    value: Value
    of: Callable[[Value], Form]

    def form(self, name: str) -> Form:
        return self.operand(self.node.args[name])

    def operand(self, argument: Argument) -> Form:
        if isinstance(argument, Value):
            return self.of(argument)
        if isinstance(argument, (Literal, Ref, Apply, StaticList)):
            return number(argument)
        raise self.fail("an operand is no number")

    @property
    def axes(self) -> Axes:
        return letters_for(self.value.type.dims)

    def fail(self, why: str) -> NotAffine:
        return NotAffine(f"`{self.node.op}`: {why}", self.node.span)

    def is_free(self, form: Form) -> bool:
        return all(term.use is None for term in form.terms)


def _add(site: _Site) -> Form:
    return add([site.form("a"), site.form("b")], site.axes)


def _sub(site: _Site) -> Form:
    return add([site.form("a"), site.form("b").map(Term.negated)], site.axes)


def _neg(site: _Site) -> Form:
    return site.form("a").map(Term.negated)


def _mul(site: _Site) -> Form:
    return multiply(site.form("a"), site.form("b"), site.axes, site.node.span)


def _div(site: _Site) -> Form:
    below = site.node.args["b"]
    if isinstance(below, Value):
        if not site.is_free(site.of(below)):
            raise site.fail("the state stands below the fraction bar")
        inverse = leaf(site.body.add("reciprocal", {"x": below}, below.type.with_kind("float")))
    else:
        assert isinstance(below, (Literal, Ref, Apply))
        inverse = number(Apply("/", (Literal(1.0), below)))
    return multiply(site.form("a"), inverse, site.axes, site.node.span)


def _identity(site: _Site) -> Form:
    return site.form("x")


def _lerp(site: _Site) -> Form:
    a, b, weight = (site.form(name) for name in ("a", "b", "weight"))
    axes, span = site.axes, site.node.span
    kept = multiply(a, weight.map(Term.negated), axes, span)
    return add([a, kept, multiply(b, weight, axes, span)], axes)


def _where(site: _Site) -> Form:
    condition = site.node.args["condition"]
    assert isinstance(condition, Value)
    if not site.is_free(site.of(condition)):
        raise site.fail("the condition depends on the state")
    chosen = []
    for name in ("a", "b"):
        form = site.form(name)
        if form.terms:
            mask = site.body.mask(condition, negated=name == "b")
            chosen.append(multiply(form, leaf(mask), site.axes, site.node.span))
    return add(chosen, site.axes)


def _index(site: _Site) -> Form:
    x, items = site.form("x"), site.node.args["items"]
    assert isinstance(items, tuple)
    places = iter(x.axes)
    axes: list[Letter | None] = []
    for item in items:
        if item is None:
            axes.append(None)
            continue
        letter = next(places)
        if item == ":":
            axes.append(letter)
        elif letter is not None or not isinstance(item, Dim):
            raise site.fail("a part of the state is taken")
    return Form(tuple(axes), x.terms)


def _sum(site: _Site) -> Form:
    x, axis = site.form("x"), site.node.args["axis"]
    assert isinstance(axis, int)
    place = axis % len(x.axes)
    kept = (None,) if site.node.args.get("keep") else ()
    axes = (*x.axes[:place], *kept, *x.axes[place + 1 :])
    return Form(axes, _summed(site, x, x.axes[place], site.node.op == "mean"))


def _summed(site: _Site, x: Form, letter: Letter | None, is_mean: bool) -> tuple[Term, ...]:
    """The terms summed over a letter; one without it counts as often as its axis is long."""
    if letter is None:
        return x.terms
    terms = []
    for term in x.terms:
        count: tuple[Static, ...] = ()
        if letter not in term.letters and not is_mean:
            count = (_size(site, letter.dim),)
        elif letter in term.letters and is_mean:
            count = (Apply("/", (Literal(1.0), _size(site, letter.dim))),)
        terms.append(term.times(Term(numbers=count)))
    return tuple(terms)


def _size(site: _Site, dim: Dim) -> Static:
    if dim.symbols() & RUNTIME_DIMS:
        raise site.fail(f"the size `{dim}` is no number of the configuration")
    return static_of(dim)


def _einsum(site: _Site) -> Form:
    written, values = site.node.args["pattern"], site.node.args["xs"]
    assert isinstance(written, str)
    assert isinstance(values, tuple)
    pattern = parse_pattern(written)
    letters: dict[str, Letter | None] = {}
    terms: tuple[Term, ...] = (Term(),)
    for side, value in zip(pattern.inputs, values, strict=True):
        assert isinstance(value, Value)
        axes = _axes(site, side, value, letters)
        terms = products(terms, site.of(value).placed(axes), site.node.span)
    output = tuple(letters[axis.names[0]] if axis.names else None for axis in pattern.output)
    for letter in set(letters.values()) - set(output):
        terms = _summed(site, Form((), terms), letter, is_mean=False)
    return Form(output, terms)


def _axes(site: _Site, side: Side, value: Value, letters: dict[str, Letter | None]) -> Axes:
    axes: list[Letter | None] = []
    for axis, dim in zip(side, value.type.dims, strict=False):
        if axis.is_ellipsis or len(axis.names) > 1:
            raise site.fail("axes are merged or hidden behind `...`")
        letter = None if dim.is_one else Letter(dim)
        axes.append(letters.setdefault(axis.names[0], letter) if axis.names else None)
    return tuple(axes)


def _matmul(site: _Site) -> Form:
    a, b = site.form("a"), site.form("b")
    if len(a.axes) < 2 or len(b.axes) < 2:
        raise site.fail("a vector is multiplied")
    axes = site.axes
    inner = a.axes[-1]
    terms = products(
        a.placed((*axes[:-1], inner)), b.placed((*axes[:-2], inner, axes[-1])), site.node.span
    )
    return Form(axes, _summed(site, Form((), terms), inner, is_mean=False))


def _rearrange(site: _Site) -> Form:
    """Axes moved, made (`repeat`) or summed over (`reduce`); merged axes are not followed."""
    x, written = site.form("x"), site.node.args["pattern"]
    assert isinstance(written, str)
    pattern = parse_pattern(written)
    names: dict[str, Letter | None] = {}
    for axis, own in zip(pattern.inputs[0], x.axes, strict=False):
        if axis.is_ellipsis or len(axis.names) > 1:
            raise site.fail("axes of the state are merged or hidden behind `...`")
        if axis.names:
            names[axis.names[0]] = own
    axes: list[Letter | None] = []
    for axis, new in zip(pattern.output, site.axes, strict=False):
        if axis.is_ellipsis or len(axis.names) > 1:
            raise site.fail("axes of the state are merged or hidden behind `...`")
        axes.append(names.pop(axis.names[0], new) if axis.names else None)
    terms = x.terms
    op = site.node.args.get("op", "sum")
    if op not in ("sum", "mean") and any(letter is not None for letter in names.values()):
        raise site.fail(f"the {op} of the state is not linear")
    for letter in names.values():
        terms = _summed(site, Form(x.axes, terms), letter, op == "mean")
    return Form(tuple(axes), terms)


_RULES: Mapping[str, Callable[[_Site], Form]] = {
    "add": _add,
    "sub": _sub,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "lerp": _lerp,
    "where": _where,
    "f32": _identity,
    "index": _index,
    "sum": _sum,
    "mean": _sum,
    "einsum": _einsum,
    "matmul": _matmul,
    "rearrange": _rearrange,
    "repeat": _rearrange,
    "reduce": _rearrange,
}


def expanded(body: Body, term: Term, factor: Factor) -> tuple[Term, ...] | None:
    """The term with one of its factors taken apart by a step; `None` if that is no product."""
    node = body.definition(factor.value)
    if node is None or node.op not in _RULES:
        return None
    try:
        form = one_step(body, node, factor.value, leaf)
    except NotAffine:
        return None
    rest = Term(
        tuple(other for other in term.factors if other is not factor),
        term.numbers,
        term.is_negative,
        term.use,
    )
    return products((rest,), form.placed(factor.axes), node.span)
