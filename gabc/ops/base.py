"""What a primitive is: all its rules in one class.

A primitive is admitted only with its rules: shape, dependence, cost, reference, lowering to PyTorch
and, where it works along time, `memory` and `stream`. `dependence`, what a result depends on, is
what `gabc.check.causality` proves designs causal from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.pointwise import elementwise
from gabc.diagnostics.model import Diagnostic, Fix
from gabc.dims import Dim
from gabc.graph.block_axis import block_stride
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.static import NumberKind, Static, kind_of
from gabc.graph.types import LEADING, L, TensorType
from gabc.ops.cost import Site, Work, pointwise
from gabc.ops.evaluated import Evaluated
from gabc.ops.lift import LiftCall
from gabc.ops.lift import elementwise as lift_elementwise
from gabc.ops.streaming import Memory, StreamCall
from gabc.syntax.source import Span

if TYPE_CHECKING:
    import torch


class ArgKind(Enum):
    """What may stand for a parameter, and what the bound argument then is."""

    TENSOR = auto()  # a tensor or a static number, which broadcasts: Value | Static
    VALUE = auto()  # a tensor: Value
    VALUES = auto()  # a list of tensors: tuple[Value, ...]
    NUMBER = auto()  # a static number, or None if the default is None: Static | None
    DIM = auto()  # a size: Dim, or None if the default is None
    DIMS = auto()  # a list of sizes, or several positional ones: tuple[Dim, ...]
    INT = auto()  # a static int known at elaboration: int
    FLAG = auto()  # bool
    TEXT = auto()  # str
    ITEMS = auto()  # the items of a subscript, see `gabc.ops.subscript`


class _Required(Enum):
    REQUIRED = auto()


REQUIRED = _Required.REQUIRED


@dataclass(frozen=True, slots=True)
class Parameter:
    """`variadic` takes all remaining positional arguments (only for DIMS and VALUES).

    A `hidden` one is bound by the compiler (see `Primitive.fills`). `is_positive`: a NUMBER > 0.
    """

    name: str
    kind: ArgKind
    default: Static | int | bool | str | _Required | None = REQUIRED
    keyword_only: bool = False
    variadic: bool = False
    hidden: bool = False
    is_positive: bool = False


class Refused(Exception):
    """A primitive refuses its arguments. Caught where the call is elaborated."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Prover(Protocol):
    """What a shape rule may ask: an open question is noted, a refuted one raises `Refused`."""

    def require_equal(self, left: Dim, right: Dim, span: Span, message: str) -> None: ...

    def require_divides(self, divisor: Dim, dim: Dim, span: Span, message: str) -> None: ...

    def are_equal(self, left: Dim, right: Dim) -> bool:
        """Proved equal (not: merely possible)."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a primitive with bound arguments, as its shape rule sees it.

    `time` is the dim of the time axis: `L`, the chunk's size in a chunked scan, none in a scan.
    `parameter` is the type of the parameter whose initialiser this is, `None` outside initialisers.
    `kinds` says what the unit's static names are; one that is not in it is a dim, an int.
    """

    primitive: Primitive
    args: Mapping[str, Argument]
    spans: Mapping[str, Span]
    span: Span
    prover: Prover
    time: Dim | None
    parameter: TensorType | None = None
    kinds: Mapping[str, NumberKind] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        argument = self.args[name]
        assert isinstance(argument, Value)
        return argument

    def values(self, name: str) -> tuple[Value, ...]:
        argument = self.args[name]
        assert isinstance(argument, tuple)
        return tuple(part for part in argument if isinstance(part, Value))

    def type(self, name: str) -> TensorType:
        """The type of a tensor argument; a static number is a scalar `[]` of its own kind."""
        argument = self.args[name]
        if isinstance(argument, Value):
            return argument.type
        assert isinstance(argument, Static)
        return TensorType(kind_of(argument, self.kinds), ())

    def dim(self, name: str) -> Dim:
        argument = self.args[name]
        assert isinstance(argument, Dim)
        return argument

    def dims(self, name: str) -> tuple[Dim, ...]:
        argument = self.args[name]
        assert isinstance(argument, tuple)
        return tuple(part for part in argument if isinstance(part, Dim))

    def integer(self, name: str) -> int:
        argument = self.args[name]
        assert isinstance(argument, int)
        return argument

    def text(self, name: str) -> str:
        argument = self.args[name]
        assert isinstance(argument, str)
        return argument

    def flag(self, name: str) -> bool:
        argument = self.args[name]
        assert isinstance(argument, bool)
        return argument

    def given(self, name: str) -> bool:
        """Whether the argument (or an extra keyword) stands in the call and is not `none`."""
        return self.args.get(name) is not None

    def span_of(self, name: str) -> Span:
        """Where the argument stands; the whole call if it was left out."""
        return self.spans.get(name, self.span)

    def fail(
        self,
        code: str,
        message: str,
        *,
        at: str | None = None,
        help: str = "",
        expected: str = "",
        actual: str = "",
        fixes: tuple[Fix, ...] = (),
    ) -> Refused:
        """The refusal to raise; `at` names the argument to point at."""
        span = self.span if at is None else self.span_of(at)
        return Refused(
            Diagnostic(
                code, message, span, help=help, expected=expected, actual=actual, fixes=fixes
            )
        )

    def axis(self, of: TensorType, name: str = "axis") -> int:
        """The axis argument, counted from 0; refused if `of` has no such axis (GAB0204).

        A type that begins with `...` has its named axes at the end: they are counted from there.
        """
        axis = self.integer(name)
        if of.dims[:1] == (LEADING,) and not -of.rank < axis < 0:
            raise self.fail(
                "GAB0204",
                f"an axis of {of} is counted from the end, and `{axis}` is none of the named ones",
                at=name if name in self.spans else None,
                help="name every axis in the type of `forward`, or use a negative axis",
            )
        if not -of.rank <= axis < of.rank:
            raise self.fail(
                "GAB0204",
                f"`{self.primitive.name}` has no axis {axis}: the value is {of}",
                at=name if name in self.spans else None,
                help=f"axes run from {-of.rank} to {of.rank - 1}",
            )
        return axis % of.rank

    def time_axis(self, of: TensorType, at: str = "x", counts_blocks: bool = True) -> int:
        """The one axis of `of` that is the time axis; refused (GAB0204) if there is none.

        Where no axis counts positions, one that counts `blocks` of them is the time axis, unless
        `counts_blocks` is false.
        """
        if self.time is not None:
            for axis, dim in enumerate(of.dims):
                if self.prover.are_equal(dim, self.time):
                    return axis
        if counts_blocks and self.time == L:
            for axis, dim in enumerate(of.dims):
                if block_stride(dim, L) is not None:
                    return axis
        raise self.fail(
            "GAB0204",
            f"`{self.primitive.name}` works along the time axis, and {of} has none here",
            at=at,
            help="inside `scan` one step has no time axis"
            if self.time is None
            else f"the time axis here is `{self.time}`",
        )

    def require_equal(self, left: Dim, right: Dim, message: str, at: str | None = None) -> None:
        span = self.span if at is None else self.span_of(at)
        self.prover.require_equal(left, right, span, message)

    def require_divides(self, divisor: Dim, dim: Dim, message: str, at: str | None = None) -> None:
        span = self.span if at is None else self.span_of(at)
        self.prover.require_divides(divisor, dim, span, message)

    def broadcast(self, names: Sequence[str]) -> tuple[Dim, ...]:
        """NumPy's broadcasting, but only a literal unit axis stretches (GAB0201)."""
        types = [(name, self.type(name)) for name in names]
        rank = max(type_.rank for _, type_ in types)
        result: list[Dim] = []
        for position in range(-rank, 0):
            dim = Dim.const(1)
            for _, type_ in types:
                if -position > type_.rank or type_.dims[position].is_one:
                    continue
                if dim.is_one:
                    dim = type_.dims[position]
                    continue
                other = type_.dims[position]
                if dim == other:
                    continue
                shapes = " and ".join(str(t) for _, t in types if t.rank)
                self.require_equal(
                    dim,
                    other,
                    f"cannot broadcast {shapes}: `{dim}` and `{other}` differ at axis {position}",
                )
            result.append(dim)
        return tuple(result)


