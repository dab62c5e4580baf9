"""`attend(q, k, v) { ... }`: the block as functions of one score, then the call that applies them.

    slope = self.slope.clone()

    def edit(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score - slope[h] * (i - j)

    y = attend_edited(q, k, v, edit=edit, adds=True)

One text for numbers and for arrays of them: captured tensors are read by index. The form that
attention takes is chosen when it runs (`gabc.runtime.functional.attention_edited`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gabc.codegen.body import Body
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Node, Region, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.scores import addends, depends_on, differentiated, needed
from gabc.graph.static import Literal, Static, render
from gabc.graph.types import TensorType
from gabc.ops.attention_blocks import is_pointwise, leaves_its_domain

Write = Callable[[Body, tuple[Node, ...]], None]

_NAME = re.compile(r"[A-Za-z_]\w*")


def write_attention(body: Body, node: Node, region: Region, write: Write) -> None:
    """What does not depend on the score or its place is written before the functions."""
    for value in node.operands():  # before any variable of the others is taken to be free
        if value in body.pending:
            body.settle(value)
    arguments = [_argument(body, node.args[name]) for name in "qkv"]
    options = [
        f"{name}={_argument(body, node.args[name])}"
        for name in ("scale", "window", "sinks", "softcap", "bias", "segments")
        if node.args.get(name) is not None
    ]
    outer = body.keep
    body.keep |= set(_NAME.findall(" ".join([*arguments, *options])))
    cells = depends_on(region.inputs, region)
    before = tuple(inner for inner in region.nodes if inner.output not in cells)
    write(body, before)
    for value in [value for inner in before for value in inner.outputs]:
        if value in body.pending:
            body.settle(value)
    inside = tuple(inner for inner in region.nodes if inner.output in cells)
    mixes = not all(_is_scalar(inner, cells) for inner in inside)
    mixes |= any(result not in cells and result.type.rank > 0 for result in region.results)
    arguments += _functions(body, replace(region, nodes=inside), mixes, write)
    is_edited = region.results[0] is not region.inputs[0]
    arguments += ["adds=True"] if is_edited and addends(region) is not None else []
    arguments += ["mixes=True"] if mixes else []
    body.keep = outer
    code = f"{body.require('attend_edited')}({', '.join([*arguments, *options])})"
    body.define(node, Code(code))


def _functions(body: Body, region: Region, mixes: bool, write: Write) -> Iterator[str]:
    """Writes `edit` and `keep`, and gives the arguments that name them.

    A mask that depends on the score has no function: `edit` then makes the score -inf.
    """
    score, *places = region.inputs
    result, *keeps = region.results
    is_scored = any(keep in depends_on([score], region) for keep in keeps)
    before: Sequence[Node] = ()
    if result is not score or is_scored:
        results = region.results if is_scored else [result]
        before = nodes = needed(results, region)
        if not mixes:
            nodes = _with_copies(body, region, nodes, differentiated(result, region))
        yield f"edit={_write_function(body, 'edit', region.inputs, nodes, results, write)}"
    if keeps and not is_scored:
        nodes = needed(keeps, region)
        for shared in set(nodes) & set(before):  # written, and so used, a second time
            body.remaining.update(shared.operands())
        if not mixes:
            nodes = _with_copies(body, region, nodes, set())
        yield f"keep={_write_function(body, 'keep', places, nodes, keeps, write)}"


def _write_function(
    body: Body,
    name: str,
    inputs: Sequence[Value],
    nodes: Sequence[Node],
    results: Sequence[Value],
    write: Write,
) -> str:
    """`def keep(b: Tensor, ...) -> Tensor:`, whose variables are called as none outside is."""
    outer, holders = body.keep, dict(body.holders)
    waiting = " ".join(pending.code.text for pending in body.pending.values())
    body.keep |= {*holders, *_NAME.findall(waiting)}
    name = body.fresh(name)
    names = [body.take(value, value.name) for value in inputs]
    # First of all that holds a float, the score is what new tensors take their dtype from.
    body.holders = {taken: body.holders[taken] for taken in names} | holders
    _blank_line(body)
    body.emit(f"def {name}({', '.join(f'{argument}: Tensor' for argument in names)}) -> Tensor:")
    body.level, begin = body.level + 1, len(body.lines)
    if leaves_its_domain(nodes, inputs):
        query, key = names[-2:]
        body.emit(f"{key} = torch.minimum({query}, {key})", inputs[-1].span)
    for node in nodes:
        if node.op == "lookup" and _is_inside(node, inputs[-4:]):
            _write_reading(body, node)
        else:
            write(body, (node,))
    _write_return(body, [body.use(result).text for result in results], results[0])
    # The shapes are those of arrays.
    body.lines[begin:] = [replace(line, note="") for line in body.lines[begin:]]
    body.level -= 1
    _blank_line(body)
    function = Value(TensorType("bool", ()), results[0].span)  # no tensor to take a dtype from
    body.keep, body.holders = outer, holders | {name: function}
    return name


def _write_return(body: Body, texts: list[str], result: Value) -> None:
    """`return 5.0 * torch.tanh(score / 5.0)`; -inf where a second text, a mask, does not hold."""
    text, last = texts[0], body.lines[-1]
    if len(texts) > 1:
        text = f"torch.where({texts[1]}, {text}, -torch.inf)"
    if last.text.startswith(f"{text} = "):
        body.lines.pop()
        text = last.text.removeprefix(f"{text} = ")
    body.emit(f"return {text}", result.span)


def _blank_line(body: Body) -> None:
    if body.lines and body.lines[-1].text:
        body.emit("")


def _is_inside(node: Node, places: Sequence[Value]) -> bool:
    """Whether a lookup reads every axis by the index that runs over it."""
    x, indices = node.args["x"], node.args["indices"]
    assert isinstance(x, Value)
    assert isinstance(indices, tuple)
    return all(
        index in places and dim in index.type.dims and not dim.is_one
        for index, dim in zip(indices, x.type.dims, strict=False)
        if isinstance(index, Value)
    )


def _write_reading(body: Body, node: Node) -> None:
    """`slope[h]`."""
    x, indices = node.args["x"], node.args["indices"]
    assert isinstance(x, Value)
    assert isinstance(indices, tuple)
    places = [body.atom(index) for index in indices if isinstance(index, Value)]
    body.define(node, Code(f"{body.atom(x)}[{', '.join(places)}]"))


# ------------------------------------------------------------------------------- one score


def _is_scalar(node: Node, cells: set[Value]) -> bool:
    if node.op == "lookup":
        x, indices = node.args["x"], node.args["indices"]
        assert isinstance(x, Value)
        assert isinstance(indices, tuple)
        return x not in cells and len(indices) == x.type.rank and cells.issuperset(indices)
    return is_pointwise(node) and all(v in cells or v.type.rank == 0 for v in node.operands())


def _with_copies(
    body: Body, region: Region, nodes: Sequence[Node], learning: set[Node]
) -> tuple[Node, ...]:
    """The operations, each with a copy of its own of the tensor that it captures.

    FlexAttention has gradients for one reading of a tensor, and for none of a view; a mask may read
    nothing that is learned. A number that is becomes a tensor that is read by the head.
    """
    found: list[Node] = []
    head = region.inputs[2]
    for node in nodes:
        args = dict(node.args)
        for name, x in _captured(node, region):
            if node not in learning or node.op == "lookup":
                method = "clone()" if node in learning else "detach()"
                args[name] = _copy(body, x, x.type, method)
                continue
            heads = head.type.dims[1]
            copy = _copy(body, x, TensorType("float", (heads,)), f"repeat({body.dim(heads).text})")
            args[name] = read = Value(TensorType("float", head.type.dims), x.span)
            found.append(Node("lookup", {"x": copy, "indices": (head,)}, (read,), node.span))
            body.uses.count.update([read, head])
            body.remaining.update([read, head])
        found.append(replace(node, args=args))
    return tuple(found)


def _captured(node: Node, region: Region) -> list[tuple[str, Value]]:
    """The floats among an operation's arguments that are not of the block."""
    cells = depends_on(region.inputs, region)
    return [
        (name, x)
        for name, x in node.args.items()
        if isinstance(x, Value) and x not in cells and x.type.kind == "float"
    ]


def _copy(body: Body, x: Value, type_: TensorType, method: str) -> Value:
    """`slope = self.slope.clone()`."""
    copy = Value(type_, x.span, x.name)
    source = body.atom(x)
    name = body.fresh(x.name or source.rpartition(".")[2])
    body.take(copy, name)
    body.uses.count[copy] = body.remaining[copy] = 1
    body.emit(f"{name} = {source}.{method}", None, str(type_))
    return copy


def _argument(body: Body, argument: Argument) -> str:
    """An argument as an atom."""
    if isinstance(argument, Value):
        return body.atom(argument)
    if isinstance(argument, Dim):
        return body.dim(argument).within(Precedence.ATOM)
    if isinstance(argument, Static):
        return body.static(argument).within(Precedence.ATOM)
    assert isinstance(argument, (int, str))
    return render(Literal(argument)).text
