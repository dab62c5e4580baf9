"""Triangular systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.triangular import solved
from gabc.dims import Dim
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import ZERO, Kept, Site, Work, grows
from gabc.ops.evaluated import tensor
from gabc.ops.kinds import require_kind
from gabc.ops.structure import broadcast_dims
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated


class SolveLower(Primitive):
    name = "solve_lower"
    parameters = (Parameter("a", ArgKind.VALUE), Parameter("b", ArgKind.VALUE))
    doc = (
        "The `x` with `a @ x = b` for a lower triangular `a` [..., C, C] and `b` [..., C, M]. "
        "What stands above the diagonal is not read."
    )

    def shape(self, call: Call) -> TensorType:
        a, b = require_kind(call, "a", "float"), require_kind(call, "b", "float")
        if a.rank < 2 or b.rank < 2:
            raise call.fail(
                "GAB0202",
                f"`solve_lower` needs matrices, and is given {a} and {b}",
                at="a" if a.rank < 2 else "b",
                help="write `b[:, None]` for a single right-hand side",
            )
        rows, columns = a.dims[-2:]
        square = f"`solve_lower` needs a square matrix: `{rows}` and `{columns}` differ in {a}"
        call.require_equal(rows, columns, square, "a")
        fits = f"`solve_lower` is given {a} and {b}: `{columns}` and `{b.dims[-2]}` differ"
        call.require_equal(columns, b.dims[-2], fits, "b")
        message = f"`solve_lower` is given {a} and {b}"
        leading = broadcast_dims(call, a.dims[:-2], b.dims[:-2], message)
        return TensorType("float", (*leading, *b.dims[-2:]))

    def dependence(self, call: DependenceCall) -> Dependence:
        return solved(call, call.of("a"), call.of("b"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        a, b = tensor(args, "a"), tensor(args, "b")
        rows: list[torch.Tensor] = []
        for place in range(a.shape[-1]):
            known = b[..., place, :]
            for column, row in enumerate(rows):
                known = known - a[..., place, column, None] * row
            rows.append(known / a[..., place, place, None])
        return torch.stack(torch.broadcast_tensors(*rows), dim=-2)  # type: ignore[no-untyped-call]

    def cost(self, site: Site) -> Work:
        a, b, x = site.value("a"), site.value("b"), site.outputs[0]
        flops = site.result * site.dims(a)[-1]
        # Backward: one more triangular system, and a matrix product for the gradient of `a`.
        return Work(
            matmul_backward=2 * flops if site.has_gradient(a) else ZERO,
            pointwise=flops,
            pointwise_backward=flops if site.gradients() else ZERO,
            launches=Dim.const(2),
            saves=(a, x) if site.gradients() else (),
            keeps=(Kept(b, site.per_row(b)),) if grows(site.dims(a)[-1]) else (),
        )

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("a", "b")]
        return call_code(lowering.helper("solve_lower"), *codes)


PRIMITIVES: tuple[Primitive, ...] = (SolveLower(),)
