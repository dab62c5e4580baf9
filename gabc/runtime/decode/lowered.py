"""Single operations as functions: the code that `lower` writes for them, made callable.

A decoder runs the same torch functions as the compiled module, one operation at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.codegen.helpers import import_lines
from gabc.codegen.lowering import NodeLowering
from gabc.codegen.statics import dim_code, literal_code, number_code
from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import Node, Value
from gabc.graph.pycode import Code
from gabc.graph.static import NumberKind, Static, StaticValue
from gabc.ops import PRIMITIVES

Environment: TypeAlias = Mapping[str, StaticValue]
Operation: TypeAlias = "Callable[[list[Tensor], Environment, Tensor], tuple[Tensor, ...]]"
"""Operands in the order of `Node.operands` without repeats, sizes by name, and a float tensor whose
precision and device new tensors take."""


class _Scope:
    """Operands are `v0, v1, ...`; names known at the scale are numbers, others are looked up."""

    def __init__(self, node: Node, instance: Instance) -> None:
        self.names = {v: f"v{i}" for i, v in enumerate(dict.fromkeys(node.operands()))}
        self.instance = instance
        self.helpers: dict[str, None] = {}
        self.time: Dim | None = None

    def code(self, value: Value) -> Code:
        return Code(self.names[value])

    def static(self, static: Static) -> Code:
        return number_code(static, self._resolve, self.require)

    def dim(self, dim: Dim) -> Code:
        return dim_code(dim, self._resolve, self.require, self._kinds)

    def require(self, name: str) -> str:
        self.helpers[name] = None
        return name

    def like(self) -> Code:
        return Code("like")

    def _resolve(self, name: str) -> str:
        value = self.instance.env.get(name)
        return f"sizes[{name!r}]" if name not in self.instance.env else literal_code(value)

    @property
    def _kinds(self) -> dict[str, NumberKind]:
        env = self.instance.env
        return {name: "float" for name, value in env.items() if isinstance(value, float)}


def lowered(node: Node, instance: Instance) -> Operation:
    """The operation as a function of its operands."""
    if node.op == "dropout":
        return lambda operands, sizes, like: (operands[0],)
    scope = _Scope(node, instance)
    code = PRIMITIVES[node.op].lower(NodeLowering(node, scope)).text
    result = code if len(node.outputs) > 1 else f"({code},)"
    arguments = ", ".join(scope.names.values())
    unpacked = f"    {arguments}, = operands\n" if arguments else ""
    text = f"def operation(operands, sizes, like):\n{unpacked}    return {result}\n"
    namespace: dict[str, object] = {
        "math": math,
        "torch": torch,
        "F": F,
        "self": SimpleNamespace(training=False),
    }
    exec("\n".join(import_lines(scope.helpers)), namespace)
    exec(compile(text, f"<gabc.decode.{node.op}>", "exec"), namespace)
    return cast(Operation, namespace["operation"])


@cache
def helper(name: str) -> Callable[..., object]:
    """A function of `gabc.runtime.functional`, or its kernel."""
    namespace: dict[str, Callable[..., object]] = {}
    exec("\n".join(import_lines([name])), namespace)
    return namespace[name]
