"""The syntax phase: tree shapes and spans, and expressions against Python's own parser."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gabc.syntax import tree
from gabc.syntax.parse import parse
from gabc.syntax.source import Source

_ROOT = Path(__file__).parent.parent
_FILES = sorted([*_ROOT.glob("stdlib_gaus/*.gab"), *_ROOT.glob("examples/*.gab")])

_EVERYTHING = """\
# A file that uses everything.
gab Everything with tie=true, logit_cap=30.0, embed_scale=sqrt(D)
require causal
require time <= O(L)
require state <= O(1)
require params within 20%

from std.attention import MultiHeadAttention, GQA as Grouped
from sibling import Helper

# swish, twice
#   indented
fn swish(x, beta: [D] = 1.0) -> [B, L, D] { return x * sigmoid(beta * x) }

unit Everything(heads: int = 8, mixer: unit = Helper(), sizes: list[int] = [1, 2,], w: dim) {
    require D % heads == 0
    dim H = heads
    dim K = D / H if on else ceil_to(8 / 3 * D, 64)
    reads v_first: [B, L, H, K]?, mask: bool[B, L], skip[int]: [B, L, D]?
    writes v_first: [B, L, H, K]
    param w: [D, H] = normal(0.02)
    param bias: [D]
    buffer freq: complex[K] = zeros()
    experts = Expert(hidden=4 * D) * 8
    shared attn = GQA() if on else none
    if layer % 4 == 0 { dim J = 3 alt = A() } else if layer == 2 { alt = B2() } else { }
    last = X(a) if on { extra = Y() }

    forward(X, m: int[B, L] = none) -> [B, L, ...] {
        q, k = split(wq(X), parts=2, axis=-1)
        v1 = Z.v_first ?? v ?? u
        Z.skip[layer], S[0] = f(v1)
        a = X[:, None, ..., 1:, ::2, -1] + X[ : ]
        z = attn2(X) with v_first as v_second with a as b
        y = scan(q, k=rope(k)) chunk C { state S: [B, H] = 0.0  S = S + k  return S }
        y = attend(q, k, v, window=window) { score = 30.0 * tanh(score) keep = i - j < window }
        o = attend(wo(scan(q) { return q }), k, v)
        for i, e in enumerate(experts) { y = y + e(X) }
        if layer == 0 { y = y } else { y = 2 * y }
        w = (x) if layer == 0 { v = 2 }
        w = a if b else (c) if layer == 0 { v = 2 } else if c { v = 3 }
        loss balance = mean(w)
        loss, test = 3 shared = 4
        if layer < 2 { return x, y if on else z }
        return (x), y if on else z
    }
}

