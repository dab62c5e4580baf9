"""Productions that are recurrences: one step of time, or a chunk of steps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .body import Body, Type, floats
from .layers import GENERAL
from .mixers import along_time, attention, attention_by_hand, blocked, convolution, heads_of
from .pointwise import Production, inline
from .shapes import has_two_positions

CHUNKS = ("4", "5", "11")
"""Sizes that no other axis has: an axis as long as a chunk would be taken for its time axis."""


def decayed_scan(body: Body) -> bool:
    """A decayed outer product in one of its spellings, most of which have a parallel form."""
    if body.time != "L" or body.unit is None or body.unit.heads is None:
        return False
    rng = body.rng
    parts: list[str | None] = []
    for _ in range(4):
        parts.append(heads_of(body))
        body.guard(parts[-1])
    q, k, v, w = parts
    if q is None or k is None or v is None or w is None:
        return False
    heads, width = body.unit.heads
    rate = body.unit.param(rng, (heads,), "ones")
    decay = rng.choice(
        [
            "exp(-abs(w))[:, :, :, None]",
            "exp(-abs(w)[..., None])",
            "exp(-softplus(w[:, :, 0]))[:, :, None, None]",
            f"exp(-abs({rate}))[:, None, None]",
            f"exp(-abs(w[..., 0] * {rate}))[..., None, None]",
            "exp(-abs(w))[:, :, None, :]",
            "sigmoid(w)[..., None]",
        ]
    )
    outer = rng.choice(
        [
            "k[:, :, :, None] * v[:, :, None, :]",
            "v[:, :, None] * k[..., None]",
            'einsum("b h k, b h v -> b h k v", k, v)',
            'einsum("b h v, b h k -> b h k v", v, tanh(k))',
        ]
    )
    update = rng.choice(["S = {0} * S + {1}", "S = {1} + {0} * S", "S = S * {0} + {1}"])
    read = rng.choice(
        [
            'einsum("b h k, b h k v -> b h v", q, S)',
            'einsum("b h k v, b h k -> b h v", S, 0.3 * q)',
        ]
    )
    lines = [
        f"state S: [B, {heads}, {width}, {width}] = {rng.choice(['0.0', '0.0', '0.0', '0.1'])}"
    ]
    update = update.format(decay, outer)
    if rng.random() < 0.4:
        lines += [f"o = {read}", update, "return o"]
    else:
        lines += [update, f"return {read}"]
    state = "S" if "S" not in body.values else "state_"
    name = body.fresh()
    body.statement(f"{name} = scan(q={q}, k={k}, v={v}, w={w}) {{")
    for line in lines:
        body.statement("    " + re.sub(r"\bS\b", state, line))
    body.statement("}")
    body.give(name, floats("B", "L", heads, width))
    scaled = body.bind_raw(f"tanh(0.2 * {body.use(name)})", floats("B", "L", heads, width))
    body.unused[scaled] = None
    return True


def scan(body: Body) -> bool:
    """A recurrence with one or two states over one to four arguments."""
    return _scan(body, None)


def chunked_scan(body: Body) -> bool:
    if body.unit is None:
        return False
    return _scan(body, body.rng.choice(CHUNKS))


def _scan(body: Body, chunk: str | None) -> bool:
    if body.time != "L" or body.unit is None:
        return False
    rng = body.rng
    front = ("B",) if chunk is None else ("B", chunk)
    arguments, inputs = _arguments(body, front)
    if not any(t.kind == "float" and len(t.dims) > len(front) for t in inputs.values()):
        return False
    inner = _inner(body, chunk, inputs)
    states = [_state(body, inner, inputs, chunk, place) for place in range(rng.randint(1, 2))]
    _work(inner, rng.randint(0, 3), chunk)
    results = []
    for state, type_ in states:
        if rng.random() < 0.6 and chunk is None:
            results.append(inner.bind_raw(f"{state} * 1.0", type_))
        _update(inner, state, type_, chunk, inputs)
    if chunk is None:
        _work(inner, rng.randint(0, 2), chunk)
        results += [state for state, _ in states]
    outs = [name for name in [*inner.unused, *results] if _may_leave(inner, name, front)]
    outs = list(dict.fromkeys(outs))[: rng.randint(1, 2)]
    if not outs:
        outs = [next(n for n, t in inputs.items() if t.kind == "float")]
    returned = [out if inner.type(out).kind == "float" else f"float({out})" for out in outs]
    names = body.fresh_names(len(outs))
    step = f" chunk {chunk}" if chunk is not None else ""
    body.statement(f"{', '.join(names)} = scan({', '.join(arguments)}){step} {{")
    body.lines += inner.lines
    body.statement(f"    return {', '.join(returned)}")
    body.statement("}")
    for name, out in zip(names, outs, strict=True):
        body.give(name, floats("B", "L", *inner.type(out).dims[len(front) :]), inner.size(out))
        body.unused[name] = None
    return True


def _arguments(body: Body, front: tuple[str, ...]) -> tuple[list[str], dict[str, Type]]:
    """What stands in the brackets of a scan, and the types of the names inside."""
    arguments: list[str] = []
    inputs: dict[str, Type] = {}
    for place in range(body.rng.randint(1, 4)):
        x = body.pick(lambda t: t.dims[:2] == ("B", "L") and "L" not in t.dims[2:] and t.rank <= 4)
        if x is None:
            break
        type_ = body.type(x)
        name = x
        if x in inputs or body.rng.random() < 0.3:
            name = f"{body.prefix}a{place}"
            x = f"{name}={inline(body, x) if type_.kind == 'float' else x}"
        arguments.append(x)
        inputs[name] = Type(type_.kind, (*front, *type_.dims[2:]))
    # Positional arguments stand before keywords.
    return sorted(arguments, key=lambda text: "=" in text), inputs


def _inner(body: Body, chunk: str | None, inputs: dict[str, Type]) -> Body:
    """The body of a scan: its arguments, and what has no time axis of the surroundings."""
    inner = Body(
        body.rng,
        body.unit,
        chunk,
        indent=body.indent + 1,
        prefix=f"{body.prefix}s",
        fixed=set(body.values) | set(inputs),
        unsized=body.unsized,
    )
    for name, held in body.values.items():
        if "L" not in held.type.dims and name not in inputs:
            inner.give(name, held.type, held.size)
    for name, type_ in inputs.items():
        inner.give(name, type_)
        if type_.kind == "float":
            inner.unused[name] = None
    return inner


def _work(inner: Body, count: int, chunk: str | None) -> None:
    options: Sequence[Production] = GENERAL
    if chunk is not None:
        options = (*GENERAL, along_time, along_time, along_time, convolution, attention_by_hand)
    for _ in range(count):
        inner.guarded.clear()
        inner.rng.choice(options)(inner)


def _may_leave(inner: Body, name: str, front: tuple[str, ...]) -> bool:
    dims = inner.type(name).dims
    return dims[: len(front)] == front and not {*front} & set(dims[len(front) :]) and len(dims) <= 5


def _state(
    body: Body, inner: Body, inputs: dict[str, Type], chunk: str | None, place: int
) -> tuple[str, Type]:
    assert body.unit is not None
    skip = 1 if chunk is None else 2
    shapes = [t.dims[skip:] for t in inputs.values() if t.kind == "float" and t.rank > skip]
    tail = inner.rng.choice(shapes)
    if inner.rng.random() < 0.3 and len(tail) == 1:
        tail = (inner.rng.choice(list(body.unit.sizes)), *tail)
    type_ = floats("B", *tail)
    free = "1" not in tail and body.can_size(tail)
    initial = inner.rng.choice(["0.0", "0.0", "1.0", "-0.5", "param"])
    if initial == "param":
        initial = body.unit.param(inner.rng, tail) if free else "0.5"
    name = inner.rng.choice(["S", "state_", "h", f"{inner.prefix}z"]) + str(place)
    inner.statement(f"state {name}: {type_} = {initial}")
    inner.give(name, type_)
    inner.fixed.add(name)
    return name, type_


def _update(
    inner: Body, state: str, type_: Type, chunk: str | None, inputs: dict[str, Type]
) -> None:
    """A contraction of the state plus something bounded, so that no recurrence explodes."""
    rng = inner.rng
    term = _term(inner, state, type_, chunk, inputs)
    factor = rng.choice(["0.5", "0.9", f"sigmoid({term} + 1.0)", "exp(-0.1)", "0.3"])
    if chunk is None and rng.random() < 0.15:
        factor = "(1.0 / (1.0 + t))"
    decay = f"{factor} * {state}"
    text = rng.choice(
        [
            f"{decay} + {term}",
            f"{term} + {decay}",
            f"{state} - 0.5 * ({state} - {term})",
            f"tanh({decay} + {term})",
            f"{term} * 0.3 + {state} * {factor}",
            f"where({term} > 0.0137, {decay}, {term})",
        ]
    )
    inner.statement(f"{state} = {text}")
    if rng.random() < 0.25 and has_two_positions(type_.dims[-1], inner):
        place = rng.choice(["..., 0", "..., -1", "..., :2", "..., 1:"])
        value = rng.choice(["0.25", f"tanh({state}[{place}])", f"-{state}[{place}]"])
        inner.statement(f"{state}[{place}] = {value}")
    inner.give(state, type_, 4.0)
    inner.unused[state] = None


def _term(inner: Body, state: str, type_: Type, chunk: str | None, inputs: dict[str, Type]) -> str:
    """An expression of the state's type, or one that broadcasts to it, from an argument."""
    rng = inner.rng
    skip = 1 if chunk is None else 2
    tail = type_.dims[1:]
    fitting = [name for name, t in inputs.items() if t.kind == "float" and t.dims[skip:] == tail]
    one_less = [
        name for name, t in inputs.items() if t.kind == "float" and t.dims[skip:] == tail[1:]
    ]
    name = rng.choice(fitting or one_less)
    inner.use(name)
    text = name
    if chunk is not None:
        function = rng.choice(["mean", "max", "sum", "var"])
        text = f"{function}({name}, axis=1)"
    if not fitting:
        text = f"{text}[:, None]"
    return rng.choice([f"tanh({text})", f"0.5 * sin({text})", f"sigmoid({text})"])


MIXING: Sequence[Production] = (
    along_time,
    along_time,
    convolution,
    attention_by_hand,
    attention,
    attention,
    blocked,
    scan,
    scan,
    decayed_scan,
    chunked_scan,
)
