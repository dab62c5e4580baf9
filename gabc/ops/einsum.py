"""`einsum`: products of tensors, summed over the axes that the output does not name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from string import ascii_letters
from typing import TYPE_CHECKING

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Axis, Dependence
from gabc.dependence.reductions import Factor, contraction
from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, Refused, call_code
from gabc.ops.cost import ZERO, Kept, Site, Work, grows
from gabc.ops.evaluated import tensors, text
from gabc.ops.kinds import BOOL_TO_NUMBER, INT_TO_FLOAT
from gabc.ops.lift import LiftCall
from gabc.ops.lift import pattern as lifted_pattern
from gabc.ops.method_chain import MethodChain
from gabc.ops.patterns_parse import Letter, Pattern, parse_pattern
from gabc.ops.patterns_solve import (
    all_names,
    expand,
    pattern_span,
    read_pattern,
    refuse,
    refuse_unknown,
)
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated


class Einsum(Primitive):
    name = "einsum"
    parameters = (
        Parameter("pattern", ArgKind.TEXT),
        Parameter("xs", ArgKind.VALUES, variadic=True),
    )
    doc = (
        "The product of tensors with axes matched by name, summed over the names that the output "
        'leaves out: `einsum("b h k, b h k v -> b h v", q, S)`.'
    )
    fills: Mapping[str, float] = {"xs": 0.0}

    def shape(self, call: Call) -> TensorType:
        values = call.values("xs")
        if not values:
            raise call.fail("GAB0107", "`einsum` needs a tensor for each part of its pattern")
        types = [value.type for value in values]
        pattern = expand(read_pattern(call, types), [type_.rank for type_ in types])
        _refuse_groups(call, pattern)
        _require_numbers(call, values)
        sizes: dict[str, tuple[Dim, int]] = {}
        for number, (side, type_) in enumerate(zip(pattern.inputs, types, strict=True)):
            for axis, dim in zip(side, type_.dims, strict=True):
                if axis.letters:
                    _match(call, sizes, axis.letters[0], dim, number)
                elif not dim.is_one:
                    refuse(
                        call,
                        f"`1` stands for an axis of size `{dim}`",
                        axis.start,
                        axis.end,
                        "give the axis a name",
                    )
        if len(sizes) > len(ascii_letters):
            raise call.fail(
                "GAB0701",
                f"`einsum` takes at most {len(ascii_letters)} axis names, not {len(sizes)}",
                at="pattern",
            )
        dims = []
        for axis in pattern.output:
            for letter in axis.letters:
                if letter.name not in sizes:
                    refuse_unknown(call, letter, sizes, "the output is made of the inputs' axes")
            dims.append(sizes[axis.names[0]][0] if axis.letters else Dim.const(1))
        return TensorType(types[0].kind, tuple(dims))

    def dependence(self, call: DependenceCall) -> Dependence:
        xs = call.all("xs")
        pattern = expand(parse_pattern(call.text("pattern")), [x.rank for x in xs])
        places = {
            axis.names[0]: place - len(pattern.output)
            for place, axis in enumerate(pattern.output)
            if axis.letters
        }
        dropped: dict[int, Axis] = {}
        factors = []
        for x, side in zip(xs, pattern.inputs, strict=True):
            names: dict[int, int] = {}
            for place, axis in enumerate(side):
                if axis.letters:
                    letter = axis.names[0]
                    name = places.setdefault(letter, len(dropped) + 1)
                    names[place - len(side)] = name
                    if name > 0:
                        dropped[name] = x.axes[place]
            factors.append(Factor(x, names))
        return contraction(call, factors, call.results[0], dropped)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        xs = tensors(args, "xs")
        pattern = expand(parse_pattern(text(args, "pattern")), [x.dim() for x in xs])
        output = all_names(pattern.output)
        operands = [
            (x.reshape([n for n, axis in zip(x.shape, side, strict=True) if axis.letters]), names)
            for x, side, names in zip(
                xs, pattern.inputs, map(all_names, pattern.inputs), strict=True
            )
        ]
        product, names = operands[0]
        for place, (x, other) in enumerate(operands[1:], start=2):
            later = {name for _, rest in operands[place:] for name in rest}
            product, names = _multiply(product, names, x, other, [*output, *later])
        dropped = [axis for axis, name in enumerate(names) if name not in output]
        if dropped:
            product = product.sum(dropped)
        names = [name for name in names if name in output]
        product = product.permute([names.index(name) for name in output])
        shape = iter(product.shape)
        return product.reshape([next(shape) if axis.letters else 1 for axis in pattern.output])

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        xs = call.args["xs"]
        assert isinstance(xs, tuple)
        values = tuple(x for x in xs if isinstance(x, Value))
        return {**call.all(), "pattern": lifted_pattern(call, values)}

    def cost(self, site: Site) -> Work:
        values = list(site.operands())
        written = site.args["pattern"]
        assert isinstance(written, str)
        pattern = expand(parse_pattern(written), [value.type.rank for value in values])
        sides = [all_names(side) for side in pattern.inputs]
        sizes: dict[str, Dim] = {}
        for side, value in zip(pattern.inputs, values, strict=True):
            for axis, dim in zip(side, site.dims(value), strict=True):
                sizes.update({letter.name: dim for letter in axis.letters})
        output = all_names(pattern.output)
        total = _total([_step(sizes, *step, site) for step in _steps(sides, output, values)])
        if len(values) == 1:
            total = Work(pointwise=site.elements(values[0]))
        # An operand is kept for the gradient of another, or of itself in another place.
        saves = [v for v in values if site.gradients() > site.has_gradient(v)]
        query = next((name for name in output if grows(sizes[name])), None)
        keeps = tuple(
            Kept(value, site.per_row(value))
            for names, value in zip(sides, values, strict=True)
            if query is not None and query not in names and any(grows(sizes[n]) for n in names)
        )
        return replace(total, saves=tuple(saves), keeps=keeps)

    def lower(self, lowering: Lowering) -> Code:
        written = lowering.argument("pattern")
        values = lowering.argument("xs")
        assert isinstance(written, str)
        assert isinstance(values, tuple)
        pattern = parse_pattern(written)
        symbols = _symbols([name for side in pattern.inputs for name in all_names(side)])
        ranks = [value.type.rank for value in values if isinstance(value, Value)]
        expanded = expand(pattern, ranks)
        operands: list[str] = []
        for side, code in zip(expanded.inputs, lowering.codes("xs"), strict=True):
            chain = MethodChain(code, len(side))
            for place, axis in reversed(list(enumerate(side))):
                if not axis.letters:
                    chain.squeeze(place)
            operands.append(chain.text if chain.rank < len(side) else code.text)
        inputs = ",".join("".join(symbols[n] for n in all_names(side)) for side in pattern.inputs)
        output = "".join(symbols[name] for name in all_names(pattern.output))
        result = MethodChain(
            call_code("torch.einsum", f'"{inputs}->{output}"', *operands),
            len(all_names(expanded.output)),
        )
        for place, axis in enumerate(expanded.output):
            if not axis.letters:
                result.unsqueeze(place)
        return result.code


def _steps(
    sides: list[list[str]], output: list[str], values: list[Value]
) -> Iterator[tuple[list[str], list[str], list[str], list[Value], Value]]:
    """The products of two, from left to right as torch takes them.

    For each: the names on the left, on the right and of the product, the tensors that have gone
    into the left, and the one on the right. A name that no one else has is summed out beforehand.
    """
    left = sides[0]
    for place, right in enumerate(sides[1:], start=1):
        later = {*output, *(name for side in sides[place + 1 :] for name in side)}
        kept = [name for name in dict.fromkeys((*left, *right)) if name in later]
        both = [name for name in left if name in right]
        a = [name for name in left if name in both or name in later]
        b = [name for name in right if name in both or name in later]
        yield a, b, kept, values[:place], values[place]
        left = kept


def _step(
    sizes: Mapping[str, Dim],
    left: list[str],
    right: list[str],
    kept: list[str],
    before: list[Value],
    value: Value,
    site: Site,
) -> Work:
    """One product: of matrices if a name is summed over, else element by element.

    Torch takes a sum over an axis of size 1 for none.
    """
    names = dict.fromkeys((*left, *right))
    count = product(sizes[name] for name in names)
    gradients = any(map(site.has_gradient, before)) + site.has_gradient(value)
    intermediate = product(sizes[name] for name in left) if len(before) > 1 else ZERO
    saved = intermediate if site.has_gradient(value) else ZERO
    if all(name in kept or sizes[name].is_one for name in names):
        return Work(pointwise=count, pointwise_backward=count * gradients, saved=saved)
    return Work(
        matmul=2 * count,
        matmul_backward=2 * count * gradients,
        saved=saved,
        extra_traffic=2 * intermediate,
    )


def _total(steps: list[Work]) -> Work:
    return Work(
        matmul=sum((step.matmul for step in steps), ZERO),
        matmul_backward=sum((step.matmul_backward for step in steps), ZERO),
        pointwise=sum((step.pointwise for step in steps), ZERO),
        pointwise_backward=sum((step.pointwise_backward for step in steps), ZERO),
        launches=Dim.const(max(1, len(steps))),
        saved=sum((step.saved for step in steps), ZERO),
        extra_traffic=sum((step.extra_traffic for step in steps), ZERO),
    )


def _match(
    call: Call, sizes: dict[str, tuple[Dim, int]], letter: Letter, dim: Dim, number: int
) -> None:
    """Bind the letter, or require the size it has already (GAB0201)."""
    if letter.name not in sizes:
        sizes[letter.name] = (dim, number)
        return
    other, first = sizes[letter.name]
    name = letter.name if letter.name.isidentifier() else "..."
    span = pattern_span(call, letter.start, letter.start + len(name))
    message = (
        f"`{name}` is `{other}` in {_operand(call, first)} and `{dim}` in {_operand(call, number)} "
        f"(position {letter.start + 1} of the pattern)"
    )
    if other.is_one != dim.is_one:
        raise Refused(
            Diagnostic(
                "GAB0201",
                message,
                span,
                help="a unit axis does not stretch in `einsum`: write `1` for it, or leave it out "
                "by indexing it with 0",
                expected=str(other),
                actual=str(dim),
            )
        )
    call.prover.require_equal(other, dim, span, message)


def _operand(call: Call, number: int) -> str:
    value = call.values("xs")[number]
    named = f" (`{value.name}`)" if value.name else ""
    return f"operand {number + 1}{named} {value.type}"


def _refuse_groups(call: Call, pattern: Pattern) -> None:
    for side in (*pattern.inputs, pattern.output):
        for axis in side:
            if len(axis.letters) > 1:
                refuse(
                    call,
                    "`einsum` neither splits nor merges axes",
                    axis.start,
                    axis.end,
                    "use `rearrange` before or after it",
                )


def _require_numbers(call: Call, values: Sequence[Value]) -> None:
    for number, value in enumerate(values):
        kind = value.type.kind
        if kind in ("bool", "int"):
            raise call.fail(
                "GAB0109",
                f"`einsum` multiplies floats, and {_operand(call, number)} is none",
                at="xs",
                help=BOOL_TO_NUMBER if kind == "bool" else INT_TO_FLOAT,
            )
        if kind != values[0].type.kind:
            raise call.fail(
                "GAB0109",
                f"`einsum` is given {_operand(call, 0)} and {_operand(call, number)}: "
                "floats and complex numbers do not mix in it",
                at="xs",
            )


def _multiply(
    a: torch.Tensor, a_names: list[str], b: torch.Tensor, b_names: list[str], needed: Sequence[str]
) -> tuple[torch.Tensor, list[str]]:
    """The product of two tensors as one batched matrix product, summed over what no one needs."""
    a, a_names = _sum_unneeded(a, a_names, [*b_names, *needed])
    b, b_names = _sum_unneeded(b, b_names, [*a_names, *needed])
    batch = [name for name in a_names if name in b_names and name in needed]
    inner = [name for name in a_names if name in b_names and name not in needed]
    rows = [name for name in a_names if name not in b_names]
    columns = [name for name in b_names if name not in a_names]
    size = dict(zip((*a_names, *b_names), (*a.shape, *b.shape), strict=True))

    def count(names: list[str]) -> int:
        return math.prod(size[name] for name in names)

    left = a.permute([a_names.index(name) for name in (*batch, *rows, *inner)])
    right = b.permute([b_names.index(name) for name in (*batch, *inner, *columns)])
    product = left.reshape(count(batch), count(rows), count(inner)) @ right.reshape(
        count(batch), count(inner), count(columns)
    )
    names = [*batch, *rows, *columns]
    return product.reshape([size[name] for name in names]), names


def _sum_unneeded(
    x: torch.Tensor, names: list[str], needed: Sequence[str]
) -> tuple[torch.Tensor, list[str]]:
    dropped = [axis for axis, name in enumerate(names) if name not in needed]
    return (x.sum(dropped) if dropped else x), [name for name in names if name in needed]


def _symbols(names: Sequence[str]) -> dict[str, str]:
    """One character for each name: its own if it has one letter, else its first if that is free."""
    symbols = {name: name for name in names if len(name) == 1 or name == "..."}
    for name in names:
        if name not in symbols:
            wishes = (name[0], name[0].upper(), *ascii_letters)
            symbols[name] = next(c for c in wishes if c not in symbols.values())
    return symbols


PRIMITIVES: tuple[Primitive, ...] = (Einsum(),)
