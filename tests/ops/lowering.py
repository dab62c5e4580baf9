"""What a lowering rule asks of the code generator, answered for a call by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.static import Static, render
from gabc.graph.types import TensorType
from gabc.ops.base import Call
from gabc.runtime import functional

PARAMETER = "weight"
"""The parameter that an initialiser initialises."""


@dataclass(frozen=True)
class Lowering:
    """Tensors are the variables `x_0`, `x_1`, ...; `loose` writes them as `a_0 + b_0`.

    A sum needs brackets wherever it may not stand bare. Implements `gabc.ops.base.Lowering`.
    """

    call: Call
    result: TensorType
    indices: Mapping[Value, int]
    loose: bool
    helpers: list[str] = field(default_factory=list)

    @property
    def time(self) -> Dim | None:
        return self.call.time

    @property
    def parameter(self) -> str:
        return PARAMETER

    @property
    def parameter_shape(self) -> str:
        sizes = [self.dim(dim).text for dim in self.result.dims]
        return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"

    def argument(self, name: str) -> Argument:
        return self.call.args[name]

    def given(self, name: str) -> bool:
        return self.call.given(name)

    def type(self, name: str) -> TensorType:
        return self.call.type(name)

    def code(self, name: str) -> Code:
        return self._code(self.call.args[name])

    def codes(self, name: str) -> list[Code]:
        items = self.call.args[name]
        assert isinstance(items, tuple)
        return [self._code(item) for item in items]

    def _code(self, argument: Argument) -> Code:
        match argument:
            case Value():
                return self._tensor(argument)
            case Dim():
                return self.dim(argument)
            case int():
                return Code(repr(argument))
        assert isinstance(argument, Static)
        return render(argument)

    def _tensor(self, value: Value) -> Code:
        index = self.indices[value]
        if not self.loose:
            return Code(f"x_{index}")
        if value.type.kind == "bool":
            return Code(f"a_{index} == b_{index}", Precedence.COMPARE)
        return Code(f"a_{index} + b_{index}", Precedence.ADD)

    def dim(self, dim: Dim) -> Code:
        text = dim.python()
        return Code(text, Precedence.ATOM if text.isalnum() else Precedence.ADD)

    def axis_size(self, name: str, axis: int) -> Code:
        return self.dim(self.call.type(name).dims[axis])

    def helper(self, name: str) -> str:
        assert name in HELPERS, f"gabc.runtime.functional has no {name}"
        self.helpers.append(name)
        return name

    def like(self) -> Code | None:
        return None if self.call.parameter is not None else Code("like")


def _helpers() -> dict[str, Callable[..., object]]:
    found: dict[str, Callable[..., object]] = {}
    for module in pkgutil.iter_modules(functional.__path__):
        members = vars(importlib.import_module(f"{functional.__name__}.{module.name}"))
        for name, member in members.items():
            own = getattr(member, "__module__", "").startswith(functional.__name__)
            if own and callable(member) and not name.startswith("_"):
                assert found.setdefault(name, member) is member, f"two helpers are named {name}"
    return found


HELPERS = _helpers()