test "it works" {
    y = Everything()(randn([2, 3, D]))
    require shape(y) == [2, 3, D]
}
"""


def _parse(text: str) -> tree.File:
    file, found = parse(Source("a.gab", text))
    assert not found, found
    return file


def _statements(body: str) -> tuple[tree.Stmt, ...]:
    return _parse(f"unit A() {{ forward(X) {{ {body} return X }} }}").units[0].forward.body[:-1]


def _expression(text: str) -> tree.Expr:
    (statement,) = _statements(f"v = {text}")
    assert isinstance(statement, tree.Assign)
    return statement.value


def _fields(node: object) -> list[object]:
    return [getattr(node, field.name) for field in dataclasses.fields(node)]  # type: ignore[arg-type]


def _nodes(value: object) -> Iterator[tree.Node]:
    if isinstance(value, tree.Node):
        yield value
    if isinstance(value, tree.Node | tree.File):
        for field in _fields(value):
            yield from _nodes(field)
    elif isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)


def _shape(value: object) -> object:
    """The tree without its spans."""
    if isinstance(value, tree.Node):
        return (type(value).__name__, *(_shape(field) for field in _fields(value)[1:]))
    return tuple(_shape(item) for item in value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- whole files


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_the_designs_of_the_project_parse(path: Path) -> None:
    file = _parse(path.read_text(encoding="utf-8"))
    assert file.units


def test_a_file_that_uses_everything() -> None:
    file = _parse(_EVERYTHING)
    assert file.design is not None
    assert file.design.name.id == "Everything"
    assert [option.name.id for option in file.design.options] == ["tie", "logit_cap", "embed_scale"]
    contracts = [contract.text for contract in file.design.contracts]
    assert contracts == ["causal", "time <= O(L)", "state <= O(1)", "params within 20%"]
    first, second = file.imports
    assert [part.id for part in first.module] == ["std", "attention"]
    assert [(n.name.id, n.alias and n.alias.id) for n in first.names] == [
        ("MultiHeadAttention", None),
        ("GQA", "Grouped"),
    ]
    assert [part.id for part in second.module] == ["sibling"]
    (function,) = file.functions
    assert function.doc == "swish, twice\n  indented"
    (unit,) = file.units
    assert unit.doc == ""
    assert [(h.name.id, h.type, h.is_list) for h in unit.hypers] == [
        ("heads", "int", False),
        ("mixer", "unit", False),
        ("sizes", "int", True),
        ("w", "dim", False),
    ]
    assert [type(member).__name__ for member in unit.members] == [
        *("Require", "Dim", "Dim", "Reads", "Writes", "Param", "Param", "Param"),
        *("Child", "Child", "MemberIf", "Child", "MemberIf"),
    ]
    (test,) = file.tests
    assert test.title.value == "it works"
    assert [type(statement).__name__ for statement in test.body] == ["Assign", "Require"]
    assert [(c.text, c.own_line) for c in file.comments][:1] == [
        ("# A file that uses everything.", True)
    ]


def test_a_statement_before_an_if_is_told_from_a_conditional() -> None:
    kinds = [type(s).__name__ for s in _parse(_EVERYTHING).units[0].forward.body]
    assert kinds == [
        *("Assign", "Assign", "Assign", "Assign", "Assign", "Assign", "Assign", "Assign"),
        *("For", "If", "Assign", "If", "Assign", "If", "Loss", "Assign", "Assign", "If", "Return"),
    ]
    assign, statement = _statements("w = (x) if layer == 0 { v = 2 }")
    assert assign.span.text == "w = (x)"
    assert statement.span.text == "if layer == 0 { v = 2 }"
    assert isinstance(_expression("x if a else y if b else z"), tree.Conditional)


def test_comments_know_whether_they_stand_alone() -> None:
    file = _parse("# one\nunit A() { # two\n  # three\n  forward(X) { return X } }")
    assert [(c.text, c.own_line) for c in file.comments] == [
        ("# one", True),
        ("# two", False),
        ("# three", True),
    ]
    assert file.units[0].doc == "one"


# ---------------------------------------------------------------- members and statements


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("return a, b", "Return"),
        ("Z.k = a", "Assign"),
        ("loss b = a", "Loss"),
        ("for a, b in zip(x, y) { }", "For"),
        ("if f(x) { } else if g(x) { } else { }", "If"),
        ("if attend { }", ""),
    ],
)
def test_kinds_of_statements(text: str, shape: str) -> None:
    file, found = parse(Source("a.gab", f"fn f(x) {{ {text} return x }}"))
    found = [d for d in found if d.code != "GAB0006"]
    if not shape:
        assert found
    else:
        assert not found
        assert type(file.functions[0].body[0]).__name__ == shape


def test_an_else_if_is_an_if_alone_in_otherwise() -> None:
    (statement,) = _statements("if a { } else if b { x = 1 } else { y = 2 }")
    assert isinstance(statement, tree.If)
    (inner,) = statement.otherwise
    assert isinstance(inner, tree.If)
    assert [type(s) for s in inner.otherwise] == [tree.Assign]


def test_a_scan_has_a_block_and_a_chunk() -> None:
    call = _expression("scan(q, k=rope(k)) chunk 2 * C { state S: [B] = 0.0 return S }")
    assert isinstance(call, tree.Call)
    assert call.block is not None
    assert call.block.span.text.startswith("chunk 2 * C {")
    assert call.block.chunk is not None
    assert call.block.chunk.span.text == "2 * C"
    assert [type(s) for s in call.block.body] == [tree.State, tree.Return]
    assert [keyword.name.id for keyword in call.keywords] == ["k"]


def test_a_block_binds_to_the_call_before_it() -> None:
    value = _expression("X + attend(q, k) { keep = i < j }")
    assert isinstance(value, tree.Binary)
    assert isinstance(value.right, tree.Call)
    assert value.right.block is not None


def test_renames_follow_a_call() -> None:
    call = _expression("attn(X, w=1) with a as b with c as d")
    assert isinstance(call, tree.Call)
    assert [(r.key.id, r.other.id) for r in call.renames] == [("a", "b"), ("c", "d")]
    assert call.span.text == "attn(X, w=1) with a as b with c as d"


def test_z_entries() -> None:
    text = "reads a: [B]?, s[int]: int[B, L]? writes s[int]: [B] forward(X) { return X }"
    reads, writes = _parse(f"unit A() {{ {text} }}").units[0].members
    assert isinstance(reads, tree.Reads)
    assert isinstance(writes, tree.Writes)
    entries = [(e.name.id, e.is_indexed, e.optional, e.type.kind) for e in reads.entries]
    assert entries == [("a", False, True, "float"), ("s", True, True, "int")]
    assert [(e.is_indexed, e.optional) for e in writes.entries] == [(True, False)]


def test_slices() -> None:
    value = _expression("x[:, None, none, ..., 1:, :2, ::3, a:b:c, -1]")
    assert isinstance(value, tree.Subscript)
    assert [type(item).__name__ for item in value.items] == [
        *("Slice", "NoneLiteral", "NoneLiteral", "EllipsisLiteral"),
        *("Slice", "Slice", "Slice", "Slice", "Unary"),
    ]
    assert [item.span.text for item in value.items[4:8]] == ["1:", ":2", "::3", "a:b:c"]


# ---------------------------------------------------------------- expressions against Python's

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.And: "and",
    ast.Or: "or",
    ast.LtE: "<=",
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Not: "not",
}


def _python_shape(node: ast.expr) -> object:
    """Python's tree in the form of `_shape`."""
    match node:
        case ast.BinOp(left, op, right) | ast.Compare(left, [op], [right]):
            return ("Binary", _OPERATORS[type(op)], _python_shape(left), _python_shape(right))
        case ast.BoolOp(op, values):
            shape = _python_shape(values[0])
            for value in values[1:]:
                shape = ("Binary", _OPERATORS[type(op)], shape, _python_shape(value))
            return shape
        case ast.UnaryOp(op, operand):
            return ("Unary", _OPERATORS[type(op)], _python_shape(operand))
        case ast.IfExp(test, body, orelse):
            return ("Conditional", *map(_python_shape, (test, body, orelse)))
        case ast.Call(function, args, keywords):
            named = tuple(("Keyword", ("Name", k.arg), _python_shape(k.value)) for k in keywords)
            positional = tuple(map(_python_shape, args))
            return ("Call", _python_shape(function), positional, named, (), None)
        case ast.Subscript(value, index):
            return ("Subscript", _python_shape(value), (_python_shape(index),))
        case ast.Attribute(value, name):
            return ("Attribute", _python_shape(value), ("Name", name))
        case ast.List(elts):
            return ("ListLiteral", tuple(map(_python_shape, elts)))
        case ast.Name(name):
            return ("Name", name)
        case ast.Constant(value):
            return ("Number", value)
    raise AssertionError(ast.dump(node))


