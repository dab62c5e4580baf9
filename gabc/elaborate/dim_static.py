"""Between statics and dims."""

from __future__ import annotations

from collections.abc import Mapping

from gabc.dims import Dim
from gabc.graph.static import (
    MAX_BITS,
    MAX_EXPONENT,
    Apply,
    Environment,
    Literal,
    Ref,
    Static,
    UnknownStatic,
    evaluate,
    render,
    to_dim,
)


def static_of(dim: Dim) -> Static:
    """A dim as a static in the same names."""
    terms: list[Static] = []
    for monomial, coefficient in dim.terms:
        factors: list[Static] = []
        below: list[Static] = []
        if coefficient.numerator != 1 or not any(e > 0 for _, e in monomial):
            factors.append(Literal(coefficient.numerator))
        if coefficient.denominator != 1:
            below.append(Literal(coefficient.denominator))
        for atom, exponent in monomial:
            part: Static = (
                Ref(atom)
                if isinstance(atom, str)
                else Apply(
                    {"floordiv": "//", "mod": "%", "div": "/"}.get(atom.fn, atom.fn),
                    tuple(static_of(arg) for arg in atom.args),
                )
            )
            target = factors if exponent > 0 else below
            power = abs(exponent)
            target.append(part if power == 1 else Apply("**", (part, Literal(power))))
        term = _product(factors)
        terms.append(Apply("/", (term, _product(below))) if below else term)
    if not terms:
        return Literal(0)
    result = terms[0]
    for term in terms[1:]:
        result = Apply("+", (result, term))
    return result


def _product(factors: list[Static]) -> Static:
    result = factors[0]
    for factor in factors[1:]:
        result = Apply("*", (result, factor))
    return result


def decided(static: Static, env: Environment) -> Static:
    """With the branch that holds in place of each `if`, and the item in place of each index.

    One that cannot be decided yet (a unit checked alone) is a size of its own.
    Raises `StaticFault`.
    """
    if not isinstance(static, Apply):
        return static
    if static.op not in ("if", "index", "len"):
        args = tuple(decided(arg, env) for arg in static.args)
        return static if args == static.args else Apply(static.op, args)
    try:
        if static.op == "if":
            return decided(static.args[1 if evaluate(static.args[0], env) else 2], env)
        value = evaluate(static, env)
    except UnknownStatic:
        return Ref(f"({render(static).text})")
    return static if isinstance(value, tuple) else Literal(value)


def float_dims(env: Environment) -> Mapping[str, Dim]:
    """Float hyperparameters enter dims by value: `round(8 / 3 * D)`, `expand * D`."""
    known: dict[str, Dim] = {}
    for name, value in env.items():
        if isinstance(value, float):
            dim = to_dim(Literal(value), {})
            if dim is not None:
                known[name] = dim
    return known


def dim_of(static: Static, env: Environment) -> Dim | None:
    """A static in the names of `env`, where conditions and floats have their values, as a dim.

    `None` if it is no number or divides by a constant zero. Raises `StaticFault`.
    """
    return to_dim(decided(static, env), float_dims(env))


def power_fault(static: Static | None) -> str:
    """What is wrong with a power in a static that is no dim; empty where none is to blame."""
    if not isinstance(static, Apply):
        return ""
    inner = next(filter(None, map(power_fault, static.args)), "")
    if inner or static.op != "**" or to_dim(static, {}) is not None:
        return inner
    exponent = to_dim(static.args[1], {})
    if exponent is None or exponent.as_int() is None:
        return f"the exponent `{render(static.args[1]).text}` of a size must be a written number"
    return (
        f"a power in a size has an exponent of at most {MAX_EXPONENT} and numbers below "
        f"2 ** {MAX_BITS}"
    )


def is_undecided(dim: Dim) -> bool:
    """Whether a condition, an index or a length in it could not be decided."""
    return any(name.startswith("(") for name in dim.symbols())
