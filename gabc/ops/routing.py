"""The sum of experts' results over those that each token chose.

Authors write `route(experts, x, scores, top=k)`: calls of all experts, of which this takes the sum.
Generated code gives each expert only the tokens that chose it (`gabc.codegen.routing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.bounds import ONE
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Axis, Dependence, Extent
from gabc.dependence.moves import moved, renaming
from gabc.dependence.pointwise import elementwise
from gabc.dependence.reductions import normalisation, spread
from gabc.dims import Dim
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.bounds import require_at_most
from gabc.ops.cost import ZERO, Site, Work, log2
from gabc.ops.cost import tensors as operands_of
from gabc.ops.evaluated import flag, integer, tensor, tensors
from gabc.ops.kinds import require_kind
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

_UNIT = Axis(Extent.STATIC, ONE)


class RoutedSum(Primitive):
    name = "routed_sum"
    parameters = (
        Parameter("xs", ArgKind.VALUES),
        Parameter("scores", ArgKind.VALUE),
        Parameter("top", ArgKind.DIM, keyword_only=True),
        Parameter("normalise", ArgKind.FLAG, False, keyword_only=True),
    )
    doc = (
        "The sum of `scores[..., e] * xs[e]` over the `top` largest scores; of equal scores the "
        "one with the lower index is chosen (Shazeer et al. 2017, arXiv 1701.06538, equation 1)."
    )
    internal = True
    fills: Mapping[str, float] = {"scores": float("-inf")}

    def shape(self, call: Call) -> TensorType:
        values, scores = call.values("xs"), require_kind(call, "scores", "float", symbol="route")
        first = values[0].type
        if scores.rank < 2 or scores.rank > first.rank:
            raise call.fail(
                "GAB0202",
                f"`route` needs scores for each token and expert, as [B, L, {len(values)}], and is "
                f"given {scores} for results {first}",
                at="scores",
            )
        for value in values:
            if value.type.kind != "float" or value.type.rank != first.rank:
                raise call.fail(
                    "GAB0109",
                    f"`route` sums its experts' results, and they are {first} and {value.type}",
                    at="experts",
                    help="all experts return floats of one shape",
                )
            for left, right in zip(first.dims, value.type.dims, strict=True):
                differ = f"`route` sums {first} and {value.type}: `{left}` and `{right}` differ"
                call.require_equal(left, right, differ, "experts")
        tokens = zip(scores.dims[:-1], first.dims, strict=False)
        for left, right in tokens:
            differ = f"`route` is given {scores} for {first}: `{left}` and `{right}` differ"
            call.require_equal(left, right, differ, "scores")
        number = scores.dims[-1]
        if number.as_int() not in (None, len(values)):
            raise call.fail(
                "GAB0201",
                f"`route` has {len(values)} experts, and the scores are {scores}",
                at="scores",
            )
        top = call.dim("top")
        require_at_most(
            call, top, number, "GAB0209", f"`route` is asked for the {top} best experts", "top"
        )
        return first

    def dependence(self, call: DependenceCall) -> Dependence:
        """Each token's own experts' results, weighted by what all its scores decide."""
        scores, xs = call.of("scores"), call.all("xs")
        chosen = normalisation(call, scores, -1, neutral=float("-inf"))
        weights = spread(call, replace(chosen, fills=()), -1)
        later = xs[0].rank - (weights.rank - 1)
        axes = (*weights.axes[:-1], *(_UNIT,) * later)
        # The axis of the experts goes; the tokens' axes stand in front of the features'.
        names = {axis: axis + 1 - later for axis in range(-32, -1)}
        weights = moved(weights, axes, renaming(names))
        return replace(elementwise([weights, *xs]), axes=call.results[0])

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        xs, scores = tensors(args, "xs"), tensor(args, "scores")
        mine, other = scores.unsqueeze(-1), scores.unsqueeze(-2)
        place = torch.arange(len(xs), device=scores.device)
        before = (other > mine) | ((other == mine) & (place[None, :] < place[:, None]))
        chosen = (before.sum(-1) < integer(args, "top")) & (scores > float("-inf"))
        weights = torch.where(chosen, scores, 0.0)
        if flag(args, "normalise"):
            weights = weights / weights.sum(-1, keepdim=True)
        later = (1,) * (xs[0].dim() - (scores.dim() - 1))
        total = torch.zeros_like(xs[0])
        for expert, x in enumerate(xs):
            shape = (*scores.shape[:-1], *later)
            # Selected before it is weighted: an expert that was not chosen may be infinite.
            taken = torch.where(chosen[..., expert].reshape(shape), x, 0.0)
            total = total + weights[..., expert].reshape(shape) * taken
        return total

    def cost(self, site: Site) -> Work:
        """Of the sparse form: `top` rows of each token are gathered, weighted and added."""
        scores, xs = site.value("scores"), tuple(operands_of(site.args["xs"]))
        top, number = site.size_of("top"), Dim.const(len(xs))
        rows = site.result * top
        choosing = site.elements(scores) * log2(number)
        learns = site.gradients("scores") or any(map(site.has_gradient, xs))
        # Of what the experts return only the chosen rows are there; gathering moves them again.
        absent = site.result * (number - top)
        return Work(
            pointwise=choosing + 2 * rows,
            pointwise_backward=2 * rows if learns else ZERO,
            launches=Dim.const(8 + 6 * len(xs)),
            # The results and their weighted form; indices, weights and what was chosen.
            saved=2 * rows + 3 * site.elements(scores) if learns else ZERO,
            extra_traffic=4 * rows - absent,
        )

    def lower(self, lowering: Lowering) -> Code:
        """Of results that are there anyway; see `gabc.codegen.routing`."""
        parts = ", ".join(code.text for code in lowering.codes("xs"))
        codes = [f"[{parts}]", lowering.code("scores").text, lowering.code("top").text]
        if lowering.argument("normalise"):
            codes.append("normalise=True")
        return call_code(lowering.helper("routed_sum"), *codes)


PRIMITIVES: tuple[Primitive, ...] = (RoutedSum(),)
