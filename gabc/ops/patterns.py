"""`rearrange`, `repeat`, `reduce`: axes by name, moved, split, merged, made and dropped."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.regroup import regrouped, regrouped_sum
from gabc.dims import Dim
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive
from gabc.ops.cost import Site, Work, copy, reduction, view
from gabc.ops.evaluated import integer, tensor, text
from gabc.ops.lift import LiftCall
from gabc.ops.lift import pattern as lifted_pattern
from gabc.ops.method_chain import MethodChain
from gabc.ops.patterns_parse import Axis, PatternFault, Side, letters, parse_pattern
from gabc.ops.patterns_solve import (
    Plan,
    all_names,
    expand,
    nearest,
    read_pattern,
    refuse,
    refuse_cuts,
    refuse_dropped,
    refuse_unknown,
    require_sizes,
    solve,
)
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

_REDUCTIONS = {"sum": "sum", "mean": "mean", "max": "amax", "min": "amin", "prod": "prod"}
"""Torch's method for each reduction."""


_NEUTRAL = {
    "sum": 0.0,
    "mean": 0.0,
    "max": float("-inf"),
    "min": float("inf"),
    "prod": 1.0,
}


def _sides(pattern: str, rank: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The letters of each axis on the left and on the right, for a tensor of this rank."""
    expanded = expand(parse_pattern(pattern), [rank])
    left, right = expanded.inputs[0], expanded.output
    return [axis.names for axis in left], [axis.names for axis in right]


class _OneTensor(Primitive):
    """`x` and a pattern; the sizes of axes are given by keyword."""

    parameters: tuple[Parameter, ...] = (
        Parameter("x", ArgKind.VALUE),
        Parameter("pattern", ArgKind.TEXT),
    )
    extra = ArgKind.DIM

    def plan(self, call: Call) -> Plan:
        """The solved pattern, with its obligations stated. Raises `Refused`."""
        type_ = call.type("x")
        pattern = read_pattern(call, [type_])
        names = [*all_names(pattern.inputs[0]), *all_names(pattern.output)]
        own = {parameter.name for parameter in self.parameters}
        given = {name: call.dim(name) for name in call.args if name not in own}
        for name in given:
            if name not in names:
                close = nearest(name, names)
                raise call.fail(
                    "GAB0106",
                    f"`{name}` is given a size, but the pattern `{call.text('pattern')}` "
                    "has no such axis",
                    at=name,
                    help=f"did you mean `{close}`?" if close else "",
                )
        try:
            plan = solve(pattern, type_.dims, given)
        except PatternFault as fault:
            refuse(call, fault.message, fault.start, fault.end, fault.help)
        self.check_letters(call, plan)
        refuse_cuts(call, plan)
        require_sizes(call, plan, type_.dims, given)
        return plan

    @abstractmethod
    def check_letters(self, call: Call, plan: Plan) -> None:
        """Refuse letters that this primitive does not allow on one side alone."""

    def shape(self, call: Call) -> TensorType:
        plan = self.plan(call)
        return call.type("x").with_dims(tuple(_size(axis, plan.sizes) for axis in plan.right))

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return {**call.all(), "pattern": lifted_pattern(call, (call.value("x"),))}

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return regrouped(call, x, *_sides(call.text("pattern"), x.rank))


class Rearrange(_OneTensor):
    name = "rearrange"
    doc = (
        'Splits, moves and merges axes by name: `rearrange(x, "b l (h k) -> b h l k", k=K)`. '
        "In each group one size may be left out."
    )

    def check_letters(self, call: Call, plan: Plan) -> None:
        left, right = all_names(plan.left), all_names(plan.right)
        for letter in letters(plan.right):
            if letter.name not in left:
                missing = [name for name in left if name not in right]
                refuse_unknown(call, letter, missing, "to make a new axis use `repeat`")
        for letter in letters(plan.left):
            if letter.name not in right:
                refuse_dropped(call, letter, "to drop an axis use `reduce`, or an index")

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, left, right, _ = _separated(args)
        order = [left.index(name) for name in all_names(right)]
        return _joined(x.permute(order), right)

    def cost(self, site: Site) -> Work:
        return view(site)

    def lower(self, lowering: Lowering) -> Code:
        names = _names(lowering)
        chain = MethodChain(lowering.code("x"), len(names.left))
        _arrange(chain, _split(chain, names, lowering), names)
        _merge(chain, names.right)
        return chain.code


class Repeat(_OneTensor):
    name = "repeat"
    doc = (
        "`rearrange` that also makes axes, along which the value repeats: "
        '`repeat(x, "b l g k -> b l (g r) k", r=R)`.'
    )

    def check_letters(self, call: Call, plan: Plan) -> None:
        left, right = all_names(plan.left), all_names(plan.right)
        for letter in letters(plan.left):
            if letter.name not in right:
                refuse_dropped(call, letter, "to drop an axis use `reduce`, or an index")
        for letter in letters(plan.right):
            if letter.name in left:
                continue
            if letter.name not in plan.sizes:
                refuse_unknown(call, letter, [], f"give the new axis its size: `{letter.name}=...`")
            if plan.sizes[letter.name].symbols() & {"B", "L"}:
                raise call.fail(
                    "GAB0207",
                    f"`repeat` cannot make the axis `{letter.name}` of size "
                    f"`{plan.sizes[letter.name]}`",
                    at=letter.name,
                    help="a value without a batch or time axis broadcasts: "
                    "index it with `None` and add, multiply or `concat` to it",
                )

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, left, right, _ = _separated(args)
        target = all_names(right)
        x = x.permute([left.index(name) for name in target if name in left])
        for place, name in enumerate(target):
            if name not in left:
                x = torch.stack([x] * integer(args, name), dim=place)
        return _joined(x, right)

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        names = _names(lowering)
        chain = MethodChain(lowering.code("x"), len(names.left))
        present = _split(chain, names, lowering)
        new = [name for name in names.target if name not in present and not _is_unit(name)]
        interleaved = _interleaved(names.right, new)
        if interleaved is not None:
            groups = list(names.right)
            groups[interleaved] = groups[interleaved][:-1]
            _arrange(chain, present, replace(names, right=groups))
            _merge(chain, groups)
            times = lowering.dim(names.sizes[new[0]]).text
            chain.call("repeat_interleave", times, f"dim={chain.axis(interleaved)}")
            return chain.code
        target = names.target
        if target[: len(new)] == new:  # `expand` makes leading axes by itself
            _arrange(chain, present, replace(names, right=[(name,) for name in target[len(new) :]]))
        else:
            _arrange(chain, present, names)
        if new:
            chain.expand([lowering.dim(names.sizes[n]).text if n in new else "-1" for n in target])
        _merge(chain, names.right)
        return chain.code


class Reduce(_OneTensor):
    name = "reduce"
    parameters = (*_OneTensor.parameters, Parameter("op", ArgKind.TEXT))
    doc = (
        "`rearrange` that also drops axes by `op`, one of sum, mean, max, min, prod: "
        '`reduce(x, "b l (h k) -> b l h", "mean", h=H)`.'
    )

    def check_letters(self, call: Call, plan: Plan) -> None:
        left, right = all_names(plan.left), all_names(plan.right)
        for letter in letters(plan.right):
            if letter.name not in left:
                missing = [name for name in left if name not in right]
                refuse_unknown(call, letter, missing, "`reduce` makes no axes, `repeat` does")

    def shape(self, call: Call) -> TensorType:
        op, kind = call.text("op"), call.type("x").kind
        if op not in _REDUCTIONS:
            close = nearest(op, _REDUCTIONS)
            raise call.fail(
                "GAB0109",
                f"`reduce` cannot reduce by `{op}`",
                at="op",
                help=f"did you mean `{close}`?" if close else "",
                expected=", ".join(_REDUCTIONS),
                actual=op,
            )
        allowed = {"mean": ("float", "complex"), "max": ("float", "int", "bool")}
        allowed["min"] = allowed["max"]
        if kind not in allowed.get(op, (kind,)):
            raise call.fail(
                "GAB0109",
                f"`reduce` cannot take the {op} of {call.type('x')}",
                at="x",
                help="`f32(x)` makes it a float" if op == "mean" else "take `abs` or a real part",
            )
        type_ = super().shape(call)
        # As in torch, sums and products of bools count.
        return type_.with_kind("int") if kind == "bool" and op in ("sum", "prod") else type_

    def dependence(self, call: DependenceCall) -> Dependence:
        x, op = call.of("x"), call.text("op")
        left, right = _sides(call.text("pattern"), x.rank)
        return regrouped_sum(call, x, left, right, _NEUTRAL[op], counts=op == "mean")

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, left, right, sizes = _separated(args)
        kept = all_names(right)
        dropped = [name for name in left if name not in kept]
        x = x.permute([left.index(name) for name in (*kept, *dropped)])
        x = x.reshape([*(sizes[name] for name in kept), -1])
        match text(args, "op"):
            case "sum":
                reduced = x.sum(-1)
            case "mean":
                reduced = x.sum(-1) / x.shape[-1]
            case "max":
                reduced = x.amax(-1)
            case "min":
                reduced = x.amin(-1)
            case _:
                reduced = x.prod(-1)
        return _joined(reduced, right)

    def cost(self, site: Site) -> Work:
        is_linear = site.args["op"] in ("sum", "mean")
        saves = () if is_linear or not site.gradients() else (site.value("x"), site.outputs[0])
        return reduction(site, saves=saves)

    def lower(self, lowering: Lowering) -> Code:
        op = lowering.argument("op")
        assert isinstance(op, str)
        names = _names(lowering)
        chain = MethodChain(lowering.code("x"), len(names.left))
        present = _split(chain, names, lowering)
        dropped = [place for place, name in enumerate(present) if name not in names.target]
        if dropped:
            keep = _keeps_places(present, names)
            chain.reduce(_REDUCTIONS[op], dropped, keep=keep)
            if keep:
                return chain.code
        _arrange(chain, [name for name in present if name in names.target], names)
        _merge(chain, names.right)
        return chain.code


# ---- references: reshape to one axis per letter, permute, reshape


def _separated(
    args: Mapping[str, Evaluated],
) -> tuple[torch.Tensor, list[str], Side, dict[str, int]]:
    """x with one axis per letter, the letters in order, the right side, and the letters' sizes."""
    x = tensor(args, "x")
    pattern = expand(parse_pattern(text(args, "pattern")), [x.dim()])
    sizes: dict[str, int] = {}
    for axis, size in zip(pattern.inputs[0], x.shape, strict=True):
        unknown = [name for name in axis.names if name not in args]
        for name in axis.names:
            if name in args:
                sizes[name] = integer(args, name)
                size //= sizes[name]
        if unknown:
            sizes[unknown[0]] = size
    left = all_names(pattern.inputs[0])
    return x.reshape([sizes[name] for name in left]), left, pattern.output, sizes


def _joined(x: torch.Tensor, right: Side) -> torch.Tensor:
    """Merge an axis per letter into the right side's axes."""
    shape: list[int] = []
    place = 0
    for axis in right:
        product = 1
        for _ in axis.letters:
            product *= x.shape[place]
            place += 1
        shape.append(product)
    return x.reshape(shape)


# ---- lowering: the same by the shortest chain of method calls

Groups = list[tuple[str, ...]]
"""One side: the names of each axis's letters. Unit axes are named `1.0`, `1.1`, ..."""


@dataclass(frozen=True, slots=True)
class _Names:
    left: Groups
    right: Groups
    sizes: Mapping[str, Dim]

    @property
    def target(self) -> list[str]:
        return [name for group in self.right for name in group]


def _names(lowering: Lowering) -> _Names:
    text_ = lowering.argument("pattern")
    assert isinstance(text_, str)
    pattern = parse_pattern(text_)
    given: dict[str, Dim] = {}
    for name in (*all_names(pattern.inputs[0]), *all_names(pattern.output)):
        if lowering.given(name):
            size = lowering.argument(name)
            assert isinstance(size, Dim)
            given[name] = size
    plan = solve(pattern, lowering.type("x").dims, given)
    return _Names(_groups(plan.left), _groups(plan.right), plan.sizes)


def _groups(side: Side) -> Groups:
    units = count()
    return [axis.names or (f"1.{next(units)}",) for axis in side]


def _is_unit(name: str) -> bool:
    return name.startswith("1.")


def _split(chain: MethodChain, names: _Names, lowering: Lowering) -> list[str]:
    """Split the left side's groups, drop its unit axes that do not stay; the axes that are left."""
    present: list[str] = []
    for place, group in reversed(list(enumerate(names.left))):
        if len(group) > 1:
            chain.split(place, [lowering.dim(names.sizes[name]).text for name in group])
        elif _is_unit(group[0]) and group[0] not in names.target:
            chain.squeeze(place)
            continue
        present[:0] = group
    return present


def _arrange(chain: MethodChain, present: list[str], names: _Names) -> None:
    """Permute the axes that are present and add the unit axes that are new."""
    chain.permute([present.index(name) for name in names.target if name in present])
    for place, name in enumerate(names.target):
        if name not in present:
            chain.unsqueeze(place)


def _merge(chain: MethodChain, right: Groups) -> None:
    for place in reversed(range(len(right))):
        if len(right[place]) > 1:
            chain.merge(sum(len(group) for group in right[:place]), len(right[place]))


def _interleaved(right: Groups, new: list[str]) -> int | None:
    """The place of the group `(g r)` that ends in the only new letter `r`."""
    for place, group in enumerate(right):
        if len(group) > 1 and [group[-1]] == new:
            return place
    return None


def _keeps_places(present: list[str], names: _Names) -> bool:
    """Whether the right side is the left one with a unit axis for each dropped letter."""
    return len(present) == len(names.right) == len(names.target) and all(
        name == own or (_is_unit(name) and name not in present)
        for own, name in zip(present, names.target, strict=True)
    )


def _size(axis: Axis, sizes: Mapping[str, Dim]) -> Dim:
    product = Dim.const(1)
    for name in axis.names:
        product = product * sizes[name]
    return product


PRIMITIVES: tuple[Primitive, ...] = (Rearrange(), Repeat(), Reduce())
