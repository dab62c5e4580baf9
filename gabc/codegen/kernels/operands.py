"""How a kernel finds its operands: by row and column."""

from __future__ import annotations

from dataclasses import dataclass

from gabc.codegen.names import local_name
from gabc.dims import Dim
from gabc.graph.names import unused
from gabc.graph.nodes import Node, Region, Value
from gabc.graph.static import Ref, Static
from gabc.passes.fusable import ROW_REDUCTIONS
from gabc.passes.tile_shapes import joint_shape, last_dim, padded, spans_rows

_FRAME = ("row", "column", "rows", "slab", "parts", "part", "first", "start", "line")
_MASKS = ("mask", "in_width", "in_rows", "tile", "WIDTH", "ROWS", "BLOCK")
_MODULE = ("tl", "triton", "register", "Fused", "Operand", "Result")

RESERVED = frozenset((*_FRAME, *_MASKS, *_MODULE))
"""Names that the text of every kernel uses."""

HELPERS = frozenset(("f32", "lerp", "rms_norm", "wide_dtype"))
"""The functions of `gabc.runtime.functional` that the plain form of a group may call."""


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A tensor by its variable; `rows` is as in `gabc.kernels.generated.Operand`."""

    value: Value
    name: str
    rows: str
    single: bool
    varies: bool

    @property
    def is_mask(self) -> bool:
        return self.value.type.kind == "bool"

    @property
    def parameters(self) -> list[str]:
        """What a kernel is given to find it."""
        steps = {
            "full": ("row",) if self.single else ("row", "column"),
            "vector": (),
            "shared": ("period",),
            "stretched": ("inner", "period"),
        }
        return [f"{self.name}_ptr", *(f"{self.name}_{step}" for step in steps[self.rows])]

    @property
    def load(self) -> str:
        """A tile of it, in float32."""
        function = "load_mask" if self.is_mask else "load"
        return f"tile.{function}({self._pointers()}, {self._mask()})"

    def _pointers(self) -> str:
        name, width = self.name, "" if self.single else " * WIDTH"
        column = "" if self.single else " + column"
        match self.rows:
            case "full":
                column = "" if self.single else f" + column * {name}_column"
                return f"{name}_ptr + row * {name}_row{column}"
            case "vector":
                return f"{name}_ptr + {'row * 0' if self.single else 'column'}"
            case "shared":
                return f"{name}_ptr + row % {name}_period{width}{column}"
            case _:
                return f"{name}_ptr + row // {name}_inner % {name}_period{width}{column}"

    def _mask(self) -> str:
        if self.single:
            return "in_rows"
        return "in_width" if self.rows == "vector" else "mask"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What a group's kernels are about: operands, results, numbers, and the shape of a tile.

    `numbers` are the static numbers that the caller gives, by their parameter.
    """

    operands: tuple[Operand, ...]
    results: tuple[Value, ...]
    singles: tuple[bool, ...]
    numbers: dict[Static, str]
    whole_rows: bool
    nodes: tuple[Node, ...]


def frame_of(node: Node, region: Region) -> Frame:
    """The frame of a `fused` node."""
    varies, numbers = node.args["varies"], node.args["numbers"]
    assert isinstance(varies, tuple)
    assert isinstance(numbers, tuple)
    shape = joint_shape([*region.inputs, *(inner.output for inner in region.nodes)])
    taken = {*RESERVED, *HELPERS}
    operands = []
    for value, is_varying in zip(region.inputs, varies, strict=True):
        name = unused(local_name(value.name), taken)
        taken.add(name)
        single = not shape[-1].is_one and last_dim(value.type).is_one
        operands.append(Operand(value, name, _rows(value, shape), single, bool(is_varying)))
    parameters: dict[Static, str] = {}
    for number in numbers:
        assert isinstance(number, Static)
        name = unused(local_name(number.name if isinstance(number, Ref) else "number"), taken)
        taken.add(name)
        parameters[number] = name
    singles = [not shape[-1].is_one and last_dim(v.type).is_one for v in region.results]
    whole = any(singles) or any(operand.single and operand.varies for operand in operands)
    whole = whole or any(inner.op in ROW_REDUCTIONS for inner in region.nodes)
    return Frame(tuple(operands), region.results, tuple(singles), parameters, whole, region.nodes)


def _rows(value: Value, shape: tuple[Dim, ...]) -> str:
    if spans_rows(value.type, shape):
        return "full"
    held = [not dim.is_one for dim in padded(value.type, len(shape))[:-1]]
    if not any(held):
        return "vector"
    is_suffix = held[held.index(True) :] == [not d.is_one for d in shape[held.index(True) : -1]]
    return "shared" if is_suffix else "stretched"
