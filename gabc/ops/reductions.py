"""Reductions of one axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.ranges import ANY, Range, hull
from gabc.dependence.reductions import reduced
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code, Precedence
from gabc.graph.types import ONE, Kind, TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import Site, Work, reduction
from gabc.ops.evaluated import Args, flag, integer, optional_tensor, tensor
from gabc.ops.kinds import require_kind
from gabc.ops.lift import LiftCall, along_axis
from gabc.ops.tiles import row_tile
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    Tensor = torch.Tensor
    Reference = Callable[[Tensor, int, bool, Tensor | None], Tensor]

_PARAMETERS = (
    Parameter("x", ArgKind.VALUE),
    Parameter("axis", ArgKind.INT),
    Parameter("keep", ArgKind.FLAG, False, keyword_only=True),
)
MASK = Parameter("mask", ArgKind.VALUE, None, keyword_only=True, hidden=True)


@dataclass(frozen=True, slots=True)
class _Reduction:
    """`method` is the tensor's, called with the axis and `options`; `result` maps kinds.

    `masked` is the helper that takes a mask; without one a masked value is filled with `fill`.
    `reference` gets the tensor, the axis, whether to keep it, and the mask (with a `masked` only).
    """

    name: str
    method: str
    reference: Reference
    doc: str
    kinds: tuple[Kind, ...] = ("float",)
    result: Mapping[Kind, Kind] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    masked: str = ""
    fill: float | None = None
    help: Mapping[Kind, str] = field(default_factory=dict)


class Reduction(Primitive):
    """`keep=true` leaves a unit axis, which broadcasts, in the place of the reduced one."""

    def __init__(self, reduction: _Reduction) -> None:
        self.name = reduction.name
        self.doc = reduction.doc
        self.parameters = (*_PARAMETERS, MASK) if reduction.masked else _PARAMETERS
        if reduction.fill is not None:
            self.fills = {"x": reduction.fill}
        self._reduction = reduction

    def shape(self, call: Call) -> TensorType:
        rules = self._reduction
        x = require_kind(call, "x", *rules.kinds, help=rules.help.get(call.type("x").kind, ""))
        axis = call.axis(x)
        kept = (ONE,) if call.flag("keep") else ()
        dims = (*x.dims[:axis], *kept, *x.dims[axis + 1 :])
        return TensorType(rules.result.get(x.kind, x.kind), dims)

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        result = reduced(
            call,
            x,
            call.axis(x),
            neutral=_NEUTRAL[self.name],
            mask=call.optional("mask"),
            counts=self.name in ("mean", "var"),
            keep=call.flag("keep"),
        )
        result = replace(result, within=_range(self.name, x, call.optional("mask") is not None))
        return replace(result, fills=()) if self.name == "argmax" else result

    def reference(self, args: Args) -> Tensor:
        mask = optional_tensor(args, "mask") if self._reduction.masked else None
        return self._reduction.reference(
            tensor(args, "x"), integer(args, "axis"), flag(args, "keep"), mask
        )

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call)

    def cost(self, site: Site) -> Work:
        saves = {
            "var": (site.value("x"),),
            "max": (site.value("x"), site.outputs[0]),
            "min": (site.value("x"), site.outputs[0]),
            "prod": (site.value("x"), site.outputs[0]),
            "logsumexp": (site.value("x"), site.outputs[0]),
        }.get(self.name, ())
        mask = site.optional("mask")
        if not site.gradients("x"):
            saves, mask = (), None
        flops = {"var": 4, "logsumexp": 4}.get(self.name, 1)
        masked = () if mask is None else (mask,)
        launches = 1 if site.optional("mask") is None else 5
        return reduction(site, flops, (*saves, *masked), launches)

    def lower(self, lowering: Lowering) -> Code:
        x, rules = lowering.code("x"), self._reduction
        keep = ["keepdim=True"] if lowering.argument("keep") else []
        axis = str(lowering.argument("axis"))
        if rules.masked and lowering.argument("mask") is not None:
            mask = lowering.code("mask").text
            return call_code(lowering.helper(rules.masked), x.text, mask, axis, *keep)
        return call_code(f"{x.within(Precedence.ATOM)}.{rules.method}", axis, *rules.options, *keep)

    def tile(self, lowering: Lowering) -> Code | None:
        return row_tile(lowering, self.name) if lowering.argument("keep") else None


def _range(name: str, x: Dependence, is_masked: bool) -> Range:
    """Between which numbers a reduction lies; a row of which a mask keeps nothing gives 0."""
    found = ANY
    if name in ("mean", "max", "min"):
        found = x.range
    elif name in ("sum", "var"):
        is_positive = name == "var" or x.range.least >= 0.0
        found = Range(0.0 if is_positive else -math.inf)
    return hull(found, Range(0.0, 0.0)) if is_masked else found


def kept_count(x: Tensor, axis: int, mask: Tensor | None) -> Tensor:
    """How many elements along the axis (left as a unit axis) the mask keeps."""
    ones = torch.ones_like(x)
    return (ones if mask is None else torch.where(mask, ones, 0.0)).sum(axis, keepdim=True)


def reduced_mean(x: Tensor, axis: int, keep: bool, mask: Tensor | None) -> Tensor:
    """The mean; 0 where the mask keeps nothing."""
    total = (x if mask is None else torch.where(mask, x, 0.0)).sum(axis, keepdim=True)
    count = kept_count(x, axis, mask)
    mean = total / torch.where(count == 0, 1.0, count)
    return mean if keep else mean.squeeze(axis)


def _var(x: Tensor, axis: int, keep: bool, mask: Tensor | None) -> Tensor:
    x = x if mask is None else torch.where(mask, x, 0.0)
    deviation = x - reduced_mean(x, axis, True, mask)
    return reduced_mean(deviation * deviation, axis, keep, mask)


def reduced_max(x: Tensor, axis: int, keep: bool, mask: Tensor | None) -> Tensor:
    """The maximum; 0 where the mask keeps nothing."""
    if mask is None:
        return x.amax(axis, keepdim=keep)
    # One row at a time: what is kept is picked out, nothing stands for what is not.
    rows, masks = x.movedim(axis, -1), mask.expand_as(x).movedim(axis, -1)
    flat = zip(rows.reshape(-1, rows.shape[-1]), masks.reshape(-1, rows.shape[-1]), strict=True)
    picked = [row[kept] for row, kept in flat]
    best = [row.amax() if row.numel() else row.sum() for row in picked]
    result = torch.stack(best).reshape(rows.shape[:-1])
    return result.unsqueeze(axis) if keep else result


def _min(x: Tensor, axis: int, keep: bool, mask: Tensor | None) -> Tensor:
    return -reduced_max(-x, axis, keep, mask)


def _logsumexp(x: Tensor, axis: int, keep: bool, mask: Tensor | None) -> Tensor:
    largest = reduced_max(x.detach(), axis, True, mask)
    largest = torch.where(torch.isfinite(largest), largest, 0.0)
    terms = torch.exp(x - largest) if mask is None else masked_exp(x, largest, mask)
    total = terms.sum(axis, keepdim=True)
    if mask is None:
        result = largest + torch.log(total)
    else:
        empty = kept_count(x, axis, mask) == 0
        result = torch.where(empty, 0.0, largest + torch.log(torch.where(empty, 1.0, total)))
    return result if keep else result.squeeze(axis)


def masked_exp(x: Tensor, largest: Tensor, mask: Tensor) -> Tensor:
    """`exp(x - largest)` where the mask keeps, else 0; nothing outside reaches a gradient."""
    return torch.where(mask, torch.exp(torch.where(mask, x, largest) - largest), 0.0)


_NEUTRAL: Mapping[str, float] = {
    "sum": 0.0,
    "mean": 0.0,
    "var": 0.0,
    "max": float("-inf"),
    "min": float("inf"),
    "prod": 1.0,
    "logsumexp": float("-inf"),
    "argmax": float("-inf"),
    "any": 0.0,
    "all": 1.0,
}
"""The element that takes no part (in a mean but for their number)."""

_FOR_BOOLS: Mapping[Kind, str] = {
    "bool": "for bools there are any and all; sum counts the true ones"
}
_FOR_NUMBERS: Mapping[Kind, str] = {
    "float": "compare first, as in any(x > 0.0, axis=-1)",
    "int": "compare first, as in any(x > 0, axis=-1)",
}


_REDUCTIONS = (
    _Reduction(
        "sum",
        "sum",
        lambda x, axis, keep, _: x.sum(axis, keepdim=keep),
        "The sum along an axis; of bools, how many are true.",
        kinds=("float", "int", "bool", "complex"),
        result={"bool": "int"},
        fill=0.0,
    ),
    _Reduction(
        "mean",
        "mean",
        reduced_mean,
        "The mean along an axis; of a masked value, over what the mask keeps.",
        masked="masked_mean",
    ),
    _Reduction(
        "var",
        "var",
        _var,
        "The biased variance along an axis: the mean squared deviation, divided by n, not n - 1.",
        options=("correction=0",),
        masked="masked_var",
    ),
    _Reduction(
        "max",
        "amax",
        reduced_max,
        "The largest element along an axis.",
        kinds=("float", "int"),
        masked="masked_max",
        help=_FOR_BOOLS,
    ),
    _Reduction(
        "min",
        "amin",
        _min,
        "The smallest element along an axis.",
        kinds=("float", "int"),
        masked="masked_min",
        help=_FOR_BOOLS,
    ),
    _Reduction(
        "prod",
        "prod",
        lambda x, axis, keep, _: x.prod(axis, keepdim=keep),
        "The product along an axis.",
        kinds=("float", "int"),
        fill=1.0,
        help=_FOR_BOOLS,
    ),
    _Reduction(
        "logsumexp",
        "logsumexp",
        _logsumexp,
        "The logarithm of the sum of the exponentials along an axis.",
        masked="masked_logsumexp",
    ),
    _Reduction(
        "argmax",
        "argmax",
        lambda x, axis, keep, _: x.argmax(axis, keepdim=keep),
        "Where the largest element along an axis stands, counted from 0: an int.",
        kinds=("float", "int"),
        result={"float": "int"},
        fill=float("-inf"),
    ),
    _Reduction(
        "any",
        "any",
        lambda x, axis, keep, _: x.any(axis, keepdim=keep),
        "Whether any element along an axis is true.",
        kinds=("bool",),
        help=_FOR_NUMBERS,
        fill=0.0,
    ),
    _Reduction(
        "all",
        "all",
        lambda x, axis, keep, _: x.all(axis, keepdim=keep),
        "Whether all elements along an axis are true.",
        kinds=("bool",),
        help=_FOR_NUMBERS,
        fill=1.0,
    ),
)

PRIMITIVES: tuple[Primitive, ...] = tuple(Reduction(reduction) for reduction in _REDUCTIONS)