_ATOMS = st.sampled_from(["a", "b", "x1", "1", "20", "2.5", "1e-5"])
_SUM = ["+", "-", "*", "/", "//", "%", "@", "**"]


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.builds(lambda a, op, b: f"{a} {op} {b}", inner, st.sampled_from(_SUM), inner)
    logic = st.builds(
        lambda a, op, b: f"{a} {op} {b}", inner, st.sampled_from(["and", "or"]), inner
    )
    comparison = st.builds(lambda a, b: f"({a}) <= ({b})", inner, inner)
    return st.one_of(
        binary,
        logic,
        comparison,
        st.builds(lambda op, a: f"{op}{a}", st.sampled_from(["-", "+", "not "]), inner),
        st.builds(lambda a: f"({a})", inner),
        st.builds(lambda a, b, c: f"({a}) if {b} else {c}", inner, inner, inner),
        st.builds(lambda a, b: f"f({a}, key={b})", inner, inner),
        st.builds(lambda a, b: f"x[{a}].y + [{b}]", inner, inner),
    )


@settings(max_examples=120, deadline=None)
@given(st.recursive(_ATOMS, _larger, max_leaves=12))
def test_expressions_are_grouped_as_in_python(text: str) -> None:
    try:
        expected = ast.parse(text, mode="eval").body
        chained = any(isinstance(n, ast.Compare) and len(n.ops) > 1 for n in ast.walk(expected))
    except SyntaxError:
        chained = True
    if chained:
        _, found = parse(Source("a.gab", f"fn f(x) {{ return {text} }}"))
        assert found
        return
    assert _shape(_expression(f"({text})")) == _python_shape(expected)


