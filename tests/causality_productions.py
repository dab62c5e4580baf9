"""What a random design may do along time, leaking ways among them."""

from __future__ import annotations

from collections.abc import Callable

from causality_body import Program
from causality_masks import mask, masked_scores, position, scores

Production = Callable[[Program], None]


def simple(p: Program) -> None:
    a, b = p.stream(), p.stream()
    p.give(
        p.rng.choice(
            [
                f"{a} * {b}",
                f"{a} - 0.5 * {b}",
                f"where({a} > 0.0, {b}, {a})",
                f"rms_norm({a}) * {b}",
                f"layer_norm({a})",
                f"{p.linear()}({a})",
                f"{a} * sin(0.3 * positions())[:, None]",
                f"{a} * mean({b}, axis=-1, keep=true)",
                f"{a} * 0.3",
            ]
        )
    )


def along_time(p: Program) -> None:
    a = p.stream()
    rng = p.rng
    p.give(
        rng.choice(
            [
                f"shift({a}, {rng.randint(0, 3)})",
                f"{a} - shift({a})",
                f"cumsum({a}) * 0.2",
                f"running_mean({a})",
                f"window_mean({a}, {rng.randint(1, 4)})",
                f"causal_conv({a}, {p.param('D, 3')}, dilation={rng.randint(1, 2)})",
                f"long_conv({a}, exp(-0.3 * positions())[None, :] * {p.param('D')}[:, None])",
                f"cumsum({a}, axis=1) * 0.1",
                f"cumsum({a}, axis=-1) * 0.3",
            ]
        )
    )


def reduction(p: Program) -> None:
    """A reduction over time, or over rows: a leak, unless a mask makes it none."""
    a, b = p.stream(), p.stream()
    op = p.rng.choice(["mean", "sum", "max", "min", "var", "logsumexp"])
    axis = p.rng.choice(["1", "1", "1", "0", "-1"])
    gate = p.value(f"sigmoid({op}({a}, axis={axis}, keep=true))")
    p.give(f"{b} * {gate}")


def attention_by_hand(p: Program) -> None:
    rng = p.rng
    s, is_masked = masked_scores(p)
    v = p.stream()
    match rng.randrange(9):
        case 0 | 1 | 2:
            p.give(f'einsum("b l m, b m d -> b l d", softmax({s}, axis=-1), {v})')
        case 3:
            w = f"tanh({s})"
            p.give(f'0.3 * einsum("b l m, b m d -> b l d", {w}, {v})')
        case 4:
            a = p.value(f"softmax({s}, axis=-1)")
            p.give(f"({a} @ {a}) @ {v}")
        case 5:
            op = rng.choice(["max", "sum", "mean", "logsumexp", "min"])
            axis = rng.choice(["-1", "-1", "2", "1"])
            row = p.value(f"tanh({op}({s}, axis={axis}))")
            p.give(f"{row}[:, :, None] * {v}")
        case 6:
            # Contracted over the query.
            p.give(f'einsum("b l m, b l d -> b m d", softmax({s}, axis=-1), {v})')
        case 7:
            p.give(f"softmax({s}, axis={rng.choice(['1', '2'])}) @ {v}")
        case _:
            if is_masked:
                p.give(f'0.1 * einsum("b l m, b m d -> b l d", exp(tanh({s})), {v})')
            else:
                child = f"c{len(p.members)}"
                p.members.append(f"    {child} = LastSoftmax()")
                p.give(f"{child}({s}) @ {v}")


def constant_mixing(p: Program) -> None:
    """A fixed matrix over positions, from a mask."""
    v = p.stream()
    rng = p.rng
    m = p.value(f"float({mask(p)})")
    match rng.randrange(5):
        case 0:
            p.give(f'0.3 * einsum("l m, b m d -> b l d", {m}, {v})')
        case 1:
            p.give(f"0.3 * ({m} @ {v})")
        case 2:
            n = p.value(f"float({mask(p)})")
            p.give(f"0.1 * (({m} @ {n}) @ {v})")
        case 3:
            p.give(f'0.3 * einsum("l m, b l d -> b m d", {m}, {v})')
        case _:
            p.give(f'0.3 * einsum("l m, m k, b k d -> b l d", {m}, float({mask(p)}), {v})')


