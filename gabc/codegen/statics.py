"""Static scalars and dims as Python, with each name resolved to where it is found."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

from gabc.dims import Dim
from gabc.graph.pycode import OPERATORS, Code, Precedence, binary, unary
from gabc.graph.static import (
    Apply,
    Literal,
    NumberKind,
    Ref,
    Static,
    StaticList,
    StaticValue,
    kind_of,
    render,
)

Resolve = Callable[[str], str]
"""A static name of the unit -> Python code that has its value (an atom)."""

Require = Callable[[str], str]
"""Make a helper function available; returns the name to call."""

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?!\w*\()")
_HELPERS = ("ceil_to",)
_ROUNDING = ("ceil_to", "floor", "ceil", "round")


def number_code(static: Static, resolve: Resolve, require: Require) -> Code:
    """A static as its value: `/` is true division."""
    return render(_prepared(static, resolve, require))


def literal_code(value: StaticValue) -> str:
    """The value itself, as an atom."""
    if isinstance(value, tuple):
        return f"[{', '.join(literal_code(item) for item in value)}]"
    return render(Literal(value)).within(Precedence.ATOM)


def size_code(
    static: Static, resolve: Resolve, require: Require, kinds: Mapping[str, NumberKind]
) -> Code:
    """A static as an int: `/` is exact, and a remainder raises when the module is constructed.

    `kinds` are the kinds of the names that are no ints.
    """
    exact = _exact(static, resolve, require, kinds)
    if exact is not None:
        return exact
    function = require("exact_int")
    return Code(f"{function}({number_code(static, resolve, require).text})")


def dim_code(dim: Dim, resolve: Resolve, require: Require, kinds: Mapping[str, NumberKind]) -> Code:
    """A dim as an int."""
    resolved = _IDENTIFIER.sub(lambda match: resolve(match[0]), dim.python())
    code = Code(resolved, precedence_of(resolved))
    if any(kinds.get(name) == "float" for name in sorted(dim.symbols())):
        return Code(f"{require('exact_int')}({resolved})")
    return code


def precedence_of(text: str) -> Precedence:
    """The precedence of the outermost operator of a Python expression."""
    match ast.parse(text, mode="eval").body:
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return Precedence.ADD
        case ast.BinOp(op=ast.Pow()):
            return Precedence.POWER
        case ast.BinOp():
            return Precedence.MULTIPLY
        case ast.UnaryOp():
            return Precedence.UNARY
        case ast.Compare():
            return Precedence.COMPARE
        case ast.IfExp():
            return Precedence.CONDITIONAL
    return Precedence.ATOM


def _prepared(static: Static, resolve: Resolve, require: Require) -> Static:
    """The static with its names resolved and its helpers required."""
    match static:
        case Literal():
            return static
        case Ref(name):
            return Ref(resolve(name))
        case StaticList(items):
            return StaticList(tuple(_prepared(item, resolve, require) for item in items))
        case Apply(op, args):
            if op in _HELPERS:
                require(op)
            return Apply(op, tuple(_prepared(arg, resolve, require) for arg in args))


def _exact(
    static: Static, resolve: Resolve, require: Require, kinds: Mapping[str, NumberKind]
) -> Code | None:
    """An int expression with exact divisions; `None` if a decimal number takes part."""
    match static:
        case Apply(op, _) if op in _ROUNDING:
            return number_code(static, resolve, require)
        case Literal(None):
            return number_code(static, resolve, require)
        case Apply("if", (condition, then, otherwise)):
            parts = [_exact(part, resolve, require, kinds) for part in (then, otherwise)]
            chosen = number_code(condition, resolve, require).within(Precedence.OR)
            if parts[0] is None or parts[1] is None:
                return None
            texts = [part.within(Precedence.OR) for part in parts if part is not None]
            return Code(f"{texts[0]} if {chosen} else {texts[1]}", Precedence.CONDITIONAL)
        case Apply("**"):
            is_int = kind_of(static, kinds) == "int"
            return number_code(static, resolve, require) if is_int else None
        case Apply(op, args) if op != "index":
            operands = [_exact(arg, resolve, require, kinds) for arg in args]
            codes = [operand for operand in operands if operand is not None]
            return _apply(op, codes, require) if len(codes) == len(operands) else None
    if kind_of(static, kinds) == "float":
        return None
    return number_code(static, resolve, require)


def _apply(op: str, args: list[Code], require: Require) -> Code | None:
    if op == "/":
        return Code(f"{require('exact_div')}({args[0].text}, {args[1].text})")
    if op == "neg":
        return unary("-", args[0])
    if op in OPERATORS:
        return binary(op, args[0], args[1])
    if op in ("min", "max", "abs"):
        return Code(f"{op}({', '.join(arg.text for arg in args)})")
    return None
