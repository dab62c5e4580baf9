"""Which operations a generated kernel can compute, and why the others cannot be part of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gabc.dims import Dim
from gabc.elaborate.gradient import DERIVATIVES
from gabc.elaborate.gradient_tape import NoRule
from gabc.graph.nodes import Argument, Node, Value
from gabc.graph.pycode import Code
from gabc.graph.static import Apply, Ref, Static, names
from gabc.graph.types import TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.tiles import ROW_FUNCTIONS
from gabc.passes.derive import backward_of

ROW_REDUCTIONS = frozenset(ROW_FUNCTIONS)
"""What reads whole rows; at most one of them is in a group."""

_KINDS: Mapping[str, str] = {
    "call": "a call of a unit",
    "param": "a parameter",
    "coalesce": "a Z read",
    **dict.fromkeys(("matmul", "einsum"), "a matrix product"),
    **dict.fromkeys(("scan", "linear_scan", "max_plus_scan"), "a scan along time"),
    **dict.fromkeys(("linear_attention", "delta_rule", "delta_product"), "a scan along time"),
    "attend": "attention",
    **dict.fromkeys(("rearrange", "index", "repeat", "split"), "a view that regroups axes"),
    **dict.fromkeys(("concat", "stack", "set_index"), "a copy that joins tensors"),
    **dict.fromkeys(("shift", "causal_conv", "long_conv", "cumsum"), "mixing along time"),
    "dropout": "random",
    "routed_sum": "routing",
}


def described(node: Node) -> str:
    """What an operation is, for messages: `einsum (a matrix product)`."""
    if node.op == "call":
        return f"{getattr(node.args['child'], 'name', 'child')} ({_KINDS['call']})"
    what = _KINDS.get(node.op)
    return f"`{node.op}`" if what is None else f"`{node.op}` ({what})"


def why_not(node: Node) -> str:
    """Why an operation is in no generated kernel whatever stands beside it; empty if it may be."""
    primitive = PRIMITIVES.get(node.op)
    if primitive is None or node.region is not None or len(node.outputs) != 1:
        return described(node)
    values = list(node.operands())
    kinds = {value.type.kind for value in (*values, node.output)}
    if not values or primitive.tile(_Probe(node)) is None:
        return described(node)
    if not kinds <= {"float", "bool"}:
        return f"`{node.op}` of {'ints' if 'int' in kinds else 'complex numbers'}"
    if not _has_backward(node):
        return f"`{node.op}` has no derivative in a kernel"
    widest = max((value.type for value in values), key=lambda type_: type_.rank)
    if not widest.rank:
        return f"`{node.op}` of single numbers"
    if "L" in widest.dims[-1].symbols():
        return f"rows of `{widest.dims[-1]}` grow with the sequence"
    return ""


def _has_backward(node: Node) -> bool:
    """Whether its derivative is made of operations that a kernel can compute."""
    if node.output.type.kind == "bool" or node.op == "detach":
        return True
    if node.op not in DERIVATIVES:
        return False
    floats = list(dict.fromkeys(v for v in node.operands() if v.type.kind == "float"))
    try:
        backward = backward_of([node], [node.output], floats)
    except NoRule:
        return False
    return all(PRIMITIVES[made.op].tile(_Probe(made)) is not None for made in backward.nodes)


def numbers_of(node: Node) -> list[Static]:
    """The static numbers of an operation that have names in them: arguments of its kernel."""
    return [
        argument
        for argument in node.args.values()
        if isinstance(argument, (Ref, Apply)) and any(names(argument))
    ]


@dataclass(frozen=True, slots=True)
class _Probe:
    """Asks a primitive whether it has a Triton text; what stands in it does not matter."""

    node: Node

    @property
    def result(self) -> TensorType:
        return self.node.output.type

    @property
    def time(self) -> Dim | None:
        return None

    @property
    def parameter(self) -> str:
        raise AssertionError("no initialiser")

    @property
    def parameter_shape(self) -> str:
        raise AssertionError("no initialiser")

    def argument(self, name: str) -> Argument:
        return self.node.args.get(name)

    def given(self, name: str) -> bool:
        return self.node.args.get(name) is not None

    def type(self, name: str) -> TensorType:
        argument = self.node.args[name]
        return argument.type if isinstance(argument, Value) else TensorType("float", ())

    def code(self, name: str) -> Code:
        return Code("x")

    def codes(self, name: str) -> list[Code]:
        return []

    def dim(self, dim: Dim) -> Code:
        return Code("n")

    def axis_size(self, name: str, axis: int) -> Code:
        return Code("n")

    def helper(self, name: str) -> str:
        return name

    def like(self) -> Code | None:
        return Code("x")
