"""Softmax, and the norms of the last axis."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.pointwise import elementwise
from gabc.dependence.ranges import Range
from gabc.dependence.reductions import normalisation
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code
from gabc.graph.static import Literal
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import ZERO, Site, Work, reduction
from gabc.ops.evaluated import Args, integer, number, optional_tensor, tensor
from gabc.ops.kinds import require_kind
from gabc.ops.lift import LiftCall, along_axis, row_by_row
from gabc.ops.reductions import MASK, kept_count, masked_exp, reduced_max, reduced_mean
from gabc.ops.tiles import row_tile
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    Tensor = torch.Tensor

_X = Parameter("x", ArgKind.VALUE)
_AXIS = Parameter("axis", ArgKind.INT, -1)
_EPS = Parameter("eps", ArgKind.NUMBER, Literal(1e-5))
_WEIGHT = Parameter("weight", ArgKind.VALUE, None)
_BIAS = Parameter("bias", ArgKind.VALUE, None)


class Softmax(Primitive):
    name = "softmax"
    parameters = (_X, _AXIS, MASK)
    doc = (
        "`exp(x) / sum(exp(x))` along an axis. Of a masked value, over what the mask keeps; a row "
        "of which it keeps nothing gives zeros."
    )

    def shape(self, call: Call) -> TensorType:
        x = require_kind(call, "x", "float")
        call.axis(x)
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x, mask = call.of("x"), call.optional("mask")
        weights = normalisation(call, x, call.axis(x), neutral=float("-inf"), mask=mask)
        return replace(weights, within=Range(0.0, 1.0))

    def reference(self, args: Args) -> Tensor:
        x, axis, mask = tensor(args, "x"), integer(args, "axis"), optional_tensor(args, "mask")
        largest = reduced_max(x.detach(), axis, True, mask)
        if mask is None:
            terms = torch.exp(x - largest)
            return terms / terms.sum(axis, keepdim=True)
        terms = masked_exp(x, largest, mask)
        empty = kept_count(x, axis, mask) == 0
        return terms / torch.where(empty, 1.0, terms.sum(axis, keepdim=True))

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call)

    def cost(self, site: Site) -> Work:
        mask = site.optional("mask")
        saves = [site.outputs[0]] if site.gradients("x") else []
        if mask is None:
            return reduction(site, 5, saves)
        # The helper fills, takes the softmax and clears what is masked.
        work = reduction(site, 7, [*saves, mask] if saves else (), launches=6)
        return replace(work, extra_traffic=6 * site.result)

    def lower(self, lowering: Lowering) -> Code:
        x, axis = lowering.code("x").text, str(lowering.argument("axis"))
        if lowering.argument("mask") is None:
            return call_code("torch.softmax", x, axis)
        mask = lowering.code("mask").text
        return call_code(lowering.helper("masked_softmax"), x, mask, axis)

    def tile(self, lowering: Lowering) -> Code | None:
        return row_tile(lowering, self.name)


class LogSoftmax(Primitive):
    name = "log_softmax"
    parameters = (_X, _AXIS)
    doc = "`x - logsumexp(x)` along an axis: the logarithm of `softmax(x)`."

    def shape(self, call: Call) -> TensorType:
        x = require_kind(call, "x", "float")
        call.axis(x)
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x, least = call.of("x"), float("-inf")
        return normalisation(call, x, call.axis(x), neutral=least, becomes=least)

    def reference(self, args: Args) -> Tensor:
        x, axis = tensor(args, "x"), integer(args, "axis")
        shifted = x - x.detach().amax(axis, keepdim=True)
        return shifted - torch.log(torch.exp(shifted).sum(axis, keepdim=True))

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call)

    def cost(self, site: Site) -> Work:
        return reduction(site, 5, site.outputs if site.gradients("x") else ())

    def lower(self, lowering: Lowering) -> Code:
        axis = str(lowering.argument("axis"))
        return call_code("torch.log_softmax", lowering.code("x").text, axis)

    def tile(self, lowering: Lowering) -> Code | None:
        return row_tile(lowering, self.name)


class RMSNorm(Primitive):
    name = "rms_norm"
    parameters = (_X, _WEIGHT, _EPS)
    doc = (
        "`x / sqrt(mean(x^2) + eps) * weight` over the last axis, computed in float32 at least "
        "(Zhang and Sennrich 2019, arXiv 1910.07467, equation 4)."
    )

    def shape(self, call: Call) -> TensorType:
        return _norm_shape(call, "weight")

    def dependence(self, call: DependenceCall) -> Dependence:
        y = normalisation(call, call.of("x"), -1, neutral=0.0, counts=True)
        weight = call.optional("weight")
        return y if weight is None else elementwise([y, weight], operator.mul, absorbing=0.0)

    def reference(self, args: Args) -> Tensor:
        x, weight = tensor(args, "x"), optional_tensor(args, "weight")
        mean_square = (x * x).sum(-1, keepdim=True) / x.shape[-1]
        y = x / torch.sqrt(mean_square + number(args, "eps"))
        return y if weight is None else y * weight

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return row_by_row(call)

    def cost(self, site: Site) -> Work:
        return _norm_cost(site, 4)

    def lower(self, lowering: Lowering) -> Code:
        weight = _optional(lowering, "weight")
        codes = [lowering.code("x").text, weight, lowering.code("eps").text]
        return call_code(lowering.helper("rms_norm"), *codes)

    def tile(self, lowering: Lowering) -> Code | None:
        return row_tile(lowering, self.name)


class LayerNorm(Primitive):
    name = "layer_norm"
    parameters = (_X, _WEIGHT, _BIAS, _EPS)
    doc = (
        "`(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` over the last axis, `var` biased, "
        "computed in float32 at least (Ba et al. 2016, arXiv 1607.06450, equations 3 and 4)."
    )

    def shape(self, call: Call) -> TensorType:
        return _norm_shape(call, "weight", "bias")

    def dependence(self, call: DependenceCall) -> Dependence:
        y = normalisation(call, call.of("x"), -1, counts=True)
        affine = [call.optional(name) for name in ("weight", "bias")]
        return elementwise([y, *(value for value in affine if value is not None)])

    def reference(self, args: Args) -> Tensor:
        x = tensor(args, "x")
        weight, bias = optional_tensor(args, "weight"), optional_tensor(args, "bias")
        centred = x - reduced_mean(x, -1, True, None)
        variance = reduced_mean(centred * centred, -1, True, None)
        y = centred / torch.sqrt(variance + number(args, "eps"))
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return row_by_row(call)

    def cost(self, site: Site) -> Work:
        return _norm_cost(site, 7)

    def lower(self, lowering: Lowering) -> Code:
        codes = [
            lowering.code("x").text,
            f"({lowering.axis_size('x', -1).text},)",
            _optional(lowering, "weight"),
            _optional(lowering, "bias"),
            lowering.code("eps").text,
        ]
        return call_code("F.layer_norm", *codes)

    def tile(self, lowering: Lowering) -> Code | None:
        return row_tile(lowering, self.name)


def _optional(lowering: Lowering, name: str) -> str:
    return "None" if lowering.argument(name) is None else lowering.code(name).text


def _norm_cost(site: Site, flops: int) -> Work:
    """One fused kernel that keeps its operand and the statistics of each row."""
    x = site.value("x")
    work = reduction(site, flops, (x,) if site.gradients() else ())
    rows = site.elements(x) / site.dims(x)[-1]
    return replace(work, saved=rows * (flops // 3) if site.gradients() else ZERO)


def _norm_shape(call: Call, *affine: str) -> TensorType:
    x = require_kind(call, "x", "float")
    norm = call.primitive.name
    if x.rank == 0:
        raise call.fail("GAB0202", f"`{norm}` normalises the last axis, and `x` has none", at="x")
    width = x.dims[-1]
    for name in affine:
        if not call.given(name):
            continue
        type_ = require_kind(call, name, "float")
        if type_.rank != 1:
            raise call.fail(
                "GAB0202",
                f"the {name} of `{norm}` has one axis, that of the last one of `x`; it is {type_}",
                at=name,
                help=f"leave it out and write {norm}(x) {'*' if name == 'weight' else '+'} {name}, "
                "which broadcasts",
                expected=f"[{width}]",
                actual=str(type_),
            )
        call.require_equal(
            width,
            type_.dims[0],
            f"the {name} of `{norm}` is {type_}, and the last axis of `x` is `{width}`",
            at=name,
        )
    return x


PRIMITIVES: tuple[Primitive, ...] = (Softmax(), LogSoftmax(), RMSNorm(), LayerNorm())
