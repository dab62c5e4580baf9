"""Training loss against tokens as an SVG drawing, for a page without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gabc.data.ngram import Baseline
from gabc.evaluate.result import RunResult
from gabc.evaluate.table import short_number

WIDTH, HEIGHT = 860, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 16, 44
_COLOURS = 8
_TARGET_TICKS = 6
# Steps crowd at the right of a logarithmic axis: those this close are drawn as their mean.
_PIXELS_PER_POINT = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick: its place in pixels and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A run's line: `points` as SVG wants them; `colour` numbers the page's palette.

    Runs of one design share `name`, `colour` and `dashed`; `title` names the run.
    """

    name: str
    title: str
    points: str
    colour: int
    dashed: bool


@dataclass(frozen=True, slots=True)
class Level:
    """A baseline's held-out loss as a horizontal line."""

    name: str
    at: float


@dataclass(frozen=True, slots=True)
class Plot:
    """All that the template draws; lengths are in pixels of a WIDTH x HEIGHT drawing."""

    curves: tuple[Curve, ...]
    levels: tuple[Level, ...]
    x_marks: tuple[Mark, ...]
    y_marks: tuple[Mark, ...]
    left: float
    right: float
    top: float
    bottom: float
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def legend(self) -> tuple[Curve, ...]:
        """One curve of each name, in the order drawn."""
        return tuple({curve.name: curve for curve in reversed(self.curves)}.values())[::-1]


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def draw_curves(results: Sequence[RunResult], baselines: Sequence[Baseline]) -> Plot | None:
    """Loss (linear) against tokens seen (logarithmic); None where no run has a history."""
    drawn = [result for result in results if len(result.training.history) > 1]
    if not drawn:
        return None
    tokens = [t for r in drawn for t, _ in r.training.history]
    losses = [loss for r in drawn for _, loss in r.training.history]
    levels = [baseline.loss for baseline in baselines]
    x = _Axis(math.log10(min(tokens)), math.log10(max(tokens)), _LEFT, WIDTH - _RIGHT)
    step = _nice_step(max(losses) - min(losses))
    low = math.floor(min(losses + levels) / step) * step
    high = math.ceil(max(losses) / step) * step
    y = _Axis(low, high, HEIGHT - _BOTTOM, _TOP)
    names = list(dict.fromkeys(_name(result) for result in drawn))
    return Plot(
        curves=tuple(_curve(result, names.index(_name(result)), x, y) for result in drawn),
        levels=tuple(Level(b.name, y.at(b.loss)) for b in baselines if low <= b.loss <= high),
        x_marks=_decades(x),
        y_marks=tuple(
            Mark(y.at(low + i * step), f"{low + i * step:g}")
            for i in range(round((high - low) / step) + 1)
        ),
        left=_LEFT,
        right=WIDTH - _RIGHT,
        top=_TOP,
        bottom=HEIGHT - _BOTTOM,
    )


def _curve(result: RunResult, index: int, x: _Axis, y: _Axis) -> Curve:
    pixels: dict[int, list[tuple[float, float]]] = {}
    for tokens, loss in result.training.history:
        at = x.at(math.log10(tokens))
        pixels.setdefault(round(at / _PIXELS_PER_POINT), []).append((at, y.at(loss)))
    means = [
        [sum(values) / len(values) for values in zip(*p, strict=True)] for p in pixels.values()
    ]
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in means)
    name = _name(result)
    title = f"{name}, seed {result.key.seed}: {result.training.history[-1][1]:.3f}"
    return Curve(name, title, points, index % _COLOURS, index >= _COLOURS)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _name(result: RunResult) -> str:
    return f"{result.key.design} {result.key.scale}"


def _nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, for about six ticks over `span`."""
    rough = max(span, 1e-3) / _TARGET_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _decades(axis: _Axis) -> tuple[Mark, ...]:
    """1, 2 and 5 times each power of ten within the axis."""
    powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    values = [factor * 10**power for power in powers for factor in (1, 2, 5)]
    inside = [value for value in values if axis.low <= math.log10(value) <= axis.high]
    return tuple(Mark(axis.at(math.log10(value)), short_number(value)) for value in inside)