def blocked(p: Program) -> None:
    a = p.stream()
    rng = p.rng
    size = rng.choice([1, 2, 3, 4])
    x = p.value(f"blocks({a}, {size})")
    n = f"blocks(positions(), {size})[:, 0]"
    order = rng.choice([">", ">", ">=", "<", "=="])
    op = rng.choice(["sum", "mean", "max"])
    pairs = f'einsum("b n c d, b n s d -> b n c s", {x}, {x})'
    within = 'einsum("b n c s, b n s d -> b n c d", softmax({}, axis=-1), ' + f"{x})"
    chosen = f"float({n}[:, None] {order} {n}[None, :])"
    past = f'einsum("n m, b m d -> b n d", {chosen}, {op}({x}, axis=2))[:, :, None]'
    flat = f'rearrange({x}, "b n c d -> b n (c d)")'
    choices = [
        f"tanh({x})",
        f"0.3 * cumsum({x}, axis=2)",
        f"{x} + {x}[:, :, :1]",
        f"{x} + {x}[:, :, {size - 1}][:, :, None]",
        f"{x} - {op}({x}, axis=2, keep=true)",
        within.format(f"causal({pairs})"),
        within.format(pairs),
        f"{x} + 0.3 * {past}",
        f"0.3 * {x} + 0.3 * {past}",
        f"{x} - mean({x}, axis=1, keep=true)",
        f'{x} + reduce({x}, "b n c d -> b n 1 d", "{op}")',
        f'repeat({x}[:, :, 0], "b n d -> b n c d", c={size})',
        f'repeat({op}({x}, axis=2), "b n d -> b n c d", c={size})',
        f'0.2 * rearrange({flat}, "b n (c d) -> b n c d", c={size})',
        f"sin({x})",
        f"concat([{x}[:, :, 1:], {x}[:, :, :1]], axis=2)" if size > 1 else f"cos({x})",
        f"concat([{x}[:, :, :1], {x}[:, :, :{size - 1}]], axis=2)" if size > 1 else f"-{x}",
        f"0.5 * {x}",
    ]
    p.give(f"unblocks({rng.choice(choices)})")


def scan(p: Program) -> None:
    a = p.stream()
    rng = p.rng
    state = f"S{p.name()}"
    result = p.name()
    t = rng.choice(["", "", " / (t + 1.0)", " * float(t % 2)"])
    update = rng.choice(
        [
            f"0.5 * {state} + a{t}",
            f"{state} * sigmoid(a) + a",
            f"tanh({state} + a){t}",
            f"maximum({state}, a)",
            "a",
            f"{state} + 0.1",
        ]
    )
    order = rng.randrange(3)
    self_read = rng.choice([state, f"{state} * a", f"sum({state}, axis=-1)[:, None] * a"])
    body = [f"state {state}: [B, D] = {rng.choice(['0.0', '1.0'])}"]
    if order == 0:
        body += [f"{state} = {update}", f"return {self_read}"]
    elif order == 1:
        read = p.name()
        body += [f"{read} = {self_read}", f"{state} = {update}", f"return {read}"]
    else:
        other = f"T{p.name()}"
        body += [
            f"state {other}: [B, D] = 0.0",
            f"{other} = {state} - 0.3 * {other}",
            f"{state} = {update}",
            f"return {other} + {self_read}",
        ]
    p.line(f"{result} = scan(a={a}) {{")
    p.lines += [f"            {text}" for text in body]
    p.line("}")
    p.streams.append(p.value(f"tanh({result})"))


def chunked(p: Program) -> None:
    a = p.stream()
    rng = p.rng
    size = rng.choice([1, 2, 3, 4])
    state, result = f"S{p.name()}", p.name()
    summary = rng.choice(["sum(a, axis=1)", "a[:, -1]", "mean(a, axis=1)", "max(a, axis=1)"])
    update = f"{state} = 0.5 * {state} + 0.3 * {summary}"
    inner = rng.choice(
        [
            "a",
            "0.3 * cumsum(a)",
            "shift(a)",
            'softmax(causal(a @ rearrange(a, "b c d -> b d c")), axis=-1) @ a',
            'softmax(a @ rearrange(a, "b c d -> b d c"), axis=-1) @ a',
            "a - mean(a, axis=1, keep=true)",
            "a * sin(0.1 * t)",
            f"a + 0.1 * arange({size})[:, None]",
            f"float(arange({size})[:, None] >= arange({size})[None, :]) @ a * 0.3",
            f"float(arange({size})[:, None] <= arange({size})[None, :]) @ a * 0.3",
        ]
    )
    body = [f"state {state}: [B, D] = 0.0"]
    if rng.random() < 0.7:
        read = p.name()
        body += [f"{read} = {state}[:, None] + {inner}", update, f"return {read}"]
    else:
        body += [update, f"return {state}[:, None] + {inner}"]
    p.line(f"{result} = scan(a={a}) chunk {size} {{")
    p.lines += [f"            {text}" for text in body]
    p.line("}")
    p.streams.append(p.value(f"tanh({result})"))


