"""Static scalars: expressions over hyperparameters, dims, `layer` and `n_layers`.

A static is kept as an expression in the unit's own names, so that it can be evaluated at any scale,
become a dim, and be printed into the generated module as the author wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal as OneOf
from typing import TypeAlias

from gabc.dims import Dim
from gabc.graph.pycode import OPERATORS, Code, Precedence, binary, unary

Scalar: TypeAlias = int | float | bool | str | None
StaticValue: TypeAlias = "Scalar | tuple[StaticValue, ...]"
Environment: TypeAlias = Mapping[str, StaticValue]


class UnknownStatic(Exception):
    """The value depends on a name that has no value yet (a unit checked alone, a dim of a call)."""


class StaticFault(Exception):
    """The expression has no value: division by zero, a string where a number belongs."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar


@dataclass(frozen=True, slots=True)
class Ref:
    """A name of the unit: hyperparameter, dim, dim of the call, `D`, `layer`, `n_layers`."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """`op` is an operator, `neg`, `not`, `if` (condition, then, otherwise) or a function's name."""

    op: str
    args: tuple[Static, ...]


@dataclass(frozen=True, slots=True)
class StaticList:
    items: tuple[Static, ...]


Static: TypeAlias = Literal | Ref | Apply | StaticList


def _ceil_to(value: float, multiple: float) -> float:
    return math.ceil(value / multiple) * multiple


Number: TypeAlias = int | float

MAX_BITS = 1024
MAX_EXPONENT = 64
MAX_TERMS = 256
"""Bounds on static numbers and on sizes as polynomials: beyond them nothing is a size."""

FUNCTIONS: dict[str, Callable[..., Number]] = {
    "min": min,
    "max": max,
    "ceil_to": _ceil_to,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "abs": abs,
    "cos": math.cos,
    "sin": math.sin,
}
"""Static functions by name; the first six also apply to dims (`gabc.dims`)."""

DIM_FUNCTIONS = ("min", "max", "ceil_to", "round", "floor", "ceil")

_BINARY: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) > MAX_EXPONENT:
        raise StaticFault(f"the exponent {exponent} is out of range (limit {MAX_EXPONENT})")
    result = base**exponent
    if isinstance(result, complex):
        raise StaticFault("a negative number has no real root")
    return result


def _bounded(result: Number) -> Number:
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        raise StaticFault(f"the number is out of range (limit 2 ** {MAX_BITS})")
    return result


def _number(value: StaticValue) -> Number:
    if isinstance(value, (int, float)):
        return value
    raise StaticFault(f"{shown(value)} is not a number")


