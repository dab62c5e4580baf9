"""Static names of units as expressions in `D` and `n_layers`, so that no name or scale is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.static import (
    Apply,
    Literal,
    Ref,
    Static,
    StaticFault,
    StaticList,
    StaticValue,
    UnknownStatic,
    evaluate,
    names,
    to_dim,
)

Meaning: TypeAlias = "Dim | str"
"""A number as a polynomial in `D` and `n_layers`, or any other static as text."""

_SCALE = ("D", "n_layers")


@dataclass(frozen=True, slots=True)
class Scope:
    """The static names of an instance and what each means. `outer` is the unit it stands in."""

    instance: Instance
    meanings: Mapping[str, Meaning]
    outer: Scope | None

    @staticmethod
    def of(instance: Instance, outer: Scope | None, from_caller: bool) -> Scope:
        """`from_caller`: the instance fills a slot, so a unit further out has written it."""
        known: dict[str, Meaning] = {name: Dim.symbol(name) for name in _SCALE}
        if "layer" in instance.env:
            known["layer"] = of_value(instance.env["layer"])
        scope = Scope(instance, known, outer)
        writers = outer.outwards() if outer is not None else []
        if from_caller:
            writers = [*writers[1:], *writers[:1]]
        for name, hyper in instance.hypers.items():
            places = [scope, *writers] if hyper.is_default else [*writers, scope]
            known[name] = _hyper(instance, name, hyper.given, places)
        for name, static in instance.dims.items():
            known[name] = _agreed(scope, static, instance.env.get(name))
        return scope

    def outwards(self) -> list[Scope]:
        """This scope and those around it, innermost first."""
        found: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            found.append(scope)
            scope = scope.outer
        return found

    def meaning(self, static: Static) -> Meaning:
        """A static in this unit's names. One that has no value here is text in its own names."""
        dim = self.dim(static)
        if dim is not None:
            return dim
        if not set(_SCALE) & self._depends_on(static):
            try:
                return of_value(evaluate(static, self.instance.env))
            except (UnknownStatic, StaticFault):
                pass
        match static:
            case Apply(op, args):
                return f"{op}({', '.join(str(self.meaning(arg)) for arg in args)})"
            case StaticList(items):
                return f"[{', '.join(str(self.meaning(item)) for item in items)}]"
            case Ref(name):
                return self.meanings.get(name, name)
            case Literal(value):
                return of_value(value)

    def dim(self, static: Static) -> Dim | None:
        """The static as a polynomial, if it is one."""
        dim = to_dim(static, {})
        return None if dim is None else self.resolve(dim)

    def resolve(self, dim: Dim) -> Dim | None:
        """A size in this unit's names; `None` if one of them is no number."""
        found = {}
        for name in dim.symbols():
            meaning = self.meanings.get(name)
            if isinstance(meaning, str):
                return None
            if meaning is not None:
                found[name] = meaning
        return dim.substitute(found)

    def _depends_on(self, static: Static) -> set[str]:
        """The names of the scale behind a static."""
        found: set[str] = set()
        for name in names(static):
            meaning = self.meanings.get(name)
            if isinstance(meaning, Dim):
                found |= meaning.symbols()
            elif isinstance(meaning, str):
                found |= {scale for scale in _SCALE if scale in meaning}
        return found


def of_value(value: StaticValue) -> Meaning:
    """A value as a number, or as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return Dim.const(Fraction(repr(value)) if isinstance(value, float) else value)


def _hyper(instance: Instance, name: str, given: Static, places: list[Scope]) -> Meaning:
    """What a hyperparameter was given, in the first scope where that is its value."""
    value = instance.env.get(name)
    for place in places:
        if _is_value(given, place.instance.env, value) and all(
            part in place.meanings for part in names(given)
        ):
            return place.meaning(given)
    return of_value(value) if name in instance.env else "unknown"


def _agreed(scope: Scope, static: Static, value: StaticValue) -> Meaning:
    """A dim's definition, or its number where that is all there is."""
    meaning = scope.meaning(static)
    is_defined = all(name in scope.meanings for name in names(static))
    return meaning if is_defined or value is None else of_value(value)


def _is_value(static: Static, env: Mapping[str, StaticValue], value: StaticValue) -> bool:
    try:
        return evaluate(static, env) == value
    except (UnknownStatic, StaticFault):
        return False
