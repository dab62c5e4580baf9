"""Primitives by themselves: shape, reference and lowering without elaborator or code generator.

`check` holds a primitive's three rules against each other on random tensors in float64: the
declared shape and kind against those of the results, and the lowered expression, evaluated, against
the reference, in values and gradients. `refusal` is the diagnostic of a call that must be refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.static import Literal, NumberKind, Static, evaluate
from gabc.graph.types import Kind, L, TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import REQUIRED, ArgKind, Call, Evaluated, Primitive, Refused
from gabc.runtime.functional.initial import Init
from gabc.syntax.source import Source, Span

from .lowering import HELPERS, PARAMETER, Lowering

SIZES = {"B": 2, "L": 5, "D": 6, "H": 4, "G": 2, "K": 3, "V": 2, "N": 3, "M": 7, "C": 2}
_SEED, _PATH = 7, "blocks.0"


def dims(text: str) -> tuple[Dim, ...]:
    """`dims("B L H*K 1")`: names, numbers and products of them; `L/C` is ceil(L / C)."""
    return tuple(_dim(word) for word in text.split())


def _dim(word: str) -> Dim:
    above, _, below = word.partition("/")
    if below:
        return Dim.apply("ceil", _dim(above) / _dim(below))
    product = Dim.const(1)
    for factor in word.split("*"):
        product = product * (Dim.const(int(factor)) if factor.isdigit() else Dim.symbol(factor))
    return product


def size(dim: Dim) -> int:
    value = dim.evaluate(SIZES)
    assert value.denominator == 1, dim
    return value.numerator


@dataclass(frozen=True)
class T:
    """A tensor argument: its shape as in `dims`, and the range it is drawn from, or its values."""

    shape: str
    kind: Kind = "float"
    lo: float = -2.0
    hi: float = 2.0
    values: Tensor | None = None

    @property
    def type(self) -> TensorType:
        return TensorType(self.kind, dims(self.shape))

    def draw(self, generator: torch.Generator) -> Tensor:
        if self.values is not None:
            return self.values.clone()
        shape = [size(dim) for dim in self.type.dims]
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
        uniform = self.lo + (self.hi - self.lo) * uniform
        match self.kind:
            case "float":
                return uniform
            case "int":
                return uniform.floor().long()
            case "bool":
                return uniform > (self.lo + self.hi) / 2
            case "complex":
                return torch.complex(uniform, uniform.flip(0))


Given = T | Static | Dim | int | float | bool | str | None | tuple["Given", ...]


class Prover:
    """Equal and divides, decided at `SIZES` where the dims are not identical."""

    def are_equal(self, left: Dim, right: Dim) -> bool:
        return left == right

    def require_equal(self, left: Dim, right: Dim, span: Span, message: str) -> None:
        if left != right and size(left) != size(right):
            raise Refused(Diagnostic("GAB0201", message, span))

    def require_divides(self, divisor: Dim, dim: Dim, span: Span, message: str) -> None:
        if size(dim) % size(divisor):
            raise Refused(Diagnostic("GAB0203", message, span))


@dataclass
class Bound:
    """A call with the tensors that its values stand for."""

    call: Call
    tensors: Mapping[Value, Tensor]

    def evaluated(self, argument: Argument) -> Evaluated:
        match argument:
            case Value():
                return self.tensors[argument]
            case Dim():
                return size(argument)
            case tuple():
                return tuple(self.evaluated(part) for part in argument)
            case None | int() | str():
                return argument
        assert isinstance(argument, Static)
        return evaluate(argument, SIZES)


def bind(
    primitive: str | Primitive,
    args: Mapping[str, Given],
    *,
    time: Dim | None = L,
    parameter: TensorType | None = None,
    kinds: Mapping[str, NumberKind] | None = None,
    seed: int = 0,
) -> Bound:
    """The call of a primitive as the elaborator would make it, its tensors drawn at random."""
    primitive = PRIMITIVES[primitive] if isinstance(primitive, str) else primitive
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[Value, Tensor] = {}
    source = Source("test.gab", " ".join(["f", *args]))
    spans = {name: _span(source, name) for name in args}
    whole = Span(source, 0, len(source.text))

    def bound(given: object, kind: ArgKind | None) -> Argument:
        match given:
            case T():
                value = Value(given.type, whole)
                tensors[value] = given.draw(generator)
                return value
            case tuple():
                return tuple(bound(part, kind) for part in given)
            case int() | float() if kind in (ArgKind.TENSOR, ArgKind.NUMBER):
                return Literal(given)
            case str() if kind in (ArgKind.DIM, ArgKind.DIMS, ArgKind.ITEMS) and given != ":":
                return _dim(given)
            case int() if kind in (ArgKind.DIM, ArgKind.DIMS):
                return Dim.const(given)
        assert given is not REQUIRED, "an argument is missing"
        return given  # type: ignore[return-value]

    declared = {parameter.name: parameter for parameter in primitive.parameters}
    unknown = [name for name in args if name not in declared]
    assert not unknown or primitive.extra is not None, f"{primitive.name} has no {unknown}"
    arguments = {
        name: bound(args.get(name, () if parameter.variadic else parameter.default), parameter.kind)
        for name, parameter in declared.items()
    }
    arguments.update({name: bound(args[name], primitive.extra) for name in unknown})
    call = Call(primitive, arguments, spans, whole, Prover(), time, parameter, kinds or {})
    return Bound(call, tensors)


def _span(source: Source, name: str) -> Span:
    start = source.text.index(f" {name}") + 1
    return Span(source, start, start + len(name))


def reference(bound: Bound) -> tuple[Tensor, ...]:
    """The results by the reference."""
    call = bound.call
    args = {name: bound.evaluated(argument) for name, argument in call.args.items()}
    if call.primitive.creates:
        args["like"] = torch.zeros((), dtype=torch.float64)
        args["generator"] = Init(_SEED, _PATH).generator(PARAMETER)
    found = call.primitive.reference(args)
    return found if isinstance(found, tuple) else (found,)


def lowered(bound: Bound, result: tuple[TensorType, ...], *, loose: bool = False) -> str:
    """The text of the lowered expression, its tensors named `x_0`, `x_1`, ..."""
    indices = {value: index for index, value in enumerate(bound.tensors)}
    return bound.call.primitive.lower(Lowering(bound.call, result[0], indices, loose)).text


def run(code: str, bound: Bound) -> tuple[Tensor, ...]:
    """The results of a lowered expression."""
    names: dict[str, Tensor] = {}
    for index, tensor in enumerate(bound.tensors.values()):
        names[f"x_{index}"] = tensor
        names[f"a_{index}"], names[f"b_{index}"] = _parts(tensor)
    scope: dict[str, object] = {
        **HELPERS,
        **SIZES,
        **names,
        "torch": torch,
        "F": F,
        "math": math,
        "self": SimpleNamespace(training=False),
        "init": Init(_SEED, _PATH),
        "like": torch.zeros((), dtype=torch.float64),
    }
    found = eval(code, scope)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors whose sum is exactly `x`; of a bool, whose equality is."""
    if x.dtype == torch.bool:
        return ~x, torch.zeros_like(x)
    if x.dtype == torch.int64:
        return x // 2, x - x // 2
    return x * 0.5, x * 0.5