def attention(p: Program) -> None:
    a, b = p.stream(), p.stream()
    rng = p.rng
    q, v = p.value(f"{a}[:, :, None]"), p.value(f"{b}[:, :, None]")
    gate = p.value(f"mean({p.stream()}, axis=-1)")
    options = rng.choice(
        ["", ", window=3", ", softcap=2.0", ", segments=int(" + a + "[..., 0] > 0.0)"]
    )
    if rng.random() < 0.2:
        options += f", bias=-0.1 * abs({position(p)}[:, None] - {position(p)}[None, :])"
    if rng.random() < 0.3:
        p.give(f"attend({q}, {v}, {v}{options})[:, :, 0]")
        return
    result = p.name()
    lines = rng.sample(
        [
            "score = score - 0.3 * (i - j)",
            f"score = score + {gate}[b, j]",
            f"score = score * {gate}[b, i]",
            f"score = score + {gate}[b, j - 1]",
            f"score = score + {gate}[b, j + 1]",
            f"score = score * {gate}[b, i + 1]",
            f"score = score * {gate}[b, i // 2]",
            f"score = score + {gate}[b, j // 2]",
            f"score = score + {gate}[b, (j // 2) * 2]",
            f"score = score + {gate}[b, (j // 2) * 2 + 1]",
            f"score = where({gate}[b, j] > 0.0, score, 0.5 * score)",
        ],
        rng.randint(0, 2),
    )
    keep = [
        "keep = i - j < 3 or j < 1",
        "keep = i // 3 == j // 3",
        "keep = score > 0.0",
        f"keep = {gate}[b, j] > -0.3",
        "keep = j > 0",
        "keep = j <= i + 2",
    ]
    if not lines or rng.random() < 0.4:
        lines.append(rng.choice(keep))
    p.line(f"{result} = attend({q}, {v}, {v}{options}) {{")
    p.lines += [f"            {text}" for text in lines]
    p.line("}")
    p.streams.append(p.value(f"tanh({result}[:, :, 0])"))


def lookup(p: Program) -> None:
    """Positions read at computed places."""
    a = p.stream()
    rng = p.rng
    swapped = p.value(f'rearrange({a}, "b l d -> l b d")')
    index = rng.choice(
        [
            f"int({position(p)})",
            f"int({position(p)})",
            "int(positions()) - 1",
            "int(positions()) + 1",
            "int(positions()) // 2",
            "int(positions()) * 2",
            "int(positions()) // 3 * 3",
            "int(positions()) // 3 * 3 + 1",
        ]
    )
    p.give(f'rearrange({swapped}[{index}], "l b d -> b l d")')


def choosing(p: Program) -> None:
    a = p.stream()
    rng = p.rng
    row = p.value(f"mean({a}, axis=-1)")
    p.give(
        rng.choice(
            [
                f"{a} * float(topk_mask({row}, 2, axis=1))[:, :, None]",
                f"{a} * float(topk_mask({a}, 2, axis=-1))",
                f"{a} * float(any({a} > 1.0, axis=-1))[:, :, None]",
                f"{a} * float(all({a} < 1.0, axis=1))[:, None]",
                f"{a} * softmax({row}, axis=1)[:, :, None]",
                f"{a} * float(argmax({a}, axis=-1))[:, :, None]",
            ]
        )
    )


def of_length(p: Program) -> None:
    """Values made of nothing but positions, some of which know how long the sequence is."""
    a = p.stream()
    rng = p.rng
    past = "positions()[:, None] >= positions()[None, :]"
    ahead = "positions()[:, None] + 1.0 >= positions()[None, :]"
    row = rng.choice(
        [
            f"{position(p)}",
            "positions() / sum(ones(L), axis=0)",
            "cumsum(ones(L)) / (positions() + 1.0)",
            "sum(float(positions()[:, None] >= positions()[None, :]), axis=1)",
            "sum(float(positions()[:, None] <= positions()[None, :]), axis=1)",
            "mean(float(positions()[:, None] >= positions()[None, :]), axis=1)",
            "unblocks(blocks(ones(L), 3) + sum(blocks(ones(L), 3), axis=1, keep=true))",
            "unblocks(cumsum(blocks(ones(L), 3), axis=1))",
            f"max(positions()[None, :] * float({past}), axis=1)",
            f"sum(shift(ones(L), 1)[None, :] * float({ahead}), axis=1)",
        ]
    )
    p.give(f"{a} * sin(0.3 * ({row}))[:, None]")


