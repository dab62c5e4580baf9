"""Productions that take tensors apart and put them together."""

from __future__ import annotations

from .body import Body, Type, floats, letters, times
from .pointwise import is_float, spelled


def new_axis(body: Body) -> bool:
    x = body.pick(lambda t: t.rank in (2, 3))
    if x is None:
        return False
    type_ = body.type(x)
    axis = body.rng.randint(len(body.front) if body.is_stream(type_) else 0, type_.rank)
    items = [":"] * axis + ["None"]
    text = "..., None" if axis == type_.rank else ", ".join(items)
    body.bind(
        f"{x}[{text}]",
        Type(type_.kind, (*type_.dims[:axis], "1", *type_.dims[axis:])),
        body.size(x),
    )
    return True


def part(body: Body) -> bool:
    """One position, or a slice, of a free axis."""
    x = body.pick(lambda t: any(t.dims[a] != "1" for a in body.free_axes(t)))
    if x is None:
        return False
    type_ = body.type(x)
    axis = body.rng.choice([a for a in body.free_axes(type_) if type_.dims[a] != "1"])
    has_two = has_two_positions(type_.dims[axis], body)
    before = [":"] * axis
    last = axis == type_.rank - 1
    dim = type_.dims[axis]
    items: list[tuple[str, tuple[str, ...]]] = [
        ("0", ()),
        ("-1", ()),
        ("0:1", ("1",)),
        ("-1:", ("1",)),
    ]
    if has_two:
        items += [("1", ()), ("-2", ()), (":2", ("2",)), ("-2:", ("2",)), ("::1", (dim,))]
    if is_even(dim, body):
        items += [(f":{dim} / 2", (f"{dim} / 2",)), (f"{dim} / 2:", (f"{dim} / 2",))]
    item, dims = body.rng.choice(items)
    text = ", ".join(
        ["...", item] if last and axis > 0 and body.rng.random() < 0.6 else [*before, item]
    )
    body.bind(f"{x}[{text}]", type_.but(axis, *dims), body.size(x))
    return True


def halves(body: Body) -> bool:
    """`split`, and often `concat` or `stack` of what was split."""
    x = body.pick(
        lambda t: is_float(t) and any(is_even(t.dims[a], body) for a in body.free_axes(t))
    )
    if x is None:
        return False
    type_ = body.type(x)
    axis = body.rng.choice([a for a in body.free_axes(type_) if is_even(type_.dims[a], body)])
    dim = type_.dims[axis]
    half = f"{dim} / 2"
    written = spelled(body, axis, type_)
    how = f"parts=2, axis={written}"
    if body.rng.random() < 0.4:
        how = f"sizes=[{half}, {half}], axis={written}"
    size = body.size(x)
    a, b = body.bind_several(f"split({x}, {how})", [type_.but(axis, half)] * 2, [size, size])
    if body.rng.random() < 0.6:
        body.use(a), body.use(b)
        joined = body.rng.choice([f"{b}, {a}", f"-{b}, {a}", f"{a}, tanh({b})"])
        if body.rng.random() < 0.6:
            body.bind(f"concat([{joined}], axis={written})", type_, size)
        else:
            at = body.rng.choice([axis, axis + 1])
            dims = (*type_.dims[:axis], half, *type_.dims[axis + 1 :])
            stacked = floats(*dims[:at], "2", *dims[at:])
            body.bind(f"stack([{joined}], axis={spelled(body, at, stacked)})", stacked, size)
    return True


def has_two_positions(dim: str, body: Body) -> bool:
    """Whether a size is known to be at least 2: the unit requires it of its own even dims."""
    return is_even(dim, body) or (dim.isdigit() and int(dim) >= 2)


def is_even(dim: str, body: Body) -> bool:
    if body.unit is None:
        return False
    heads = body.unit.heads
    even = {"D", *body.unit.sizes, *([heads[1]] if heads else [])}
    return dim in even


