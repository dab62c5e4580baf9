"""Productions that mix positions, all of them causal: attention, convolutions, blocks."""

from __future__ import annotations

from .body import Body, floats
from .pointwise import inline, is_float


def heads_of(body: Body, groups: bool = False) -> str | None:
    """A stream [B, L, H, K], made from one [B, L, D] or by a layer; with `groups` [B, L, G, K]."""
    assert body.unit is not None
    if body.unit.heads is None:
        return None
    heads, width = body.unit.heads
    if groups and body.unit.groups is not None:
        heads = body.unit.groups
    want = floats(*body.front, heads, width)
    front = "b l" if body.time else "b"
    found = body.pick(lambda t: t == want)
    if found is not None and body.rng.random() < 0.5:
        return found
    source = body.pick(lambda t: t == floats(*body.front, "D"))
    if source is None:
        return None
    if heads == body.unit.heads[0] and body.rng.random() < 0.5:
        text = f'rearrange({inline(body, source)}, "{front} (h k) -> {front} h k", k={width})'
    else:
        child = body.unit.child(body.rng, f"Linear(D, {heads} * {width}, bias=false)")
        text = f'rearrange({child}({source}), "{front} (h k) -> {front} h k", k={width})'
    return body.use(body.bind_raw(text, want))


def along_time(body: Body) -> bool:
    x = body.pick(lambda t: is_float(t) and t.dims.count(body.time or "") == 1)
    if x is None or body.time is None:
        return False
    type_, size = body.type(x), body.size(x)
    options = [
        (f"shift({x})", size),
        (f"shift({x}, 3)", size),
        (f"{x} - shift({x}, {body.rng.randint(0, 2)})", 2 * size),
        (f"cumsum({x}) * 0.1", size),
        (f"running_mean({x})", size),
        (f"window_mean({x}, {body.rng.choice([1, 2, 3, 5])})", size),
        (f"cumsum({x}, axis={type_.dims.index(body.time)}) / 10.0", size),
    ]
    if body.unit is not None and body.unit.sizes:
        options.append((f"window_mean({x}, {body.rng.choice(list(body.unit.sizes))})", size))
    text, size = body.rng.choice(options)
    body.bind(text, type_, size)
    return True


def convolution(body: Body) -> bool:
    if body.unit is None or body.time is None:
        return False
    x = body.pick(lambda t: body.is_stream(t) and 3 <= t.rank <= 4)
    if x is None:
        return False
    channels = body.type(x).dims[2:]
    if not body.can_size(channels):
        return False
    if body.time == "L" and body.rng.random() < 0.25:
        rate = body.unit.param(body.rng, channels, "ones")
        text = f"exp(-abs({rate})[..., None] * positions())"
        body.bind(f"long_conv({inline(body, x)}, {text})", body.type(x), 3.0)
        return True
    weight = body.unit.param(body.rng, (*channels, body.rng.choice(["1", "2", "3", "4"])))
    arguments = [inline(body, x), weight]
    if body.rng.random() < 0.5:
        arguments.append(body.unit.param(body.rng, channels))
    if body.rng.random() < 0.3:
        arguments.append("dilation=2") if len(arguments) == 2 else None
    if len(arguments) == 3 and arguments[-1] != "dilation=2" and body.rng.random() < 0.3:
        arguments[-1] = f"bias={arguments[-1]}"
        arguments.append(f"dilation={body.rng.randint(1, 3)}")
    body.bind(f"causal_conv({', '.join(arguments)})", body.type(x), 3.0)
    return True


def attention_by_hand(body: Body) -> bool:
    """Scores by `einsum`, masked, and consumed by a softmax, a sum or another reduction."""
    if body.unit is None or body.time is None or body.unit.heads is None:
        return False
    parts: list[str | None] = []
    for _ in range(3):
        parts.append(heads_of(body))
        body.guard(parts[-1])
    q, k, v = parts
    if q is None or k is None or v is None:
        return False
    heads, width = body.unit.heads
    time = body.time
    scores = f'einsum("b l h k, b m h k -> b h l m", {q}, {k})'
    if body.rng.random() < 0.5:
        scores = f"{scores} / sqrt({width})"
    mask = f"causal({scores})"
    if time == "L" and body.rng.random() < 0.4:
        distance = "positions()[:, None] - positions()[None, :]"
        test = body.rng.choice([f"{distance} >= 0.0", f"{distance} >= 1.0", f"{distance} == 2.0"])
        mask = f"masked({scores}, {test})"
        if body.rng.random() < 0.5:
            mask = f"causal(masked({scores}, abs({distance}) < 3.0))"
    out = floats("B", time, heads, width)
    mixed = '"b h l m, b m h k -> b l h k"'
    match body.rng.randrange(6):
        case 0:
            body.bind(f"einsum({mixed}, softmax({mask}, axis=-1), {v})", out, 1.0)
        case 1:
            body.bind(f"einsum({mixed}, tanh({mask}) * 0.1, {v})", out, 3.0)
        case 2:
            # A weight that is not zero outside the mask before the sum: the mask must hold it.
            body.bind(f"einsum({mixed}, exp(tanh({mask})) * 0.1 + 0.1, {v})", out, 6.0)
        case 3:
            name = body.rng.choice(["max", "min", "logsumexp", "mean", "var", "sum"])
            row = body.bind(f"{name}({mask}, axis=-1)", floats("B", heads, time), 9.0)
            body.use(row)
            body.bind(f'rearrange({row}, "b h l -> b l h")', floats("B", time, heads), 2.0)
        case 4:
            body.bind(f"einsum({mixed}, softmax({mask}, axis=3), {v}) * {q}", out, 2.0)
        case _:
            weights = body.bind_raw(f"softmax({mask}, axis=-1)", floats("B", heads, time, time))
            body.use(weights)
            body.bind(f"einsum({mixed}, {weights} * {weights}, {v}) + {v}", out, 2.0)
    return True