class Lowering(Protocol):
    """What a lowering rule may ask of the code generator."""

    @property
    def result(self) -> TensorType: ...

    @property
    def time(self) -> Dim | None: ...

    def argument(self, name: str) -> Argument: ...

    def given(self, name: str) -> bool:
        """As `Call.given`."""
        ...

    def type(self, name: str) -> TensorType:
        """As `Call.type`."""
        ...

    def code(self, name: str) -> Code:
        """A tensor, number or dim argument as Python."""
        ...

    def codes(self, name: str) -> list[Code]:
        """A list argument (VALUES, DIMS) as Python, item by item."""
        ...

    def dim(self, dim: Dim) -> Code:
        """A size as a Python int expression; `B` and `L` are made available where needed."""
        ...

    def axis_size(self, name: str, axis: int) -> Code:
        """The size of one axis of a tensor argument, by its dim."""
        ...

    def helper(self, name: str) -> str:
        """Make a function of `gabc.runtime.functional` available; returns the name to call."""
        ...

    def like(self) -> Code | None:
        """A float tensor in scope whose device and dtype a new tensor takes.

        `None` in an initialiser: there new tensors are torch's default, float32 on the CPU.
        """
        ...

    @property
    def parameter(self) -> str:
        """The name of the parameter being initialised; `init`, an `Init`, is in scope there."""
        ...

    @property
    def parameter_shape(self) -> str:
        """That parameter's shape: `self.weight.shape`."""
        ...


