"""The syntax tree of a `.gab` file: frozen nodes, every one with its span.

The tree holds what the author wrote and nothing else: no name is resolved, no sugar removed.
Comments are kept beside the tree (`File.comments`) so that a formatter can print them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gabc.syntax.source import Source, Span


@dataclass(frozen=True, slots=True)
class Node:
    span: Span


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An identifier, wherever it stands: a variable, a key, a declared name."""

    id: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A numeric literal. Integers are `int`; `2.0` and `1e-5` are `float`."""

    value: int | float


@dataclass(frozen=True, slots=True)
class String(Node):
    value: str


@dataclass(frozen=True, slots=True)
class Bool(Node):
    value: bool


@dataclass(frozen=True, slots=True)
class NoneLiteral(Node):
    """`none`; inside a subscript it inserts a unit axis."""


@dataclass(frozen=True, slots=True)
class ListLiteral(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    """`base.name`: only `Z.key` has a meaning, the elaborator says so otherwise."""

    base: Expr
    name: Name


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """`start:stop:step` inside a subscript, each part optional."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True)
class EllipsisLiteral(Node):
    """`...` inside a subscript or a type."""


@dataclass(frozen=True, slots=True)
class Subscript(Node):
    """`base[a, b, ...]`: tensors, lists of children, and keyed Z entries `Z.skip[layer]`."""

    base: Expr
    items: tuple[Expr | Slice | EllipsisLiteral, ...]


@dataclass(frozen=True, slots=True)
class Keyword(Node):
    """`name=value` in a call."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Rename(Node):
    """`with key as other` after a call of a unit: the caller's `other` is the callee's `key`."""

    key: Name
    other: Name


@dataclass(frozen=True, slots=True)
class Block(Node):
    """The braces after `scan(...)` or `attend(...)`; `chunk` is the size after the word."""

    chunk: Expr | None
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    function: Expr
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]
    renames: tuple[Rename, ...] = ()
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`op` is `-`, `+` or `not`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`op` is one of `+ - * / // % ** @ == != < <= > >= and or ??`. Comparisons do not chain."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`then if condition else otherwise` with a static condition."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class TensorType(Node):
    """`[B, L, D]`, or `int[B, L]`: `kind` is `float`, `int`, `bool` or `complex`."""

    kind: str
    dims: tuple[Expr | EllipsisLiteral, ...]


Expr: TypeAlias = (
    Name
    | Number
    | String
    | Bool
    | NoneLiteral
    | ListLiteral
    | Attribute
    | Subscript
    | Call
    | Unary
    | Binary
    | Conditional
)

# ---------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """`a, b = value`; a target is a `Name`, `Z.key`, `Z.key[i]` or a state element `S[...]`."""

    targets: tuple[Name | Attribute | Subscript, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Return(Node):
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class If(Node):
    """A static condition. `else if` is an `If` alone in `otherwise`."""

    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class For(Node):
    """`for i, e in enumerate(experts) { ... }`, unrolled."""

    targets: tuple[Name, ...]
    iterable: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class State(Node):
    """`state S: [B, H, K, V] = 0.0` in a scan."""

    name: Name
    type: TensorType
    value: Expr


@dataclass(frozen=True, slots=True)
class Loss(Node):
    """`loss balance = ...`: an auxiliary loss."""

    name: Name
    value: Expr


Stmt: TypeAlias = Assign | Return | If | For | State | Loss

# ---------------------------------------------------------------- members of a unit


@dataclass(frozen=True, slots=True)
class Hyper(Node):
    """A hyperparameter. `type` is `int float bool str unit dim`, `is_list` for `list[int]`."""

    name: Name
    type: str
    is_list: bool
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Dim(Node):
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class ZEntry(Node):
    """`v_first: [B, L, H, K]?` or `skip[int]: [B, L, D]` in `reads` / `writes`."""

    name: Name
    is_indexed: bool
    type: TensorType
    optional: bool


@dataclass(frozen=True, slots=True)
class Reads(Node):
    entries: tuple[ZEntry, ...]


@dataclass(frozen=True, slots=True)
class Writes(Node):
    entries: tuple[ZEntry, ...]


@dataclass(frozen=True, slots=True)
class Require(Node):
    """`require H % G == 0` in a unit, or `require causal` beside `gab` (kept as text there)."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Param(Node):
    """`param w: [D] = ones()`; `buffer` for a constant one."""

    name: Name
    type: TensorType
    init: Expr | None
    is_buffer: bool


@dataclass(frozen=True, slots=True)
class Child(Node):
    """`wq = Linear(D, H * K)`, `experts = Expert() * 8`; `shared` gives all blocks the same one."""

    name: Name
    value: Expr
    is_shared: bool


@dataclass(frozen=True, slots=True)
class MemberIf(Node):
    condition: Expr
    then: tuple[Member, ...]
    otherwise: tuple[Member, ...]


Member: TypeAlias = Dim | Reads | Writes | Require | Param | Child | MemberIf


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """An argument of `forward` or `fn`."""

    name: Name
    type: TensorType | None
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Forward(Node):
    args: tuple[Argument, ...]
    result: TensorType | None
    body: tuple[Stmt, ...]


# ---------------------------------------------------------------- a file


@dataclass(frozen=True, slots=True)
class Unit(Node):
    """`doc` is the text of the comment lines directly above, without `#`."""

    name: Name
    hypers: tuple[Hyper, ...]
    members: tuple[Member, ...]
    forward: Forward
    doc: str


@dataclass(frozen=True, slots=True)
class Function(Node):
    name: Name
    args: tuple[Argument, ...]
    result: TensorType | None
    body: tuple[Stmt, ...]
    doc: str


@dataclass(frozen=True, slots=True)
class Test(Node):
    """`test "name" { ... }`: statements, and `require` for what must hold."""

    title: String
    body: tuple[Stmt | Require, ...]


@dataclass(frozen=True, slots=True)
class ImportedName(Node):
    name: Name
    alias: Name | None


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`from std.attention import A, B as C`; a module without `std.` is a sibling file."""

    module: tuple[Name, ...]
    names: tuple[ImportedName, ...]


@dataclass(frozen=True, slots=True)
class Contract(Node):
    """`require ...` beside `gab`: kept as written, decided by the proofs."""

    text: str


@dataclass(frozen=True, slots=True)
class Design(Node):
    """`gab Name with tie=true, ...`."""

    name: Name
    options: tuple[Keyword, ...]
    contracts: tuple[Contract, ...]


@dataclass(frozen=True, slots=True)
class Comment(Node):
    """One `# ...` comment; `own_line` if nothing stands before it on its line."""

    text: str
    own_line: bool


@dataclass(frozen=True, slots=True)
class File:
    source: Source
    design: Design | None
    imports: tuple[Import, ...]
    functions: tuple[Function, ...]
    units: tuple[Unit, ...]
    tests: tuple[Test, ...]
    comments: tuple[Comment, ...]