def joined_in_time(p: Program) -> None:
    """A longer time axis, contracted away again."""
    a, b = p.stream(), p.stream()
    rng = p.rng
    k = rng.randint(1, 2)
    parts = rng.choice([f"zeros(B, {k}, D), {a}", f"{a}, zeros(B, {k}, D)", f"{a}, {b}"])
    x = p.value(f"concat([{parts}], axis=1)")
    s = p.value(f'einsum("b l d, b m d -> b l m", {b}, {x})')
    q = p.value(
        rng.choice(
            [
                "concat([positions(), positions()], axis=0)"
                if "zeros" not in parts
                else f"concat([zeros({k}), positions()], axis=0)"
                if parts.startswith("zeros")
                else f"concat([positions(), zeros({k})], axis=0)",
            ]
        )
    )
    kept = rng.choice(
        [f"positions()[:, None] >= {q}[None, :]", f"positions()[:, None] == {q}[None, :]"]
    )
    masked = f"softmax(masked({s}, {kept}), axis=-1)"
    form = masked if rng.random() < 0.2 else f"softmax({s}, axis=-1)"
    p.give(f"{form} @ {x}")


def triangular(p: Program) -> None:
    a = p.stream()
    s = scores(p)
    m = p.value(f"where(positions()[:, None] == positions()[None, :], 2.0, 0.1 * tanh({s}))")
    p.give(f"solve_lower({m}, {a})")


def transposed(p: Program) -> None:
    a = p.stream()
    turned = f'rearrange({a}, "b l d -> b d l")'
    p.give(
        p.rng.choice(
            [
                f'rearrange(rms_norm(rearrange({a}, "b l d -> b d l")), "b d l -> b l d")',
                f'rearrange(softmax(rearrange({a}, "b l d -> d b l"), axis=0), "d b l -> b l d")',
                f'rearrange(softmax(rearrange({a}, "b l d -> d b l"), axis=1), "d b l -> b l d")',
                f'rearrange(cumsum({turned}, axis=-1), "b d l -> b l d") * 0.1',
            ]
        )
    )


def child(p: Program) -> None:
    a = p.stream()
    name = f"c{len(p.members)}"
    unit = p.rng.choice(
        [
            "Mixer",
            "MiddleMean",
            "LastSoftmax",
            "LastOf",
            "FirstOf",
            "Shared",
            "Cut",
            "Rows",
            "Places",
        ]
    )
    p.members.append(f"    {name} = {unit}()")
    p.give(f"{name}({a})")


def through_z(p: Program) -> None:
    a = p.stream()
    if p.z:
        return
    if p.rng.random() < 0.6:
        p.z = ["    reads memo: [B, L, D]?", "    writes memo: [B, L, D]"]
        p.give(f"{a} * 0.5 + 0.5 * (Z.memo ?? {a})")
        p.line(f"Z.memo = {p.rng.choice([p.streams[-1], f'shift({a})', f'cumsum({a}) * 0.1'])}")
    else:
        p.z = ["    reads memo: [B, D]?", "    writes memo: [B, D]"]
        start = p.param("D")
        p.give(f"{a} + (Z.memo ?? zeros(B, D) + {start})[:, None]")
        p.line(f"Z.memo = {p.rng.choice([f'mean({a}, axis=1)', f'zeros(B, D) + {start}'])}")


PRODUCTIONS: list[tuple[Production, int]] = [
    (simple, 4),
    (along_time, 5),
    (reduction, 1),
    (attention_by_hand, 6),
    (constant_mixing, 4),
    (blocked, 5),
    (scan, 3),
    (chunked, 4),
    (attention, 4),
    (lookup, 2),
    (choosing, 1),
    (of_length, 2),
    (joined_in_time, 1),
    (triangular, 1),
    (transposed, 1),
    (child, 3),
    (through_z, 1),
]