def grow(body: Body) -> bool:
    """`concat` of two values that differ in one free axis at most."""
    x = body.pick(lambda t: is_float(t) and bool(body.free_axes(t)))
    if x is None:
        return False
    type_ = body.type(x)
    axis = body.rng.choice(body.free_axes(type_))
    if type_.dims[axis] == "1":
        return False

    def fits(other: Type) -> bool:
        if not is_float(other) or other.rank != type_.rank or other.dims[axis] in body.closed:
            return False
        return other.dims[axis] != "1" and other.but(axis) == type_.but(axis)

    y = body.pick(fits)
    if y is None:
        return False
    dims = type_.dims[axis], body.type(y).dims[axis]
    total = f"2 * {dims[0]}" if dims[0] == dims[1] and " " not in dims[0] else " + ".join(dims)
    if dims[0].isdigit() and dims[1].isdigit():
        return False  # their sum might be the size of a chunk
    body.bind(
        f"concat([{x}, {y}], axis={axis - type_.rank})",
        type_.but(axis, total),
        max(body.size(x), body.size(y)),
    )
    return True


def to_heads(body: Body) -> bool:
    if body.unit is None or body.unit.heads is None:
        return False
    x = body.pick(lambda t: is_float(t) and body.is_stream(t) and t.dims[-1:] == ("D",))
    if x is None or body.type(x).rank != len(body.front) + 1:
        return False
    heads, width = body.unit.heads
    front = "b l" if body.time else "b"
    left, right = body.rng.choice([("h k", (heads, width)), ("k h", (width, heads))])
    given = body.rng.choice([f"h={heads}", f"k={width}", f"h={heads}, k={width}"])
    text = f'rearrange({x}, "{front} ({left}) -> {front} {left}", {given})'
    body.bind(text, floats(*body.front, *right), body.size(x))
    return True


def permute(body: Body) -> bool:
    """Free axes in another order; now and then time changes its place too."""
    x = body.pick(lambda t: is_float(t) and body.is_stream(t) and t.rank >= len(body.front) + 1)
    if x is None:
        return False
    type_ = body.type(x)
    names = [*("bl"[: len(body.front)]), *letters(type_.rank - len(body.front))]
    order = list(range(type_.rank))
    if body.rng.random() < 0.75:
        tail = order[len(body.front) :]
        body.rng.shuffle(tail)
        order[len(body.front) :] = tail
    else:
        tail = order[1:]
        body.rng.shuffle(tail)
        order[1:] = tail
    target = [names[a] for a in order]
    dims = [type_.dims[a] for a in order]
    in_front = order[: len(body.front)] == list(range(len(body.front)))
    can_merge = in_front and len(order) >= len(body.front) + 2 and "1" not in dims[-2:]
    if can_merge and body.rng.random() < 0.5:
        target[-2:] = [f"({target[-2]} {target[-1]})"]
        merged = times(dims[-2], dims[-1])
        heads = body.unit.heads if body.unit else None
        if heads and set(dims[-2:]) == set(heads):
            merged = "D"
        dims[-2:] = [merged]
    text = f'rearrange({x}, "{" ".join(names)} -> {" ".join(target)}")'
    body.bind(text, floats(*dims), body.size(x))
    return True


def repeat(body: Body) -> bool:
    if body.unit is None:
        return False
    x = body.pick(lambda t: is_float(t) and body.is_stream(t) and 2 <= t.rank <= 3)
    if x is None:
        return False
    type_ = body.type(x)
    names = [*("bl"[: len(body.front)]), *letters(type_.rank - len(body.front))]
    dim = body.rng.choice([*body.unit.sizes, "3"])
    at = body.rng.randint(len(body.front), len(names))
    target, dims = [*names[:at], "z", *names[at:]], [*type_.dims[:at], dim, *type_.dims[at:]]
    text = f'repeat({x}, "{" ".join(names)} -> {" ".join(target)}", z={dim})'
    body.bind(text, floats(*dims), body.size(x))
    return True


def reduce_pattern(body: Body) -> bool:
    x = body.pick(lambda t: is_float(t) and body.is_stream(t) and t.rank > len(body.front))
    if x is None:
        return False
    type_ = body.type(x)
    names = [*("bl"[: len(body.front)]), *letters(type_.rank - len(body.front))]
    gone = body.rng.randrange(len(body.front), len(names))
    target = [name for a, name in enumerate(names) if a != gone]
    how = body.rng.choice(["sum", "mean", "max", "min"])
    text = f'reduce({x}, "{" ".join(names)} -> {" ".join(target)}", "{how}")'
    body.bind(text, type_.but(gone), body.size(x) * (4.0 if how == "sum" else 1.0))
    return True
