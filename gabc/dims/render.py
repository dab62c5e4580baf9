"""Dims as text: for people (`3*D/2 + 1`) and as Python integer expressions (`3 * D // 2 + 1`)."""

from __future__ import annotations

from collections.abc import Callable

from gabc.dims.fraction import as_fraction
from gabc.dims.opaque import split_integral
from gabc.dims.poly import Application, Atom, Dim

# How tightly a text binds, as in Python.
_SUM, _PRODUCT, _POWER, _ATOM = range(4)

#: A text and how tightly it binds.
_Text = tuple[str, int]


def text(dim: Dim) -> str:
    """Short and readable: `H*K`, `D/(2*H)`, `L - 1`, `ceil_to(8*D/3, 128)`, `L // C`."""
    return _join([_term_text(Dim({factors: value})) for factors, value in dim.terms])[0]


def python(dim: Dim) -> str:
    """See `Dim.python`."""
    return _python(dim)[0]


def _term_text(term: Dim) -> _Text:
    ((factors, coefficient),) = term.terms
    quotient = next((atom for atom, exponent in factors if _is_div(atom) and exponent == 1), None)
    if isinstance(quotient, Application):
        rest = Dim({tuple(factor for factor in factors if factor[0] != quotient): coefficient})
        return _infix(rest * quotient.args[0], "/", quotient.args[1])
    above = [(atom, exponent) for atom, exponent in factors if exponent > 0]
    below = [(atom, -exponent) for atom, exponent in factors if exponent < 0]
    top = _factors(coefficient.numerator, above, "*", "**", _atom_text)
    if coefficient.denominator == 1 and not below:
        return top
    bottom = _factors(coefficient.denominator, below, "*", "**", _atom_text)
    return f"{_wrap(top, _PRODUCT)}/{_wrap(bottom, _POWER)}", _PRODUCT


def _is_div(atom: Atom) -> bool:
    return isinstance(atom, Application) and atom.fn == "div"


def _atom_text(atom: Atom) -> _Text:
    if isinstance(atom, str):
        return atom, _ATOM
    if atom.fn == "div":
        return _infix(atom.args[0], "/", atom.args[1])
    if atom.fn == "mod":
        return _infix(atom.args[0], " % ", atom.args[1])
    if atom.fn == "floor" and atom.args[0].is_monomial:
        above, below = as_fraction(atom.args[0])
        return _infix(above, " // ", below)
    return f"{atom.fn}({', '.join(text(arg) for arg in atom.args)})", _ATOM


def _infix(left: Dim, operator: str, right: Dim) -> _Text:
    def operand(dim: Dim, least: int) -> str:
        return _wrap(_join([_term_text(Dim({f: c})) for f, c in dim.terms]), least)

    return f"{_guard(operand(left, _PRODUCT))}{operator}{operand(right, _POWER)}", _PRODUCT


def _python(dim: Dim) -> _Text:
    whole, part = split_integral(dim)
    pieces = [_product_python(Dim({factors: value})) for factors, value in whole.terms]
    if not part.is_zero:
        pieces.insert(0, _quotient_python(*as_fraction(part)))
    return _join(pieces)


def _product_python(term: Dim) -> _Text:
    ((factors, coefficient),) = term.terms
    return _factors(coefficient.numerator, list(factors), " * ", " ** ", _atom_python)


def _quotient_python(above: Dim, below: Dim) -> _Text:
    if below.is_one:
        return _python(above)
    top = _guard(_wrap(_python(above), _PRODUCT))
    return f"{top} // {_wrap(_python(below), _POWER)}", _PRODUCT


def _atom_python(atom: Atom) -> _Text:
    if isinstance(atom, str):
        return atom, _ATOM
    match atom.fn:
        case "floor":
            return _quotient_python(*as_fraction(atom.args[0]))
        case "ceil":
            return _ceil_python(atom.args[0])
        case "round":
            return _round_python(*as_fraction(atom.args[0]))
        case "ceil_to":
            step = _wrap(_python(atom.args[1]), _POWER)
            return f"{_ceil_python(atom.args[0] / atom.args[1])[0]} * {step}", _PRODUCT
        case "mod":
            above, below = (_python(arg) for arg in atom.args)
            return f"{_guard(_wrap(above, _PRODUCT))} % {_wrap(below, _POWER)}", _PRODUCT
        case "min" | "max":
            return f"{atom.fn}({', '.join(python(arg) for arg in atom.args)})", _ATOM
    raise AssertionError(f"{atom!r} is a fraction and stands in no integer product")


def _ceil_python(arg: Dim) -> _Text:
    above, below = as_fraction(arg)
    top, bottom = _wrap(_python(-above), _PRODUCT), _wrap(_python(below), _POWER)
    return f"-({top} // {bottom})", _PRODUCT


def _round_python(above: Dim, below: Dim) -> _Text:
    # round(n/d) = floor((2n + d) / 2d), one less where that was a half rounded up to odd.
    shifted, twice = 2 * above + below, 2 * below
    up = _quotient_python(shifted, twice)[0]
    left = _guard(_wrap(_python(shifted), _PRODUCT))
    odd_half = f"{left} % {_wrap(_python(2 * twice), _POWER)} == {_wrap(_python(twice), _SUM)}"
    return f"{up} - ({odd_half})", _SUM


def _factors(
    number: int,
    factors: list[tuple[Atom, int]],
    times: str,
    power: str,
    atom_text: Callable[[Atom], _Text],
) -> _Text:
    """number * atom**exponent * ..., a factor 1 left out and a factor -1 as a sign."""
    pieces = [_power(atom_text(atom), exponent, power) for atom, exponent in factors]
    if not pieces:
        return str(number), _ATOM if number >= 0 else _PRODUCT
    sign = "-" if number < 0 else ""
    if abs(number) == 1 and len(pieces) == 1:
        # A negated sum or quotient needs its parentheses: -(a // b) is not (-a) // b.
        alone = pieces[0]
        return (sign + _wrap(alone, _POWER), _PRODUCT) if sign else alone
    numeral = [str(abs(number))] if abs(number) != 1 else []
    return sign + times.join(numeral + [_wrap(piece, _POWER) for piece in pieces]), _PRODUCT


def _power(base: _Text, exponent: int, power: str) -> _Text:
    return base if exponent == 1 else (f"{_wrap(base, _ATOM)}{power}{exponent}", _POWER)


def _wrap(piece: _Text, least: int) -> str:
    return piece[0] if piece[1] >= least else f"({piece[0]})"


def _guard(left: str) -> str:
    """Keeps a sign inside a quotient: `a + (-b) // c` is not `a - b // c`."""
    return f"({left})" if left.startswith("-") else left


def _join(pieces: list[_Text]) -> _Text:
    """The sum, with a positive piece first where there is one."""
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return "0", _ATOM
    first = next((i for i, piece in enumerate(pieces) if piece[0][0] != "-"), 0)
    ordered = [pieces[first][0]]
    for piece, _ in pieces[:first] + pieces[first + 1 :]:
        ordered.append(f"- {piece[1:]}" if piece[0] == "-" else f"+ {piece}")
    return " ".join(ordered), _SUM