def shown(value: StaticValue) -> str:
    """A value as it is written in the language, for messages."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(shown, value))}]"
    return str(value)


def evaluate(static: Static, env: Environment) -> StaticValue:
    """The value of a static; `/` is true division.

    Raises `UnknownStatic` if a name has no value, `StaticFault` if the expression has none.
    """
    match static:
        case Literal(value):
            return value
        case Ref(name):
            if name not in env:
                raise UnknownStatic(name)
            return env[name]
        case StaticList(items):
            return tuple(evaluate(item, env) for item in items)
        case Apply(op, args):
            return _apply(op, args, env)


def _apply(op: str, args: tuple[Static, ...], env: Environment) -> StaticValue:
    if op == "if":
        return evaluate(args[1] if evaluate(args[0], env) else args[2], env)
    if op == "and":
        return bool(evaluate(args[0], env)) and bool(evaluate(args[1], env))
    if op == "or":
        return bool(evaluate(args[0], env)) or bool(evaluate(args[1], env))
    values = [evaluate(arg, env) for arg in args]
    if op == "not":
        return not values[0]
    if op in ("==", "!="):
        return (values[0] == values[1]) == (op == "==")
    if op == "index":
        return _index(values[0], values[1])
    if op == "len":
        if not isinstance(values[0], tuple):
            raise StaticFault(f"{shown(values[0])} has no length")
        return len(values[0])
    numbers = [_number(value) for value in values]
    try:
        if op == "neg":
            return -numbers[0]
        if op == "**":
            return _bounded(_power(numbers[0], numbers[1]))
        if op in _BINARY:
            return _bounded(_BINARY[op](numbers[0], numbers[1]))
        return _bounded(FUNCTIONS[op](*numbers))
    except (ZeroDivisionError, OverflowError, ValueError) as fault:
        raise StaticFault(str(fault)) from fault


def _index(items: StaticValue, index: StaticValue) -> StaticValue:
    if not isinstance(items, tuple) or not isinstance(index, int):
        raise StaticFault("only a list can be indexed, by an int")
    if not -len(items) <= index < len(items):
        raise StaticFault(f"index {index} is outside a list of {len(items)}")
    return items[index]


NumberKind: TypeAlias = OneOf["float", "int", "bool"]

_TO_BOOL = ("<", "<=", ">", ">=", "==", "!=", "and", "or", "not")
_TO_INT = ("floor", "ceil", "round", "len")
_SAME_KIND = ("+", "-", "*", "//", "%", "**", "neg", "abs", "min", "max", "ceil_to")


def kind_of(static: Static, kinds: Mapping[str, NumberKind]) -> NumberKind:
    """Whether a number is a float, an int or a bool, at every scale.

    `kinds` gives the kinds of names (of the elements, if the name is a list); any other name is a
    dim, an int. Raises `StaticFault` if the static is no number.
    """
    match static:
        case Literal(bool()):
            return "bool"
        case Literal(int()):
            return "int"
        case Literal(float()):
            return "float"
        case Literal(value):
            raise StaticFault(f"{shown(value)} is not a number")
        case Ref(name):
            return kinds.get(name, "int")
        case StaticList(items):
            return _widest(items, kinds)
        case Apply("if", (_, then, otherwise)):
            return _widest((then, otherwise), kinds)
        case Apply("index", (items_, _)):
            return kind_of(items_, kinds)
        case Apply(op) if op in _TO_BOOL:
            return "bool"
        case Apply(op) if op in _TO_INT:
            return "int"
        case Apply("**", (_, Apply("neg"))):
            return "float"
        case Apply("**", (_, Literal(int(exponent)))) if exponent < 0:
            return "float"
        case Apply(op, args) if op in _SAME_KIND:
            widest = _widest(args, kinds)
            return "int" if widest == "bool" else widest
        case _:
            return "float"


def _widest(parts: tuple[Static, ...], kinds: Mapping[str, NumberKind]) -> NumberKind:
    given = [part for part in parts if part != Literal(None)] or parts
    found = [kind_of(part, kinds) for part in given]
    return "float" if "float" in found else "int" if "int" in found else "bool"


def to_dim(static: Static, dims: Mapping[str, Dim]) -> Dim | None:
    """The static as a dim (`/` exact), or `None` if it is not made of numbers or divides by zero.

    `dims` gives names that stand for other dims; every other name is a symbol of its own.
    """
    match static:
        case Literal(value):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return None
            if isinstance(value, float) and not math.isfinite(value):
                return None
            # A decimal literal means the decimal number: 0.1 is 1/10, not its binary neighbour.
            return Dim.const(value if isinstance(value, int) else Fraction(repr(value)))
        case Ref(name):
            return dims[name] if name in dims else Dim.symbol(name)
        case StaticList():
            return None
        case Apply(op, args):
            parts = [to_dim(arg, dims) for arg in args]
            operands = [part for part in parts if part is not None]
            return _apply_dim(op, operands) if len(operands) == len(parts) else None


def _apply_dim(op: str, args: list[Dim]) -> Dim | None:
    match op:
        case "/" | "//" | "%" | "ceil_to" if args[1].is_zero:
            return None
        case "+":
            return args[0] + args[1]
        case "-":
            return args[0] - args[1]
        case "*":
            return _times(args[0], args[1])
        case "/":
            return args[0] / args[1]
        case "neg":
            return -args[0]
        case "//":
            return Dim.apply("floordiv", *args)
        case "%":
            return Dim.apply("mod", *args)
        case "**":
            exponent = args[1].as_int()
            return None if exponent is None else _raised(args[0], exponent)
        case _ if op in DIM_FUNCTIONS:
            return Dim.apply(op, *args)
    return None


def _times(left: Dim, right: Dim) -> Dim | None:
    """The product, or `None` where it has too many terms or a number that is too large."""
    if len(left.terms) * len(right.terms) > MAX_TERMS:
        return None
    result = left * right
    large = any(c.numerator.bit_length() > MAX_BITS for _, c in result.terms)
    return None if large else result


def _raised(base: Dim, exponent: int) -> Dim | None:
    degree = max((abs(e) for factors, _ in base.terms for _, e in factors), default=1)
    if degree * abs(exponent) > MAX_EXPONENT:
        return None
    if exponent < 0:
        return None if base.is_zero else _raised(Dim.const(1) / base, -exponent)
    result: Dim | None = Dim.const(1)
    for _ in range(exponent):
        result = None if result is None else _times(result, base)
    return result


def render(static: Static) -> Code:
    """The static as a Python expression in the same names."""
    match static:
        case Literal(value):
            negative = isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0
            if isinstance(value, float) and math.isinf(value):
                return Code('float("inf")' if value > 0 else '-float("inf")')
            text = f'"{value}"' if isinstance(value, str) else repr(value).replace("e+", "e")
            return Code(text, Precedence.UNARY if negative else Precedence.ATOM)
        case Ref(name):
            return Code(name)
        case StaticList(items):
            return Code("[" + ", ".join(render(item).text for item in items) + "]")
        case Apply("neg" | "not" as op, (operand,)):
            return unary("-" if op == "neg" else "not", render(operand))
        case Apply("if", (condition, then, otherwise)):
            parts = [render(part).within(Precedence.OR) for part in (then, condition, otherwise)]
            return Code(f"{parts[0]} if {parts[1]} else {parts[2]}", Precedence.CONDITIONAL)
        case Apply("index", (items_, index)):
            return Code(f"{render(items_).within(Precedence.ATOM)}[{render(index).text}]")
        case Apply(op, (left, right)) if op in OPERATORS:
            return binary(op, render(left), render(right))
        case Apply(op, args):
            module = "" if op in ("min", "max", "round", "abs", "len", "ceil_to") else "math."
            return Code(f"{module}{op}({', '.join(render(arg).text for arg in args)})")


def names(static: Static) -> Iterator[str]:
    """The names a static refers to, in order of appearance, repeats included."""
    match static:
        case Ref(name):
            yield name
        case Apply(_, parts) | StaticList(parts):
            for part in parts:
                yield from names(part)
        case Literal():
            return
