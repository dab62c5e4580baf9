"""What a primitive's lowering rule is given (`gabc.ops.base.Lowering`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from gabc.codegen.names import indexed
from gabc.dims import Dim
from gabc.graph.nodes import Argument, ChildRef, Node, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList, render
from gabc.graph.types import TensorType
from gabc.ops import PRIMITIVES


class Scope(Protocol):
    """Where an operation is written: how its operands are called there."""

    @property
    def time(self) -> Dim | None: ...

    def code(self, value: Value) -> Code: ...

    def static(self, static: Static) -> Code: ...

    def dim(self, dim: Dim) -> Code: ...

    def require(self, name: str) -> str: ...

    def like(self) -> Code | None: ...


@dataclass
class NodeLowering:
    """One operation in its scope. `asked` counts how often each operand's code was asked for."""

    node: Node
    scope: Scope
    initialised: str = ""
    asked: Counter[Value] = field(default_factory=Counter)

    @property
    def result(self) -> TensorType:
        return self.node.output.type

    @property
    def time(self) -> Dim | None:
        return self.scope.time

    @property
    def parameter(self) -> str:
        if not self.initialised:
            raise AssertionError(f"`{self.node.op}` stands outside an initialiser")
        return self.initialised

    @property
    def parameter_shape(self) -> str:
        return f"{indexed(f'self.{self.parameter}')}.shape"

    def argument(self, name: str) -> Argument:
        return self.node.args.get(name)

    def given(self, name: str) -> bool:
        return self.node.args.get(name) is not None

    def type(self, name: str) -> TensorType:
        argument = self.node.args[name]
        return argument.type if isinstance(argument, Value) else TensorType("float", ())

    def code(self, name: str) -> Code:
        return self._code(self.node.args[name])

    def codes(self, name: str) -> list[Code]:
        argument = self.node.args[name]
        assert isinstance(argument, tuple), name
        return [self._code(part) for part in argument]

    def dim(self, dim: Dim) -> Code:
        return self.scope.dim(dim)

    def axis_size(self, name: str, axis: int) -> Code:
        return self.scope.dim(self.type(name).dims[axis])

    def helper(self, name: str) -> str:
        return self.scope.require(name)

    def like(self) -> Code | None:
        return self.scope.like()

    @property
    def _promotes_ints(self) -> bool:
        """Whether ints become floats here, which torch would make float32 in a float64 model."""
        kinds = [value.type.kind for value in self.node.operands()]
        creates = PRIMITIVES[self.node.op].creates
        return self.result.kind == "float" and "float" not in kinds and not creates

    def _as_float(self, code: Code) -> Code:
        like = self.like()
        if like is None:
            return code
        dtype = f"{self.helper('wide_dtype')}({like.text})"
        return Code(f"{code.within(Precedence.ATOM)}.to({dtype})")

    def _code(self, argument: Argument) -> Code:
        match argument:
            case Value():
                self.asked[argument] += 1
                code = self.scope.code(argument)
                is_promoted = argument.type.kind == "int" and self._promotes_ints
                return self._as_float(code) if is_promoted else code
            case Dim():
                return self.scope.dim(argument)
            case Literal() | Ref() | Apply() | StaticList():
                return self.scope.static(argument)
            case tuple() | ChildRef():
                raise AssertionError(f"an argument of `{self.node.op}` is no single value")
        return render(Literal(argument))
