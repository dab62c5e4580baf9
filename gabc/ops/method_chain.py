"""Chains of method calls on a tensor as text: `x.unflatten(-1, (H, K)).mean(1)`."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.graph.pycode import Code, Precedence


def axis_number(axis: int, rank: int) -> int:
    """The batch and time axes are counted from the front, the others from the back."""
    return axis if axis < 2 and axis < rank - 1 else axis - rank


class MethodChain:
    """A tensor expression of a known rank that grows by one method call after another."""

    def __init__(self, start: Code, rank: int) -> None:
        self.text = start.within(Precedence.ATOM)
        self.rank = rank

    @property
    def code(self) -> Code:
        return Code(self.text)

    def call(self, method: str, *args: str) -> None:
        self.text += f".{method}({', '.join(args)})"

    def axis(self, axis: int) -> str:
        return str(axis_number(axis, self.rank))

    def split(self, axis: int, sizes: Sequence[str]) -> None:
        self.call("unflatten", self.axis(axis), f"({', '.join(sizes)})")
        self.rank += len(sizes) - 1

    def pair(self, first: int, second: int) -> tuple[str, str]:
        """Two axes in rising order, both counted from the same end."""
        number = axis_number(first, self.rank)
        return str(number), str(second if number >= 0 else second - self.rank)

    def merge(self, axis: int, count: int) -> None:
        last = axis + count - 1
        self.call("flatten", *self.pair(axis, last)[: 1 if last == self.rank - 1 else 2])
        self.rank -= count - 1

    def squeeze(self, axis: int) -> None:
        self.call("squeeze", self.axis(axis))
        self.rank -= 1

    def unsqueeze(self, axis: int) -> None:
        self.rank += 1
        self.call("unsqueeze", self.axis(axis))

    def expand(self, sizes: Sequence[str]) -> None:
        self.call("expand", *sizes)
        self.rank = len(sizes)

    def permute(self, order: Sequence[int]) -> None:
        moved = [axis for axis in range(self.rank) if order[axis] != axis]
        if not moved:
            return
        if len(moved) == 2:
            self.call("transpose", *self.pair(moved[0], moved[1]))
        else:
            self.call("permute", *map(str, order))

    def reduce(self, method: str, axes: Sequence[int], *, keep: bool = False) -> None:
        """`prod` takes one axis at a time; the others take several."""
        groups = [[axis] for axis in reversed(axes)] if method == "prod" else [list(axes)]
        for group in groups:
            numbers = [self.axis(axis) for axis in group]
            axes_text = numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"
            self.call(method, axes_text, *(["keepdim=True"] if keep else []))
            self.rank -= 0 if keep else len(group)
