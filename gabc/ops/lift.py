"""How an operation on one time step, [B, ...], becomes the same on all of them, [B, L, ...].

Every row of the batch is treated alike, so that a second such axis can stand beside the batch axis.
A lifted operand has the time axis second; parameters and the like stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gabc.graph.nodes import Argument, Value
from gabc.graph.types import B, TensorType
from gabc.ops.patterns_parse import Side, parse_pattern


class CannotLift(Exception):
    """The operation, as it stands, cannot be done for all positions at once; says why."""


@dataclass(frozen=True, slots=True)
class LiftCall:
    """An operation of a step: its arguments as they are in the step, and the types of its results.

    `lifted` gives the value at all positions, `add` joins an operation to those of the result.
    """

    operation: str
    args: Mapping[str, Argument]
    results: tuple[TensorType, ...]
    lifted: Callable[[Value], Value]
    add: Callable[[str, Mapping[str, Argument], TensorType], Value]

    def fail(self, why: str) -> CannotLift:
        return CannotLift(f"`{self.operation}` {why}")

    def argument(self, argument: Argument) -> Argument:
        """The argument with every value in it lifted."""
        if isinstance(argument, Value):
            return self.lifted(argument)
        if isinstance(argument, tuple):
            return tuple(self.argument(part) for part in argument)
        return argument

    def all(self) -> dict[str, Argument]:
        return {name: self.argument(argument) for name, argument in self.args.items()}

    def new_axes(self, value: Value) -> int:
        """0 for what has no time, 1 for what has gained the time axis, 2 for what had no batch."""
        return self.lifted(value).type.rank - value.type.rank

    def value(self, name: str) -> Value:
        argument = self.args[name]
        assert isinstance(argument, Value)
        return argument


def elementwise(call: LiftCall) -> dict[str, Argument]:
    """Operands meet axis by axis from the right: all that have gained an axis have equal ranks."""
    rank = call.results[0].rank

    def placed(argument: Argument) -> Argument:
        if not isinstance(argument, Value):
            if isinstance(argument, tuple) and any(isinstance(part, Value) for part in argument):
                raise call.fail("takes a list of values")
            return argument
        lifted, more = call.lifted(argument), call.new_axes(argument)
        if more == 1 and argument.type.rank != rank:
            raise call.fail("broadcasts the batch axis of an operand")
        has_batch = call.results[0].dims[:1] == (B,)
        missing = rank - argument.type.rank - (1 if has_batch else 0)
        if more != 2 or missing <= 0:
            return lifted
        # The position t, [1, L], beside a value [B, L, H].
        items = (":", ":", *[None] * missing, *[":"] * argument.type.rank)
        batch, time, *rest = lifted.type.dims
        dims = (batch, time, *[batch] * missing, *rest)
        return call.add("index", {"x": lifted, "items": items}, lifted.type.with_dims(dims))

    return {name: placed(argument) for name, argument in call.args.items()}


def along_axis(call: LiftCall, name: str = "x", *, is_new: bool = False) -> dict[str, Argument]:
    """An operation along one static `axis`, which lies one further from the left.

    `name` is the tensor, or the list of tensors, of which `axis` counts the axes; `is_new`: the
    result has one more of them.
    """
    argument = call.args[name]
    parts = argument if isinstance(argument, tuple) else (argument,)
    values = [part for part in parts if isinstance(part, Value)]
    axes = {call.new_axes(value) for value in values}
    if axes == {0}:
        return call.all()
    if axes != {1} or len({call.lifted(value).type.dims[1] for value in values}) > 1:
        raise call.fail("joins values with and without a time axis")
    axis = call.args["axis"]
    assert isinstance(axis, int)
    rank = values[0].type.rank + is_new
    if axis % rank == 0:
        raise call.fail("works along the batch axis")
    return {**call.all(), "axis": axis if axis < 0 else axis + 1}


def row_by_row(call: LiftCall) -> dict[str, Argument]:
    """An operation on the last axes of `x` alone, the batch axis not among them."""
    if call.value("x").type.rank < 2:
        raise call.fail("works along the batch axis")
    for name, argument in call.args.items():
        if name != "x" and isinstance(argument, Value) and call.new_axes(argument):
            raise call.fail("takes a weight that changes with time")
    return call.all()


def pattern(call: LiftCall, values: tuple[Value, ...]) -> str:
    """The pattern with a letter for the time axis after the batch's, in what has one."""
    text = call.args["pattern"]
    assert isinstance(text, str)
    parsed = parse_pattern(text)
    used = {name for side in (*parsed.inputs, parsed.output) for ax in side for name in ax.names}
    if "..." in used:
        raise call.fail("with `...` in its pattern hides the batch axis")
    time = next(name for name in ("l", "t", "time", "times") if name not in used)
    places: list[tuple[int, str]] = []
    has_length = False
    for side, value in zip(parsed.inputs, values, strict=True):
        more = call.new_axes(value)
        if more == 0:
            continue
        if more != 1 or side[0].names != parsed.output[0].names:
            raise call.fail("moves the batch axis")
        is_unit = call.operation == "einsum" and call.lifted(value).type.dims[1].is_one
        has_length |= not is_unit
        places.append((_end(side), "1" if is_unit else time))
    if places:
        places.append((_end(parsed.output), time if has_length else "1"))
    for end, letter in sorted(places, reverse=True):
        text = f"{text[:end]} {letter}{text[end:]}"
    return text


def _end(side: Side) -> int:
    return side[0].end