def test_coalescing_binds_looser_than_or_and_to_the_right() -> None:
    shape = _shape(_expression("Z.a ?? Z.b ?? c or d"))
    z_a, z_b = (("Attribute", ("Name", "Z"), ("Name", key)) for key in "ab")
    either = ("Binary", "or", ("Name", "c"), ("Name", "d"))
    assert shape == ("Binary", "??", z_a, ("Binary", "??", z_b, either))


# ---------------------------------------------------------------- spans


_ITEMS = tree.Unit | tree.Function | tree.Test | tree.Import | tree.Design
_MEMBERS = tree.Dim | tree.Reads | tree.Writes | tree.Param | tree.Child | tree.MemberIf
_STATEMENTS = tree.Assign | tree.If | tree.For | tree.State | tree.Loss
_SUBSCRIPTS = tree.Slice | tree.EllipsisLiteral | tree.NoneLiteral


def _alone(node: tree.Node) -> tree.Node | None:
    """What the text of a node's span parses to by itself; None for a part of another construct."""
    text = node.span.text
    if isinstance(node, _ITEMS):
        file = _parse(text)
        items = [*file.units, *file.functions, *file.tests, *file.imports, file.design]
        return next(item for item in items if item is not None)
    if isinstance(node, _MEMBERS):
        return _parse(f"unit A() {{ {text} forward(X) {{ return X }} }}").units[0].members[0]
    if isinstance(node, tree.If) and re.search(r"\breturn\b", text):
        # Whether something must follow depends on the branches; either is only a remark.
        file, _ = parse(Source("a.gab", f"fn f(x) {{ {text} return x }}"))
        return file.functions[0].body[0]
    if isinstance(node, _STATEMENTS):
        return _statements(text)[0]
    if isinstance(node, tree.TensorType):
        return _parse(f"fn f(x: {text}) {{ return x }}").functions[0].args[0].type
    if isinstance(node, _SUBSCRIPTS):
        subscript = _expression(f"x[{text}]")
        assert isinstance(subscript, tree.Subscript)
        return subscript.items[0]
    if isinstance(node, tree.Expr) and text not in ("scan", "attend"):
        return _expression(f"({text})")
    return None


@pytest.mark.parametrize("text", [_EVERYTHING, *(p.read_text(encoding="utf-8") for p in _FILES)])
def test_the_text_of_a_span_is_the_construct(text: str) -> None:
    for node in _nodes(_parse(text)):
        assert node.span.text == node.span.text.strip()
        again = _alone(node)
        if isinstance(again, tree.Unit | tree.Function):
            # The comments above are outside the span.
            assert isinstance(node, tree.Unit | tree.Function)
            again = dataclasses.replace(again, doc=node.doc)
        if again is not None:
            assert _shape(again) == _shape(node), node.span.text


def test_children_lie_inside_their_parents() -> None:
    for node in _nodes(_parse(_EVERYTHING)):
        for child in _nodes(tuple(_fields(node)[1:])):
            assert node.span.start <= child.span.start <= child.span.end <= node.span.end
