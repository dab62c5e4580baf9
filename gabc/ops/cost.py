"""What a primitive's cost rule is given and says: counts as polynomials in the sizes of the call.

Conventions. A matrix product of [m, k] and [k, n] is 2 m k n FLOPs, as in torch's
`FlopCounterMode`; a pointwise operation is one FLOP for each element of its result, whatever the
function; moving data is none. Backward, a matrix product costs itself once more for each operand
with a gradient, and so does a pointwise operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.graph.nodes import Argument, Value
from gabc.graph.types import ONE, Kind

ZERO = Dim.const(0)

LOG_LENGTH = Dim.symbol("log2(L)")
"""Stands in polynomials for the logarithm of the length, which no polynomial in L is."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a decoder keeps of a value: so many elements for each row of the batch.

    Where several operations keep the past of one value, the largest part serves them all.
    """

    value: Value
    elements: Dim


@dataclass(frozen=True, slots=True)
class Work:
    """One evaluation of a primitive on a whole batch.

    `matmul` are the FLOPs of matrix products and convolutions that run, `skipped` those among them
    that a mask known in advance makes unnecessary. `launches` are kernels of the eager lowering.
    `saves` are operands and results that the backward pass keeps, `saved` the elements it keeps
    besides, `extra_traffic` the elements moved besides operands and results. A `view` shares its
    first operand's memory.
    """

    matmul: Dim = ZERO
    matmul_backward: Dim = ZERO
    pointwise: Dim = ZERO
    pointwise_backward: Dim = ZERO
    skipped: Dim = ZERO
    launches: Dim = ONE
    saves: tuple[Value, ...] = ()
    saved: Dim = ZERO
    extra_traffic: Dim = ZERO
    keeps: tuple[Kept, ...] = ()
    is_view: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """An operation as its cost rule sees it; all sizes are in the names of the analysis."""

    args: Mapping[str, Argument]
    outputs: tuple[Value, ...]
    resolve: Callable[[Dim], Dim]
    elements: Callable[[Value], Dim]
    has_gradient: Callable[[Value], bool]

    def value(self, name: str) -> Value:
        argument = self.args[name]
        assert isinstance(argument, Value)
        return argument

    def optional(self, name: str) -> Value | None:
        argument = self.args.get(name)
        return argument if isinstance(argument, Value) else None

    def operands(self) -> Iterator[Value]:
        """The tensors among the arguments, in order."""
        for argument in self.args.values():
            yield from tensors(argument)

    def size_of(self, name: str) -> Dim:
        """A size given as an argument."""
        argument = self.args[name]
        assert isinstance(argument, Dim)
        return self.resolve(argument)

    def integer(self, name: str) -> int:
        argument = self.args[name]
        assert isinstance(argument, int)
        return argument

    def dims(self, value: Value) -> tuple[Dim, ...]:
        return tuple(self.resolve(dim) for dim in value.type.dims)

    @property
    def result(self) -> Dim:
        """The elements of all results."""
        return sum((self.elements(value) for value in self.outputs), ZERO)

    def gradients(self, *names: str) -> int:
        """How many of these tensor arguments (of all, if none is named) get a gradient."""
        values = [self.optional(name) for name in names] if names else list(self.operands())
        return sum(value is not None and self.has_gradient(value) for value in values)

    def per_row(self, value: Value, axis: int | None = None) -> Dim:
        """The elements of a row of the batch; at one place of `axis`, if that is given."""
        dims = list(self.dims(value))
        if axis is not None:
            del dims[axis % len(dims)]
        return product(dims).substitute({"B": ONE})


def tensors(argument: Argument) -> Iterator[Value]:
    """The tensors in an argument, in order."""
    if isinstance(argument, Value):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from tensors(part)


def grows(dim: Dim) -> bool:
    """Whether a size depends on the length of the sequence."""
    return "L" in dim.symbols()


def log2(dim: Dim) -> Dim:
    """The binary logarithm, rounded up for a constant; `LOG_LENGTH` for what grows with L."""
    number = dim.as_int()
    return LOG_LENGTH if number is None else Dim.const(max(1, (number - 1).bit_length()))


def pointwise(site: Site, flops: int = 1, saves: Iterable[Value] = (), launches: int = 1) -> Work:
    """An operation that treats every element of its result alike."""
    count = site.result * flops
    return Work(
        pointwise=count,
        pointwise_backward=count * site.gradients(),
        launches=Dim.const(launches),
        saves=tuple(saves),
        keeps=tuple(_keys_of_pairs(site)),
    )


def _keys_of_pairs(site: Site) -> Iterator[Kept]:
    """Where queries meet keys by broadcasting, a decoder keeps the keys.

    The first of the result's two time axes is the query's, as in `causal`. What has no batch axis
    can be computed again.
    """
    dims = site.dims(site.outputs[0])
    times = [place - len(dims) for place, dim in enumerate(dims) if grows(dim)]
    if len(times) < 2:
        return
    query = times[0]
    for value in site.operands():
        own = site.dims(value)
        has_query = -query <= len(own) and not own[query].is_one
        if not has_query and any(map(grows, own)) and any("B" in d.symbols() for d in own):
            yield Kept(value, site.per_row(value))


def reduction(site: Site, flops: int = 1, saves: Iterable[Value] = (), launches: int = 1) -> Work:
    """An operation that reads every element of `x` `flops` times."""
    count = site.elements(site.value("x")) * flops
    return Work(
        pointwise=count,
        pointwise_backward=count * site.gradients("x"),
        launches=Dim.const(launches),
        saves=tuple(saves),
    )


def view(_: Site) -> Work:
    """Another look at the same memory."""
    return Work(launches=ZERO, is_view=True)


def copy(_: Site, launches: int = 1) -> Work:
    """New memory, no arithmetic."""
    return Work(launches=Dim.const(launches))


def bytes_of(kind: Kind, float_bytes: int) -> int:
    """The bytes of one element."""
    return {"bool": 1, "int": 8, "float": float_bytes, "complex": 2 * float_bytes}[kind]