def attention(body: Body) -> bool:
    """`attend`, with options or with a block."""
    if body.unit is None or body.time != "L" or body.unit.heads is None:
        return False
    q = heads_of(body)
    body.guard(q)
    k = heads_of(body, groups=True)
    body.guard(k)
    v = heads_of(body, groups=True)
    body.guard(v)
    if q is None or k is None or v is None or body.type(k) != body.type(v):
        return False
    heads, width = body.unit.heads
    out = floats("B", "L", heads, width)
    rng = body.rng
    options = []
    if rng.random() < 0.3:
        options.append(f"scale={rng.choice(['0.3', '1', width + ' ** -0.5', '1.0 / ' + width])}")
    if rng.random() < 0.3:
        options.append(f"window={rng.choice(['1', '2', '5', *body.unit.sizes])}")
    if rng.random() < 0.2:
        options.append(f"sinks={body.unit.param(rng, (heads,))}")
    if rng.random() < 0.2:
        options.append(f"softcap={rng.choice(['2.0', '15.0'])}")
    if rng.random() < 0.2:
        slope = body.unit.param(rng, (heads,))
        bias = rng.choice(
            [
                "-0.1 * abs(positions()[:, None] - positions()[None, :])",
                f"{slope}[:, None, None] * cos(positions())[:, None]",
                f"{slope}[:, None, None] * sin(positions())[None, None, :]",
            ]
        )
        options.append(f"bias={bias}")
    if rng.random() < 0.15:
        x = body.pick(lambda t: t == floats("B", "L", "D"), fresh_first=False)
        if x is not None:
            options.append(f"segments=int({x}[..., 0] > 0.0)")
    call = f"attend({', '.join([q, k, v, *options])})"
    if rng.random() < 0.5:
        body.bind(call, out, 1.0)
        return True
    lines = []
    slope = body.unit.param(rng, (heads,))
    gate = body.pick(lambda t: t == floats("B", "L", heads))
    edits = [
        "score = 4.0 * tanh(score / 4.0)",
        f"score = score - abs({slope}[h]) * (i - j)",
        f"score = score + {slope}[h]",
        "score = where(j % 2 == 0, score, score - 1.0)",
        "score = score - log1p(float(i - j))" if not options else "score = score * 0.5",
        "score = score / (1 + h)",
    ]
    if gate is not None:
        edits += [f"score = score + {gate}[b, j, h]", f"score = score * {gate}[b, i, h]"]
        edits.append(f"score = score + {gate}[b, j - 1, h // 2] - {gate}[b, i // 3, h]")
    lines += rng.sample(edits, rng.randint(0, 2))
    keeps = [
        "keep = i - j < 3",
        "keep = i - j < 2 or j < 1",
        "keep = i // 4 == j // 4",
        "keep = (i - j) % 2 == 0 and h >= 0",
        "keep = j > 0",
        "keep = score > -0.5",
    ]
    if not lines or rng.random() < 0.5:
        lines.append(rng.choice(keeps))
    name = body.fresh()
    body.statement(f"{name} = {call} {{")
    body.indent += 1
    for line in lines:
        # log1p of a negative number is NaN above the diagonal: it must not leak.
        body.statement(line)
    body.indent -= 1
    body.statement("}")
    body.give(name, out)
    body.unused[name] = None
    return True


def blocked(body: Body) -> bool:
    """Time cut into blocks and joined again, with work along the offset in between."""
    if body.time != "L" or body.unit is None:
        return False
    x = body.pick(lambda t: body.is_stream(t) and t.rank == 3)
    if x is None:
        return False
    dim = body.type(x).dims[2]
    size = body.rng.choice(["2", "3", "4", *body.unit.sizes])
    cut = body.fresh()
    body.statement(f"{cut} = blocks({inline(body, x)}, {size})")
    weight = body.unit.param(body.rng, (size, "1"), "any")
    scores = f'causal(einsum("b n c d, b n s d -> b n c s", {cut}, {cut}))'
    work = body.rng.choice(
        [
            f"tanh({cut})",
            f"cumsum({cut}, axis=2) * 0.2",
            f"{cut} * {weight}",
            f'einsum("b n c s, b n s d -> b n c d", softmax({scores}, axis=-1), {cut})',
            f"{cut} + {weight}[0, 0]",
        ]
    )
    body.bind(f"unblocks({work})", floats("B", "L", dim), 3.0)
    return True
