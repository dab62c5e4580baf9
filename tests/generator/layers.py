"""Productions with parameters and children, constants, and choices by data."""

from __future__ import annotations

from collections.abc import Sequence

from .body import Body, Type, floats, letters
from .pointwise import (
    POINTWISE,
    Production,
    binary,
    counting,
    inline,
    is_float,
    norm,
    reduction,
    softmax,
    unary,
)
from .shapes import grow, halves, new_axis, part, permute, reduce_pattern, repeat, to_heads


def linear(body: Body) -> bool:
    """A layer on the last axis, or several one after another."""
    if body.unit is None:
        return False
    x = body.pick(
        lambda t: (
            is_float(t)
            and t.rank >= 2
            and t.rank - 1 in body.free_axes(t)
            and body.can_size(t.dims[-1:])
        )
    )
    if x is None:
        return False
    type_ = body.type(x)
    width = type_.dims[-1]
    out = body.rng.choice(["D", *body.unit.sizes, "1"])
    bias = body.rng.choice(["", ", bias=false", ", bias=true"])
    layer = body.rng.choice(
        [
            f"Linear({width}, {out}{bias})",
            f"Linear({width}, {out}{bias})",
            f"Linear({width}, {out}, init=normal(0.0, 0.2))",
            f"Sequential(Linear({width}, {out}{bias}), tanh, Linear({out}, {out}))",
            f"Sequential(gelu, Linear({width}, D), Linear(D, {out}), rms_norm, sigmoid)",
        ]
    )
    # A shared child that only dead code calls has no parameters (see test_backends): in a scan, and
    # where leading axes are unknown, results may stay unused.
    is_used = body.prefix == "v" and "..." not in type_.dims
    child = body.unit.child(body.rng, layer, can_share=is_used)
    body.bind(f"{child}({inline(body, x)})", type_.but(-1, out), 2.0)
    return True


def contraction(body: Body) -> bool:
    """`einsum` or `@` with a parameter, or of two streams over a free axis they share."""
    if body.unit is None:
        return False
    x = body.pick(lambda t: is_float(t) and body.is_stream(t) and t.rank > len(body.front))
    if x is None:
        return False
    type_ = body.type(x)
    front = "bl"[: len(body.front)]
    free = letters(type_.rank - len(body.front))
    names = [*front, *free]
    axis = body.rng.randrange(len(body.front), type_.rank)
    dim = type_.dims[axis]
    if dim == "1":
        return False
    sizes = body.can_size([dim])

    def shares(other: Type) -> bool:
        return is_float(other) and body.is_stream(other) and dim in other.dims and other.rank <= 4

    y = body.pick(shares) if body.rng.random() < 0.4 or not sizes else None
    if y is None and not sizes:
        return False
    if y is None:
        out = body.rng.choice(["D", *body.unit.sizes])
        weight = body.unit.param(body.rng, (dim, out))
        if axis == type_.rank - 1 and body.rng.random() < 0.5:
            body.bind(f"{x} @ {weight}", type_.but(axis, out), 2.0 * body.size(x))
            return True
        target = [*names[:axis], "z", *names[axis + 1 :]]
        pattern = f"{' '.join(names)}, {names[axis]} z -> {' '.join(target)}"
        body.bind(f'einsum("{pattern}", {x}, {weight})', type_.but(axis, out), 2.0 * body.size(x))
        return True
    other = body.type(y)
    match = other.dims.index(dim)
    right = [*front, *(f"{c}" for c in "ijefg"[: other.rank - len(body.front)])]
    right[match] = names[axis]
    keep = [n for n in names[len(front) :] if n != names[axis]]
    keep += [n for n in right[len(front) :] if n != names[axis]]
    keep = keep[:2]
    dims = dict(zip([*names, *right], [*type_.dims, *other.dims], strict=True))
    pattern = f"{' '.join(names)}, {' '.join(right)} -> {' '.join([*front, *keep])}"
    body.bind(
        f'einsum("{pattern}", {x}, {y})',
        floats(*body.front, *(dims[n] for n in keep)),
        4.0 * body.size(x) * body.size(y),
    )
    return True


