"""Random initial values. Each has the shape of the parameter that it initialises.

The lowering calls a method of `Init` (`gabc/runtime/functional/initial.py`), which draws in float32
on the CPU. The reference draws from `args["generator"]`, made by `Init.generator`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code
from gabc.graph.static import Literal
from gabc.graph.types import TensorType
from gabc.ops.base import REQUIRED, ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.evaluated import Args, integers, number, optional_number
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    Tensor = torch.Tensor


def _number(name: str, default: float | None = None) -> Parameter:
    return Parameter(name, ArgKind.NUMBER, REQUIRED if default is None else Literal(default))


class _Random(Primitive):
    least_rank = 0
    """Parameters of fewer axes are refused."""
    creates = True

    def shape(self, call: Call) -> TensorType:
        parameter = call.parameter
        if parameter is None:
            raise call.fail(
                "GAB0115",
                f"`{self.name}` is random, and only an initialiser may be",
                help="a design is a function of its input: draw the value once, as in "
                f"`param noise: [D] = {self.name}(...)`",
            )
        if parameter.kind != "float":
            raise call.fail(
                "GAB0501", f"`{self.name}` draws floats, and the parameter is {parameter}"
            )
        if parameter.rank < self.least_rank:
            raise call.fail(
                "GAB0501",
                f"`{self.name}` needs a parameter of {self.least_rank} axes, not {parameter}",
                help="normal(std=0.02) and uniform(lo, hi) fit any shape",
            )
        return parameter

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        return {"shape": call.parameter.dims if call.parameter is not None else ()}

    def reference(self, args: Args) -> Tensor:
        generator = args["generator"]
        assert isinstance(generator, torch.Generator)
        return self.draw(args, integers(args, "shape"), generator)

    @abstractmethod
    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """The values, float32 on the CPU."""

    def lower(self, lowering: Lowering) -> Code:
        options = [
            f"{parameter.name}={lowering.code(parameter.name).text}"
            for parameter in self.parameters
            if lowering.argument(parameter.name) != parameter.default
        ]
        name, shape = f'"{lowering.parameter}"', lowering.parameter_shape
        return call_code(f"init.{self.name}", name, shape, *options)


class Normal(_Random):
    name = "normal"
    parameters = (_number("mean", 0.0), _number("std", 1.0))
    doc = "The normal distribution."

    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        standard = torch.randn(shape, generator=generator, dtype=torch.float32)
        return standard * number(args, "std") + number(args, "mean")


class Uniform(_Random):
    name = "uniform"
    parameters = (_number("lo", 0.0), _number("hi", 1.0))
    doc = "The uniform distribution on [lo, hi)."

    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return _uniform(shape, generator, number(args, "lo"), number(args, "hi"))


class Kaiming(_Random):
    name = "kaiming"
    parameters = (Parameter("fan_in", ArgKind.DIM, None),)
    doc = (
        "Uniform on (-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for a linear layer; "
        "`fan_in` is the size of the last axis unless given (He et al. 2015, arXiv 1502.01852)."
    )

    def shape(self, call: Call) -> TensorType:
        parameter = super().shape(call)
        if parameter.rank == 0 and not call.given("fan_in"):
            raise call.fail(
                "GAB0501",
                "`kaiming` scales by the last axis, and the parameter has none",
                help="give it, as in kaiming(fan_in=D)",
            )
        return parameter

    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        fan_in = optional_number(args, "fan_in")
        bound = (shape[-1] if fan_in is None else fan_in) ** -0.5
        return _uniform(shape, generator, -bound, bound)


class Xavier(_Random):
    name = "xavier"
    parameters = (_number("gain", 1.0),)
    doc = (
        "Uniform on (-a, a), a = gain * sqrt(6 / (fan_in + fan_out)), the fans being the sizes of "
        "the last two axes (Glorot and Bengio 2010, equation 16)."
    )
    least_rank = 2

    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        bound = number(args, "gain") * (6.0 / (shape[-1] + shape[-2])) ** 0.5
        return _uniform(shape, generator, -bound, bound)


class TruncatedNormal(_Random):
    name = "trunc_normal"
    parameters = (_number("std"), _number("cut", 2.0))
    doc = "The normal distribution of mean 0 and deviation `std`, cut off at `cut` deviations."

    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        # Inversion: the quantile function at a uniform point between the two tails.
        within = math.erf(number(args, "cut") / math.sqrt(2.0))
        point = torch.rand(shape, generator=generator, dtype=torch.float64)
        standard = math.sqrt(2.0) * torch.erfinv(within * (2.0 * point - 1.0))
        return (standard * number(args, "std")).float()


class Orthogonal(_Random):
    name = "orthogonal"
    parameters = (_number("gain", 1.0),)
    doc = (
        "`gain` times a uniformly random matrix with orthonormal rows or columns, whichever are "
        "fewer, in the last two axes (Saxe et al. 2013, arXiv 1312.6120)."
    )
    least_rank = 2

    def draw(self, args: Args, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        *batch, rows, columns = shape
        long, short = max(rows, columns), min(rows, columns)
        normal = torch.randn((*batch, long, short), generator=generator, dtype=torch.float64)
        # Gram-Schmidt, column by column, which is the QR factorisation with a positive diagonal.
        done: list[Tensor] = []
        for column in normal.unbind(-1):
            for earlier in done:
                column = column - (earlier * column).sum(-1, keepdim=True) * earlier
            done.append(column / torch.linalg.vector_norm(column, dim=-1, keepdim=True))
        q = torch.stack(done, -1)
        return number(args, "gain") * (q if rows >= columns else q.transpose(-2, -1)).float()


def _uniform(shape: tuple[int, ...], generator: torch.Generator, lo: float, hi: float) -> Tensor:
    return lo + (hi - lo) * torch.rand(shape, generator=generator, dtype=torch.float32)


PRIMITIVES: tuple[Primitive, ...] = (
    Normal(),
    Uniform(),
    Kaiming(),
    Xavier(),
    TruncatedNormal(),
    Orthogonal(),
)
