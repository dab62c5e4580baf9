"""A size for a design at which it has as many parameters as a reference scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from gabc.elaborate.scales import MAX_BLOCKS, SCALES, VOCAB_SIZE
from gabc.graph.instance import Scale, Stack
from gabc.runtime.inspect import count_parameters

TOLERANCE = 0.02

# Widths are multiples of at least this, as matrix units want them.
_FINEST = 8
# Depths counted at one width: the asked one, two about the estimate, and two more for blocks that
# differ by layer.
_DEPTHS = 5
# How far the width may go from the reference's, as a factor.
_WIDEST = 2


class FitError(ValueError):
    """No size of the design is near enough to the reference; the message says what came closest."""


@dataclass(frozen=True, slots=True)
class Fit:
    """`scale` has the reference's training settings and the width and depth that fit.

    `parameters` and `reference` are totals at the vocabulary of the reference table.
    """

    scale: Scale
    asked: Scale
    parameters: int
    reference: int

    @property
    def deviation(self) -> float:
        """Relative: 0.01 is one percent too many."""
        return self.parameters / self.reference - 1

    def __str__(self) -> str:
        """What was changed, in a sentence."""
        changes = []
        if self.scale.n_layers != self.asked.n_layers:
            changes.append(f"{self.scale.n_layers} blocks in place of {self.asked.n_layers}")
        if self.scale.D != self.asked.D:
            changes.append(f"width {self.scale.D} in place of {self.asked.D}")
        return (
            f"fitted to {self.asked.name}: {', '.join(changes) or 'nothing changed'}; "
            f"{self.parameters:,} parameters, {self.deviation:+.1%} of {self.reference:,} "
            f"(vocabulary {VOCAB_SIZE:,})"
        )


def fit_scale(stack_at: Callable[[Scale], Stack | None], asked: Scale) -> Fit:
    """The size nearest to `asked` at which the design's parameters are within 2% of its reference.

    Nothing is changed where that is near enough; then depth before width, and width in steps of a
    sixteenth and, if no such width fits, in finer ones.
    `stack_at` elaborates the design, and gives `None` where it is not well-formed: such widths are
    passed over.

    Raises:
        FitError: the scale has no reference size, or nothing within twice its width fits.
    """
    if asked.reference_params is None:
        sized = [name for name, scale in SCALES.items() if scale.reference_params]
        raise FitError(
            f"scale {asked.name} has no reference size to fit; fit to one of {', '.join(sized)}"
        )
    closest: Fit | None = None
    for width in _widths(asked.D):
        fit = _best_depth(stack_at, asked, asked.reference_params, width)
        if fit is None:
            continue
        if abs(fit.deviation) <= TOLERANCE:
            return fit
        if closest is None or abs(fit.deviation) < abs(closest.deviation):
            closest = fit
    raise FitError(_nothing_fits(asked, closest))


def _widths(asked: int) -> Iterator[int]:
    """The width itself, then multiples of each step up to twice and down to half, nearest first."""
    yield asked
    seen = {asked}
    step = max(_FINEST, 1 << (asked // 16).bit_length() - 1)
    while step >= _FINEST:
        multiples = range(step, asked * _WIDEST + 1, step)
        near = [width for width in multiples if width * _WIDEST >= asked and width not in seen]
        seen.update(near)
        yield from sorted(near, key=lambda width: (abs(width - asked), width))
        step //= 2


def _best_depth(
    stack_at: Callable[[Scale], Stack | None], asked: Scale, reference: int, width: int
) -> Fit | None:
    """The depth at `width` whose count is nearest; `None` if the design cannot have the width."""
    tried: dict[int, Fit] = {}
    depths = [asked.n_layers]
    while depths:
        depth = depths.pop()
        scale = replace(asked, name=f"{width}x{depth}", D=width, n_layers=depth)
        if (width, depth) == (asked.D, asked.n_layers):
            scale = asked
        stack = stack_at(scale)
        if stack is None:
            return None
        count = count_parameters(stack, VOCAB_SIZE)
        tried[depth] = Fit(scale, asked, count.total, reference)
        if scale is asked and abs(tried[depth].deviation) <= TOLERANCE:
            return tried[depth]
        # Blocks may differ by layer, so the mean of these gives an estimate that is then counted.
        per_block = sum(count.per_block) / depth
        if per_block and len(tried) < _DEPTHS:
            exact = (reference - (count.total - sum(count.per_block))) / per_block
            below = min(max(1, int(exact)), MAX_BLOCKS - 1)
            depths += [d for d in (below + 1, below) if d not in tried and d not in depths]
    return min(tried.values(), key=lambda fit: (abs(fit.deviation), fit.scale.n_layers))


def _nothing_fits(asked: Scale, closest: Fit | None) -> str:
    widths = f"widths {-(-asked.D // _WIDEST)} to {asked.D * _WIDEST}"
    if closest is None:
        return f"the design is well-formed at none of the {widths} tried for scale {asked.name}"
    return (
        f"no depth and width brings the design within {TOLERANCE:.0%} of scale {asked.name} "
        f"({closest.reference:,} parameters) at {widths}: the closest is {closest.scale.name}, "
        f"which has {closest.parameters:,} ({closest.deviation:+.1%})"
    )