def parameter(body: Body) -> bool:
    """A parameter or a constant, of a shape that goes with a value in scope."""
    if body.unit is None:
        return False
    x = body.pick(lambda t: is_float(t) and bool(body.free_axes(t)), fresh_first=False)
    if x is None:
        return False
    dims = body.type(x).dims
    tail = dims[-1:] if body.rng.random() < 0.6 or len(dims) < 2 else dims[-2:]
    if body.closed & set(tail) or "1" in tail or not body.can_size(tail):
        return False
    like = body.rng.choice(["small", "ones", "any", "any"])
    name = body.unit.param(body.rng, tail, like)
    body.bind(
        f"{inline(body, x)} * {name}" if body.rng.random() < 0.5 else f"{name} + {x}",
        body.type(x),
        2.0 * body.size(x),
    )
    return True


def constant(body: Body) -> bool:
    if body.unit is None:
        return False
    dim = body.rng.choice(["D", *body.unit.sizes])
    text, dims = body.rng.choice(
        [
            (f"arange({dim}) / {dim}", (dim,)),
            (f"10.0 ** (-arange({dim}) / {dim})", (dim,)),
            (f"eye({dim})", (dim, dim)),
            (f"ones({dim})", (dim,)),
            (f"zeros(B, {dim})", ("B", dim)),
            (f"cos(arange({dim}))[None] + ones({dim}, {dim})", (dim, dim)),
        ]
    )
    if body.time == "L" and body.rng.random() < 0.4:
        text, dims = body.rng.choice(
            [
                ("sin(positions())[:, None]", ("L", "1")),
                (f"cos(positions()[:, None] * arange({dim}))", ("L", dim)),
                ("1.0 / (1.0 + positions())[None, :, None]", ("1", "L", "1")),
                ("positions()[:, None] % 3 / 3", ("L", "1")),
                (f"ones(B, L, {dim})", ("B", "L", dim)),
            ]
        )
    body.bind(text, floats(*dims))
    return True


def choice_by_data(body: Body) -> bool:
    """`topk`, `argmax`, `one_hot`, `take`, `gather`, `topk_mask` along the last axis."""
    if body.unit is None:
        return False
    sizes = {"D", *body.unit.sizes}
    x = body.pick(lambda t: is_float(t) and body.is_stream(t) and t.dims[-1] in sizes)
    if x is None:
        return False
    type_ = body.type(x)
    dim = type_.dims[-1]
    match body.rng.randrange(6):
        case 0:
            best, places = body.bind_several(
                f"topk({x}, 2)",
                [type_.but(-1, "2"), Type("int", type_.but(-1, "2").dims)],
                [6.0, 1.0],
            )
            body.use(places)
            body.bind(f"float({places}) * 0.1 + {body.use(best)}", type_.but(-1, "2"), 4.0)
        case 1:
            place = f"argmax({x}, axis=-1)"
            body.bind(f"float(one_hot({place}, {dim})) * {x}", type_, body.size(x))
        case 2:
            out = body.rng.choice(["D", *body.unit.sizes])
            table = body.unit.param(body.rng, (dim, out))
            body.bind(f"take({table}, argmax({x}, axis=-1))", type_.but(-1, out), 1.0)
        case 3:
            body.bind(f"where(topk_mask({x}, 2), {x}, 0.0)", type_, body.size(x))
        case 4:
            body.bind(
                f"gather({x}, argmax({x}, axis=-1, keep=true))", type_.but(-1, "1"), body.size(x)
            )
        case _:
            body.bind(f"cumsum({x}, axis=-1) * 0.1", type_, body.size(x))
    return True


def triangular(body: Body) -> bool:
    if body.unit is None:
        return False
    sizes = set(body.unit.sizes)
    x = body.pick(
        lambda t: (
            is_float(t) and body.is_stream(t) and t.rank > len(body.front) and t.dims[-1] in sizes
        )
    )
    if x is None:
        return False
    type_ = body.type(x)
    weight = body.unit.param(body.rng, (type_.dims[-1], type_.dims[-1]))
    matrix = f"eye({type_.dims[-1]}) + 0.3 * tanh({weight})"
    # solve_lower reads the diagonal; sin keeps it away from 0.
    solved = body.bind_raw(
        f"solve_lower({matrix}, {x}[..., None])", Type("float", (*type_.dims, "1")), 9.0
    )
    body.use(solved)
    body.bind(f"{solved}[..., 0]", type_, 9.0)
    return True


GENERAL: Sequence[Production] = (
    *POINTWISE,
    unary,
    binary,
    reduction,
    softmax,
    norm,
    new_axis,
    part,
    halves,
    grow,
    to_heads,
    to_heads,
    permute,
    permute,
    repeat,
    reduce_pattern,
    linear,
    linear,
    contraction,
    contraction,
    parameter,
    parameter,
    constant,
    choice_by_data,
    triangular,
    counting,
)