class Primitive(ABC):
    """One operation of the language. Instances are stateless and stand in `gabc.ops.PRIMITIVES`."""

    name: str
    parameters: tuple[Parameter, ...]
    synonyms: Mapping[str, str] = {"dim": "axis", "keepdim": "keep"}
    """PyTorch's names for our parameters: accepted with a fix."""
    extra: ArgKind | None = None
    """What keywords that are no parameters are bound as, under their own names; `None`: refused."""
    doc: str
    """What it computes, one or two sentences, for the language reference."""
    creates: bool = False
    """The reference gets also `like`, a float tensor with the dtype and device of new ones, and in
    an initialiser `generator`, which `Init.generator` makes."""
    internal: bool = False
    """Made by the compiler (operators, `fill`): no name an author can call."""
    fills: Mapping[str, float] = {}
    """What stands outside the mask of a masked value, by the tensor parameter that receives it."""
    keeps_mask: bool = False
    """The result of a masked value is masked again, by the conjunction of the operands' masks."""
    # A masked value meets, in this order: a hidden parameter `mask` (the mask of `x`; a row without
    # any valid element gives zeros), `fills`, `keeps_mask`; otherwise it is refused.

    @abstractmethod
    def shape(self, call: Call) -> TensorType | tuple[TensorType, ...]:
        """The type of the result, or of each result. Raises `Refused`."""

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        """What follows from an accepted call and later stages need, such as which axis is time.

        Joins the node's `args`, in place of what was bound under the same names.
        """
        return {}

    def cost(self, site: Site) -> Work:
        """What one evaluation costs in the lowered form; `gabc.ops.cost` has the conventions."""
        return pointwise(site)

    def dependence(self, call: DependenceCall) -> Dependence | tuple[Dependence, ...]:
        """Which positions and rows each result depends on; here each element on its own.

        May say too much, never too little.
        """
        return elementwise(call.tensors())

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        """The arguments that do at all positions [B, L, ...] what these do at one, [B, ...].

        Here: of what treats every element alike, and so keeps masks. Raises `CannotLift`.
        """
        if not self.keeps_mask:
            raise call.fail("has no form for all positions at once")
        return lift_elementwise(call)

    def memory(self, args: Mapping[str, Argument]) -> Memory | None:
        """How it goes on with a sequence; `None` without a rule, as what treats positions alike."""
        return None

    def stream(self, call: StreamCall) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The results at the next positions; asked only of what has a `memory`."""
        raise NotImplementedError(f"`{self.name}` keeps no memory of a sequence")

    @abstractmethod
    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The meaning, in plain torch at the precision of its inputs (float64 in the interpreter).

        Independent of `lower`: where the lowering calls a fused function, this spells it out.
        """

    @abstractmethod
    def lower(self, lowering: Lowering) -> Code:
        """One Python expression on torch tensors."""

    def tile(self, lowering: Lowering) -> Code | None:
        """One Triton expression on float32 tiles; `None`: not in generated kernels."""
        return None


def call_code(function: str, *args: str) -> Code:
    """`function(args...)`."""
    return Code(f"{function}({', '.join(args)})", Precedence.ATOM)
