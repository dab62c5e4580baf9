"""Patterns: axes split into letters, letters dropped, and merged into new axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound, larger, smaller
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import EVERYWHERE, Axis, Dependence, Extent, Fill, joined
from gabc.dependence.forms import Form, Line, coefficient_of, combined, form, without
from gabc.dependence.moves import Move, Moved, moved, substitution
from gabc.dependence.pointwise import known_fills
from gabc.dependence.reductions import spread
from gabc.dependence.sums import Sum, summed

Groups = Sequence[tuple[str, ...]]
"""The letters of each axis; a unit axis has none."""


@dataclass(frozen=True, slots=True)
class Letters:
    """Each letter has a positive name while axes are apart."""

    names: Mapping[str, int]
    axes: Mapping[int, Axis]

    def strides(self, group: tuple[str, ...]) -> list[tuple[int, Bound]]:
        """(name, how far one step of the letter moves along the merged axis)."""
        result: list[tuple[int, Bound]] = []
        stride = ONE
        for letter in reversed(group):
            name = self.names[letter]
            result.append((name, stride))
            size = self.axes[name].size
            stride = stride * size if size is not None else stride
        return result


def split_letters(
    call: DependenceCall, x: Dependence, left: Groups, right: Groups
) -> tuple[Dependence, Letters]:
    """`x` with a positive name for every letter; its own `axes` are as before."""
    every = dict.fromkeys(letter for group in (*left, *right) for letter in group)
    names = {letter: place for place, letter in enumerate(every, 1)}
    axes: dict[int, Axis] = {}
    for place, group in enumerate(left):
        axis = x.axes[place]
        if len(group) == 1:
            axes[names[group[0]]] = axis
            continue
        if axis.extent is not Extent.STATIC and group:
            x = spread(call, x, place - len(left))
            axes.update({names[letter]: replace(axis, spacing=None) for letter in group})
            continue
        sizes = _sizes(call, group, axis)
        for letter in group:
            axes[names[letter]] = Axis(Extent.STATIC, sizes[letter])
    for letter in every:
        if names[letter] not in axes:
            axes[names[letter]] = call.axis_of_size(letter)
    letters = Letters(names, axes)
    lines = {
        place - len(left): Line(form(dict(letters.strides(group))))
        for place, group in enumerate(left)
    }
    return moved(x, x.axes, substitution(lines)), letters


def _sizes(call: DependenceCall, group: tuple[str, ...], axis: Axis) -> dict[str, Bound]:
    """The sizes of the letters of one axis: given, or what is left for the one that is not."""
    sizes = {letter: call.size(letter) for letter in group if letter in call.args}
    rest = axis.size if axis.size is not None else ONE
    for size in sizes.values():
        rest = rest / size
    return {letter: sizes.get(letter, rest) for letter in group}


def merging(letters: Letters, right: Groups) -> Move:
    """Letters become the axes of the right side."""

    def move(linear: Form) -> Moved:
        below, above = ZERO, ZERO
        for place, group in enumerate(right):
            into = place - len(right)
            strides = letters.strides(group)
            coefficients = [coefficient_of(linear, name) for name, _ in strides]
            if all(coefficient.value == 0 for coefficient in coefficients):
                continue
            for name, _ in strides:
                linear = without(linear, name)
            slope = coefficients[0]
            exact = all(
                (coefficient - slope * stride).value == 0
                for coefficient, (_, stride) in zip(coefficients, strides, strict=True)
            )
            if exact:
                linear = combined(linear, ((into, slope),))
                continue
            for coefficient, (name, _) in zip(coefficients, strides, strict=True):
                size = letters.axes[name].size
                reach = INFINITY if size is None else coefficient * (size - ONE)
                if size is None:
                    below = -INFINITY
                below, above = below + smaller(ZERO, reach), above + larger(ZERO, reach)
        return linear, below, above

    return move


def regrouped(call: DependenceCall, x: Dependence, left: Groups, right: Groups) -> Dependence:
    """`rearrange` and `repeat`."""
    apart, letters = split_letters(call, x, left, right)
    return replace(moved(apart, call.results[0], merging(letters, right)), within=x.within)


def regrouped_sum(
    call: DependenceCall, x: Dependence, left: Groups, right: Groups, neutral: float, counts: bool
) -> Dependence:
    """`reduce`: the letters that the right side lacks go; what is `neutral` takes no part."""
    apart, letters = split_letters(call, x, left, right)
    kept = {letter for group in right for letter in group}
    dropped = [letters.names[letter] for group in left for letter in group if letter not in kept]
    act = call.act([x])
    total = summed(Sum(apart.time, apart.batch, apart.zone(neutral)), dropped, letters.axes, act)
    time, batch = total.time, total.batch
    if counts:
        number = summed(Sum((), (), EVERYWHERE), dropped, letters.axes, act)
        time, batch = joined((*time, *number.time)), joined((*batch, *number.batch))
    fills = known_fills([Fill(neutral, total.zone)])
    whole = replace(apart, time=time, batch=batch, fills=fills, values=None, is_vague=False)
    return moved(whole, call.results[0], merging(letters, right))