def result_types(bound: Bound) -> tuple[TensorType, ...]:
    """Also resolves the call, as the elaborator does."""
    declared = bound.call.primitive.shape(bound.call)
    bound.call = replace(
        bound.call, args={**bound.call.args, **bound.call.primitive.resolve(bound.call)}
    )
    return declared if isinstance(declared, tuple) else (declared,)


def kind_of_tensor(tensor: Tensor) -> Kind:
    if tensor.dtype == torch.bool:
        return "bool"
    if tensor.is_complex():
        return "complex"
    return "float" if tensor.is_floating_point() else "int"


def check(
    primitive: str | Primitive,
    args: Mapping[str, Given],
    *,
    time: Dim | None = L,
    parameter: TensorType | None = None,
    kinds: Mapping[str, NumberKind] | None = None,
    smooth: bool = True,
    seed: int = 0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> tuple[Tensor, ...]:
    """Hold the rules of one call against each other; returns the reference's results.

    `smooth`: compare the reference's gradients with finite differences too.
    """
    bound = bind(primitive, args, time=time, parameter=parameter, kinds=kinds, seed=seed)
    types = result_types(bound)
    inputs = [tensor for tensor in bound.tensors.values() if kind_of_tensor(tensor) == "float"]
    for tensor in inputs:
        tensor.requires_grad_()
    expected = reference(bound)
    _require_types(expected, types)
    gradients = _gradients(expected, inputs)
    for loose in (False, True):
        code = lowered(bound, types, loose=loose)
        found = run(code, bound)
        _require_types(found, types)
        pairs = [*zip(found, expected, strict=True)]
        pairs += zip(_gradients(found, inputs), gradients, strict=True)
        for actual, wanted in pairs:
            _require_close(actual, wanted, code, rtol, atol)
    if smooth and inputs and any(result.requires_grad for result in expected):
        _gradcheck(bound, inputs)
    return tuple(result.detach() for result in expected)


def _require_close(actual: Tensor, wanted: Tensor, code: str, rtol: float, atol: float) -> None:
    torch.testing.assert_close(
        actual, wanted, rtol=rtol, atol=atol, equal_nan=True, msg=lambda text: f"{code}: {text}"
    )


def _require_types(results: tuple[Tensor, ...], types: tuple[TensorType, ...]) -> None:
    for result, type_ in zip(results, types, strict=True):
        assert tuple(result.shape) == tuple(size(dim) for dim in type_.dims)
        assert kind_of_tensor(result) == type_.kind


def _gradients(results: tuple[Tensor, ...], inputs: list[Tensor]) -> list[Tensor]:
    """The gradients of a fixed random combination of the results; zeros where there is none."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for result in results:
        if result.requires_grad:
            part = torch.view_as_real(result) if result.is_complex() else result
            weight = torch.rand(part.shape, generator=generator, dtype=torch.float64)
            total = total + (part * weight).sum()
    if not total.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    found = torch.autograd.grad(total, inputs, allow_unused=True)
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    ]


def _gradcheck(bound: Bound, inputs: list[Tensor]) -> None:
    values = [value for value, tensor in bound.tensors.items() if tensor.requires_grad]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        replaced = {**bound.tensors, **dict(zip(values, tensors, strict=True))}
        results = reference(Bound(bound.call, replaced))
        return tuple(result for result in results if result.requires_grad)

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)


def refusal(
    primitive: str | Primitive,
    args: Mapping[str, Given],
    *,
    time: Dim | None = L,
    parameter: TensorType | None = None,
    kinds: Mapping[str, NumberKind] | None = None,
) -> Diagnostic:
    """The diagnostic with which the call is refused."""
    bound = bind(primitive, args, time=time, parameter=parameter, kinds=kinds)
    try:
        declared = result_types(bound)
    except Refused as refused:
        return refused.diagnostic
    raise AssertionError(f"accepted: {[str(type_) for type_ in declared]}")
