"""Causal convolutions along time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.dependence.bounds import ONE, number
from gabc.dependence.call import DependenceCall
from gabc.dependence.convolution import convolved, long_convolved
from gabc.dependence.domain import Dependence
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import (
    ArgKind,
    Call,
    Lowering,
    Parameter,
    Primitive,
    call_code,
)
from gabc.ops.cost import ZERO, Kept, Site, Work, grows, log2
from gabc.ops.evaluated import integer, optional_tensor, tensor
from gabc.ops.kinds import require_kind
from gabc.ops.sequence import AlongTime, X, axis_option
from gabc.ops.streaming import Memory, StreamCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated


MAX_DILATION = 2**16
"""The zeros before the start of the sequence take memory: (K - 1) * dilation positions."""


class CausalConv(AlongTime):
    name = "causal_conv"
    parameters = (
        X,
        Parameter("w", ArgKind.VALUE),
        Parameter("bias", ArgKind.VALUE, None),
        Parameter("dilation", ArgKind.INT, 1, keyword_only=True),
    )
    doc = (
        "Depthwise convolution over the present and the K - 1 positions before it: `x` [B, L, C], "
        "`w` [C, K], `bias` [C]. `w[..., K - 1]` multiplies the present position."
    )

    def shape(self, call: Call) -> TensorType:
        x, w = require_kind(call, "x", "float"), require_kind(call, "w", "float")
        channels = x.dims[call.time_axis(x) + 1 :]
        if w.rank != len(channels) + 1:
            shape = ", ".join([*map(str, channels), "K"])
            raise call.fail(
                "GAB0202",
                f"`causal_conv` of {x} needs weights [{shape}], not {w}",
                at="w",
                help="one row of K taps for each channel",
                expected=f"[{shape}]",
                actual=str(w),
            )
        _require_channels(call, "w", w, x)
        if call.given("bias"):
            bias = require_kind(call, "bias", "float")
            if bias.rank != len(channels):
                raise call.fail(
                    "GAB0202", f"the bias {bias} has not the axes of the channels of {x}", at="bias"
                )
            _require_channels(call, "bias", bias, x)
        if not 1 <= call.integer("dilation") <= MAX_DILATION:
            raise call.fail(
                "GAB0209" if call.integer("dilation") < 1 else "GAB0701",
                f"the dilation lies between 1 and {MAX_DILATION}, not at "
                f"{call.integer('dilation')}",
                at="dilation",
            )
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x, w = call.of("x"), call.of("w")
        taps = w.axes[-1].size
        assert taps is not None, "a filter has a size"
        reach = (taps - ONE) * number(call.integer("dilation"))
        return convolved(call, x, call.axis(x), w, call.optional("bias"), reach)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, w, bias = tensor(args, "x"), tensor(args, "w"), optional_tensor(args, "bias")
        dilation, axis = integer(args, "dilation"), integer(args, "axis")
        positions = x.unbind(axis)
        taps = w.shape[-1]
        results = []
        for now in range(len(positions)):
            total = torch.zeros_like(positions[0])
            for tap in range(taps):
                source = now - (taps - 1 - tap) * dilation
                if source >= 0:
                    total = total + positions[source] * w[..., tap]
            results.append(total if bias is None else total + bias)
        return torch.stack(results, dim=axis)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        w, dilation = args["w"], args["dilation"]
        assert isinstance(w, Value)
        assert isinstance(dilation, int)
        return Memory(("x",), rings={"x": (w.type.dims[-1] - 1) * dilation})

    def stream(self, call: StreamCall) -> torch.Tensor:
        w, bias = tensor(call.args, "w"), optional_tensor(call.args, "bias")
        x, dilation = call.past("x"), integer(call.args, "dilation")
        windows = x.unfold(1, (w.shape[-1] - 1) * dilation + 1, 1)[..., ::dilation]
        y = (windows * w).sum(-1)
        return y if bias is None else y + bias

    def cost(self, site: Site) -> Work:
        x, w, axis = site.value("x"), site.value("w"), site.integer("axis")
        taps = site.dims(w)[-1]
        flops = 2 * site.result * taps
        past = (taps - 1) * site.integer("dilation")
        per_position = site.elements(x) / site.dims(x)[axis]
        padded = site.elements(x) + per_position * past
        kept = Kept(x, site.per_row(x, axis) * past)
        return Work(
            matmul=flops,
            matmul_backward=flops * site.gradients("x", "w"),
            launches=Dim.const(3),
            saved=padded if site.gradients() else ZERO,
            extra_traffic=4 * padded,
            keeps=(kept,) if grows(site.dims(x)[axis]) else (),
        )

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "w")]
        if lowering.given("bias"):
            codes.append(lowering.code("bias").text)
        dilation = lowering.argument("dilation")
        if dilation != 1:
            codes.append(f"dilation={dilation}")
        return call_code(lowering.helper("causal_conv"), *codes, *axis_option(lowering))


class LongConv(AlongTime):
    name = "long_conv"
    parameters = (X, Parameter("h", ArgKind.VALUE))
    doc = (
        "Causal convolution with a filter as long as the sequence, by FFT: `x` [B, L, C], `h` "
        "[C, L], of which `h[..., j]` multiplies the position j steps back."
    )

    def shape(self, call: Call) -> TensorType:
        x, h = require_kind(call, "x", "float"), require_kind(call, "h", "float")
        axis = call.time_axis(x, counts_blocks=False)
        channels = x.dims[axis + 1 :]
        if h.rank != len(channels) + 1:
            shape = ", ".join([*map(str, channels), str(x.dims[axis])])
            raise call.fail(
                "GAB0202",
                f"`long_conv` of {x} needs a filter [{shape}], not {h}",
                at="h",
                help="the filter's last axis is the lag",
                expected=f"[{shape}]",
                actual=str(h),
            )
        _require_channels(call, "h", h, x)
        message = (
            f"the filter {h} must be as long as {x}: `{h.dims[-1]}` and `{x.dims[axis]}` differ"
        )
        call.require_equal(h.dims[-1], x.dims[axis], message, "h")
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return long_convolved(call, x, call.axis(x), call.of("h"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, h, axis = tensor(args, "x"), tensor(args, "h"), integer(args, "axis")
        positions = x.unbind(axis)
        results = []
        for now in range(len(positions)):
            total = torch.zeros_like(positions[0])
            for source in range(now + 1):
                total = total + positions[source] * h[..., now - source]
            results.append(total)
        return torch.stack(results, dim=axis)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory(("x", "h"), caches={"x": None, "h": None}, by_row=True)

    def stream(self, call: StreamCall) -> torch.Tensor:
        """A product of all positions with all lags for one new position, else by FFT."""
        new = tensor(call.args, "x")
        dtype = torch.promote_types(new.dtype, torch.float32)
        x, h = call.past("x").to(dtype), call.past("h").to(dtype)
        length, count = x.shape[1], new.shape[1]
        h = h.reshape(*h.shape[:2], *(1,) * (x.dim() - h.dim()), *h.shape[2:])
        if count == 1:
            return (x * h.flip(1)).sum(1, keepdim=True).to(new.dtype)
        size = 2 * length  # room for the tail, which would otherwise wrap around to the start
        spectrum = torch.fft.rfft(x, size, dim=1) * torch.fft.rfft(h, size, dim=1)
        y: torch.Tensor = torch.fft.irfft(spectrum, size, dim=1)
        return y[:, length - count : length].to(new.dtype)

    def cost(self, site: Site) -> Work:
        # Three transforms of twice the length, each 2.5 n log2 n real operations, and a product.
        x, h, axis = site.value("x"), site.value("h"), site.integer("axis")
        length = site.dims(x)[axis]
        signals, filters = site.elements(x), site.elements(h)
        transforms = 5 * (2 * signals + filters) * (log2(length) + 1)
        spectra = 2 * (signals + filters)  # complex, for half the frequencies
        flops = transforms + 6 * signals
        return Work(
            pointwise=flops,
            pointwise_backward=flops * site.gradients(),
            launches=Dim.const(5),
            saved=spectra if site.gradients() else ZERO,
            extra_traffic=2 * spectra + 4 * signals,
            keeps=(Kept(x, site.per_row(x)), Kept(h, site.per_row(h))) if grows(length) else (),
        )

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "h")]
        return call_code(lowering.helper("long_conv"), *codes, *axis_option(lowering))


def _require_channels(call: Call, name: str, type_: TensorType, x: TensorType) -> None:
    """The leading axes of the weights are the channels of `x`, the axes after time (GAB0201)."""
    channels = x.dims[call.time_axis(x) + 1 :]
    for dim, channel in zip(type_.dims, channels, strict=False):
        message = (
            f"`{name}` {type_} does not fit the channels of {x}: `{dim}` and `{channel}` differ"
        )
        call.require_equal(dim, channel, message, name)


PRIMITIVES: tuple[Primitive, ...] = (CausalConv(), LongConv())
