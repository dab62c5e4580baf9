"""`scan(q, k, v) { ... }`: a loop over positions, or over chunks of them, that carries its states.

This is how a recurrence is written that no pass has recognised; the others are no scans any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gabc.codegen.body import Body
from gabc.codegen.uses import captures
from gabc.dims import Dim
from gabc.graph.nodes import Carried, Node, Region, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.types import B, L, TensorType

Write = Callable[[Body, tuple[Node, ...]], None]


@dataclass(frozen=True, slots=True)
class _Loop:
    """The values a scan runs over, the results that are used and the lists that collect them."""

    sources: list[Value]
    results: list[tuple[Value, Value, str]]
    """Result outside, result of one step, list."""


def write_scan(body: Body, node: Node, write: Write) -> None:
    """Inputs, states and products are in float32 at least, under autocast too.

    The results have the inputs' dtype again. Losses are summed over the steps.
    """
    region, chunk = node.region, node.args.get("chunk")
    inputs = node.args["inputs"]
    assert region is not None
    assert isinstance(inputs, tuple)
    sources = [value for value in inputs if isinstance(value, Value)]
    size = body.dim(chunk) if isinstance(chunk, Dim) else None
    texts = [
        body.atom(value, inner.name) for value, inner in zip(sources, region.inputs, strict=True)
    ]
    like = _float_input(body, sources, texts)
    for carried in region.carried:
        _write_initial(body, carried, like)
    loop = _Loop(sources, _lists(body, node, region))
    for _, _, name in loop.results:
        body.emit(f"{name} = []", node.span)

    outer = body.keep, body.time, body.losses, body.is_wide, body.level
    narrow = {} if body.is_wide else _widen(body, region, node)
    body.losses, begin = {}, len(body.lines)
    if not body.is_wide:
        body.emit(f"with torch.autocast({like}.device.type, enabled=False):", node.span)
        body.level += 1
        body.is_wide = True
    body.keep = body.keep | {name for _, _, name in loop.results}
    body.keep |= {body.names[value].text for value in narrow}
    body.keep |= {name for name, value in body.holders.items() if body.remaining[value] > 0}
    body.keep -= {body.names[carried.current].text for carried in region.carried}
    body.time = chunk if isinstance(chunk, Dim) else None
    _write_head(body, node, region, texts, size)
    body.level += 1
    write(body, region.nodes)
    totals = _write_totals(body, node)
    _write_end(body, region, loop)
    body.names.update(narrow)
    body.keep, body.time, body.losses, body.is_wide, body.level = outer
    for total in totals:
        body.insert(begin, f"{body.names[total].text} = {like}.new_zeros(())", node.span)
        body.losses.setdefault(total.name, []).append(total)

    codes = []
    for output, _, name in loop.results:
        text = f"torch.stack({name}, dim=1)"
        if chunk is not None:
            text = f"{body.require('join_chunks')}({name}, {body.dim(L).text})"
        codes.append(f"{text}.to({like}.dtype)" if output.type.kind == "float" else text)
    body.define_each(node, [output for output, _, _ in loop.results], codes)


def _widen(body: Body, region: Region, node: Node) -> dict[Value, Code]:
    """Copies in float32 of what the body reads from outside; returns the names before."""
    before: dict[Value, Code] = {}
    for value in captures(region):
        code = body.names.get(value)
        is_variable = code is not None and code.text in body.holders
        if code is None or not is_variable or value in body.absent:
            continue
        if value.type.kind == "float" and value.type.rank:
            before[value] = code
            taken = (body.names[other].text for other in before)
            wide = body.fresh(f"{code.text}_wide", taken)
            body.emit(f"{wide} = {body.require('f32')}({code.text})", node.span)
            body.names[value] = Code(wide)
    return before


def _write_totals(body: Body, node: Node) -> list[Value]:
    """Add the losses of this step to their sums over the steps; returns the sums."""
    totals = []
    for name, losses in body.losses.items():
        total = Value(TensorType("float", ()), node.span, name)
        variable = body.take(total, body.fresh(f"{name}_sum"))
        body.uses.count[total] = body.remaining[total] = 1
        parts = [variable, *(body.use(loss).within(Precedence.ADD) for loss in losses)]
        body.emit(f"{variable} = {' + '.join(parts)}", losses[0].span)
        totals.append(total)
    return totals


def _lists(body: Body, node: Node, region: Region) -> list[tuple[Value, Value, str]]:
    results = []
    taken: set[str] = set()
    for output, inner in zip(node.outputs, region.results, strict=True):
        if body.uses.count[output]:
            base = output.name or inner.name or "y"
            suffix = "steps" if node.args.get("chunk") is None else "chunks"
            name = body.fresh(f"{base}_{suffix}", taken)
            taken.add(name)
            results.append((output, inner, name))
        else:
            body.remaining[inner] -= 1
    return results


def _write_initial(body: Body, carried: Carried, like: str) -> None:
    """`S = initial_state(0.0, (B, H, K, V), q)`."""
    current, initial = carried.current, carried.initial
    sizes = [body.dim(dim).text for dim in current.type.dims]
    shape = f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
    value = body.use(initial).text if isinstance(initial, Value) else body.static(initial).text
    kind = "" if current.type.kind == "float" else f', kind="{current.type.kind}"'
    code = f"{body.require('initial_state')}({value}, {shape}, {like}{kind})"
    body.assign(current, Code(code), current.span, current.name)


def _write_head(
    body: Body, node: Node, region: Region, texts: list[str], size: Code | None
) -> None:
    """`for q_t, k_t in time_steps(q, k):`, with a counter if the body speaks of `t`."""
    suffix = "t" if size is None else "c"
    names = [body.take(value, f"{value.name or 'x'}_{suffix}") for value in region.inputs]
    target, iterable = ", ".join(names), _iterable(body, region, texts, size)
    if size is not None and len(names) == 1:
        target = f"({target},)"
    if region.step is None:
        body.emit(f"for {target} in {iterable}:", node.span)
        return
    counter = body.fresh("step")
    body.keep |= {counter}
    target = f"({target})" if len(names) > 1 else target
    body.emit(f"for {counter}, {target} in enumerate({iterable}):", node.span)
    start = counter if size is None else f"{counter} * {size.within(Precedence.UNARY)}"
    step = body.take(region.step, "t")
    body.level += 1
    body.emit(f"{step} = torch.tensor({start}, device={names[0]}.device)", node.span)
    body.level -= 1


def _iterable(body: Body, region: Region, texts: list[str], size: Code | None) -> str:
    if len(texts) > 1 and size is None:
        return f"{body.require('time_steps')}({', '.join(texts)})"
    if size is not None:
        return f"{body.require('time_chunks')}({', '.join([size.text, *texts])})"
    alone = texts[0]
    if region.inputs[0].type.kind == "float":
        alone = f"{body.require('f32')}({alone})"
    return f"{alone}.unbind(1)"


def _write_end(body: Body, region: Region, loop: _Loop) -> None:
    """Collect the results, then let every state's variable hold its next value."""
    for _, inner, name in loop.results:
        body.emit(f"{name}.append({body.use(inner).text})", inner.span)
    targets, values = [], []
    for carried in region.carried:
        variable = body.names[carried.current].text
        value = body.use(carried.next).text
        if value != variable:
            targets.append(variable)
            values.append(value)
        body.holders[variable] = carried.next
    if targets:
        body.emit(f"{', '.join(targets)} = {', '.join(values)}", region.carried[0].next.span)


def _float_input(body: Body, sources: list[Value], texts: list[str]) -> str:
    """What new states take their device and dtype from."""
    for value, text in zip(sources, texts, strict=True):
        if value.type.kind == "float" and B in value.type.dims:
            return text
    like = body.like()
    assert like is not None
    return like.text
