"""Logarithms of decays: of what is above zero whatever the data, without computing it first.

`exp(x)` gives x, `sigmoid(x)` gives logsigmoid(x), a product a sum. A decay is followed out of the
scan's body to where its argument is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gabc.graph.nodes import Argument, Node, Value
from gabc.graph.static import Literal, Static
from gabc.graph.types import TensorType
from gabc.recurrences.body import Body, broadcast
from gabc.recurrences.lift import Lifter

_MOVES = ("index", "rearrange", "repeat", "f32")
"""Operations that only move elements: they commute with the logarithm."""


@dataclass
class Logarithms:
    """Logarithms of values of the step; those of values of outside are made by `lifter`."""

    body: Body
    lifter: Lifter
    _known: dict[tuple[Value, _Rule], Value | None] = field(default_factory=dict)
    _known_outside: dict[tuple[Value, _Rule], Value | None] = field(default_factory=dict)
    _positive: dict[Value, bool] = field(default_factory=dict)

    def of(self, value: Value) -> Value | None:
        """The logarithm; `None` if the value is not known to be above zero."""
        return self._inside(value, _logarithm)

    def of_complement(self, value: Value) -> Value | None:
        """The logarithm of `1 - value`; `None` if that is not known to be above zero."""
        return self._inside(value, _complement)

    def is_positive(self, value: Value) -> bool:
        """Whether it is above zero."""
        return self._side(value).is_positive(value)

    def _inside(self, value: Value, rule: _Rule) -> Value | None:
        if (value, rule) not in self._known:
            found = self._find(value, rule)
            outer = self.body.argument_of(value)
            if found is not None and outer is not None:
                inner = Value(value.type.with_kind("float"), found.span, found.name)
                self.lifter.bind(inner, found)
                found = inner
            self._known[value, rule] = found
        return self._known[value, rule]

    def _outside(self, value: Value, rule: _Rule) -> Value | None:
        if (value, rule) not in self._known_outside:
            node = self.body.outside.get(value)
            found = None if node is None else rule(self._side(value), node, value)
            self._known_outside[value, rule] = found
        return self._known_outside[value, rule]

    def _find(self, value: Value, rule: _Rule) -> Value | None:
        node = self.body.definition(value)
        if node is None:
            return self._outside(self.body.argument_of(value) or value, rule)
        return rule(self._side(value), node, value)

    def _side(self, value: Value) -> _Side:
        if self.body.definition(value) is None:
            return _Side(self._definition, self.lifter.add, self._outside, self._positive)
        return _Side(self._definition, self.body.add, self._inside, self._positive)

    def _definition(self, value: Value) -> Node | None:
        outer = self.body.argument_of(value) or value
        return self.body.definition(value) or self.body.outside.get(outer)


@dataclass(frozen=True, slots=True)
class _Side:
    """Inside the step, or around the scan: how operations are added there.

    `definition` follows a value of the step out of it; `of` is another value's logarithm.
    """

    definition: Callable[[Value], Node | None]
    add: Callable[[str, Mapping[str, Argument], TensorType], Value]
    of: Callable[[Value, _Rule], Value | None]
    positive: dict[Value, bool]
    """What is known of values so far."""

    def is_positive(self, value: Value) -> bool:
        if value not in self.positive:
            self.positive[value] = self._is_positive(value)
        return self.positive[value]

    def _is_positive(self, value: Value) -> bool:
        node = self.definition(value)
        if node is None or node.region is not None or len(node.outputs) > 1:
            return False

        def operand(name: str) -> bool:
            argument = node.args[name]
            if isinstance(argument, Value):
                return self.is_positive(argument)
            return positive_number(argument) is not None

        match node.op:
            case "exp" | "sigmoid" | "softplus" | "softmax" | "ones":
                return True
            case "add" | "mul" | "div":
                return operand("a") and operand("b")
            case "maximum":
                return operand("a") or operand("b")
            case "sub":
                other = node.args["b"]
                return (
                    _is_one(node.args["a"]) and isinstance(other, Value) and self._below_one(other)
                )
        return node.op in (*_MOVES, "sqrt", "reciprocal") and operand("x")

    def _below_one(self, value: Value) -> bool:
        node = self.definition(value)
        while node is not None and node.op in _MOVES:
            node = self.definition(_value(node, "x"))
        return node is not None and node.op == "sigmoid"


_Rule: TypeAlias = Callable[[_Side, Node, Value], Value | None]


def _logarithm(side: _Side, node: Node, value: Value) -> Value | None:
    if len(node.outputs) > 1 or node.region is not None:
        return None
    found = None
    match node.op:
        case "exp":
            return _value(node, "x")
        case "sigmoid":
            x = _value(node, "x")
            return side.add("logsigmoid", {"x": x}, x.type)
        case "mul" | "div":
            found = _sum("add" if node.op == "mul" else "sub", side, node)
        case "sub":
            other = node.args["b"]
            if _is_one(node.args["a"]) and isinstance(other, Value):
                found = side.of(other, _complement)
        case "pow":
            found = _power(side, node)
        case _ if node.op in _MOVES:
            found = _moved(side, node, value, _logarithm)
    if found is None and side.is_positive(value):
        return side.add("log", {"x": value}, value.type)
    return found


def _complement(side: _Side, node: Node, value: Value) -> Value | None:
    """log(1 - value)."""
    match node.op:
        case "sigmoid":
            x = _value(node, "x")
            opposite = side.add("neg", {"a": x}, x.type)
            return side.add("logsigmoid", {"x": opposite}, x.type)
        case "sub":
            other = node.args["b"]
            if _is_one(node.args["a"]) and isinstance(other, Value):
                return side.of(other, _logarithm)
        case _ if node.op in _MOVES:
            return _moved(side, node, value, _complement)
    return None


def _moved(side: _Side, node: Node, value: Value, rule: _Rule) -> Value | None:
    log = side.of(_value(node, "x"), rule)
    return None if log is None else side.add(node.op, {**node.args, "x": log}, value.type)


def _sum(op: str, side: _Side, node: Node) -> Value | None:
    logs: list[Value | Static] = []
    for name in ("a", "b"):
        argument = node.args[name]
        if isinstance(argument, Value):
            log = side.of(argument, _logarithm)
            if log is None:
                return None
            logs.append(log)
        elif (number := positive_number(argument)) is not None:
            logs.append(Literal(math.log(number)))
        else:
            return None
    types = [log.type for log in logs if isinstance(log, Value)]
    return side.add(op, {"a": logs[0], "b": logs[1]}, broadcast("float", types))


def _power(side: _Side, node: Node) -> Value | None:
    base, exponent = node.args["a"], node.args["b"]
    log: Value | Static | None
    if isinstance(base, Value):
        log = side.of(base, _logarithm)
    else:
        number = positive_number(base)
        log = None if number is None else Literal(math.log(number))
    if log is None:
        return None
    return side.add("mul", {"a": exponent, "b": log}, node.output.type)


def _is_one(argument: Argument) -> bool:
    return positive_number(argument) == 1.0


def _value(node: Node, name: str) -> Value:
    value = node.args[name]
    assert isinstance(value, Value)
    return value


def positive_number(argument: Argument) -> float | None:
    """The number, if it is one written in the text, and above zero."""
    if not isinstance(argument, Literal):
        return None
    number = argument.value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number <= 0:
        return None
    return float(number)
