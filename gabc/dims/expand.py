"""Forms that are good for comparing rather than for reading."""

from __future__ import annotations

from gabc.dims.fraction import as_fraction
from gabc.dims.opaque import is_positive
from gabc.dims.poly import Application, Atom, Dim


def expanded(dim: Dim) -> Dim:
    """The same value with `mod`, `ceil` and `ceil_to` written by `floor`.

    mod(a, b) = a - b*floor(a/b); ceil_to(x, m) = m*ceil(x/m); and for integers n and d > 0,
    ceil(n/d) = floor((n - 1)/d) + 1.
    """
    return dim.replace(_by_floor)


def _by_floor(atom: Atom) -> Dim | None:
    if isinstance(atom, str):
        return None
    match atom.fn:
        case "mod":
            left, right = (expanded(arg) for arg in atom.args)
            return left - right * Dim.apply("floor", left / right)
        case "ceil":
            return _ceil(expanded(atom.args[0]))
        case "ceil_to":
            size, step = (expanded(arg) for arg in atom.args)
            return step * _ceil(size / step)
        case _:
            return None


def _ceil(size: Dim) -> Dim:
    above, below = as_fraction(size)
    if not is_positive(below):
        return Dim.apply("ceil", size)
    return Dim.apply("floor", (above - 1) / below) + 1


def cleared(dim: Dim) -> Dim:
    """A dim that is zero where this one is, expanded and without a `div` outside applications.

    It is multiplied by the divisors, which are not zero where the dim is defined.
    """
    dim = expanded(dim)
    while True:
        quotient = next((atom for atom in dim.atoms() if _is_div(atom)), None)
        if not isinstance(quotient, Application):
            return dim
        dim = _without(dim, quotient)


def _is_div(atom: Atom) -> bool:
    return isinstance(atom, Application) and atom.fn == "div"


def _without(dim: Dim, quotient: Application) -> Dim:
    above, below = quotient.args
    exponents = [dict(factors).get(quotient, 0) for factors, _ in dim.terms]
    highest, lowest = max(exponents), min(*exponents, 0)
    result = Dim({})
    for exponent, (factors, value) in zip(exponents, dim.terms, strict=True):
        rest = tuple(factor for factor in factors if factor[0] != quotient)
        scale = above ** (exponent - lowest) * below ** (max(highest, 0) - exponent)
        result = result + Dim({rest: value}) * scale
    return result
