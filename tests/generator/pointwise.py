"""Productions that work element by element, reduce, or normalise.

Each takes a body, adds statements that are well-typed by construction, and says whether it could.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .body import Body, Type, floats

Production = Callable[[Body], bool]


def is_float(type_: Type) -> bool:
    return type_.kind == "float"


def spelled(body: Body, axis: int, of: Type) -> int:
    """The axis counted from either end; from the end where leading axes are unknown."""
    from_end = of.dims[:1] == ("...",) or body.rng.random() < 0.5
    return axis - of.rank if from_end else axis


def inline(body: Body, name: str) -> str:
    """The name, or a bounded function of it."""
    if body.rng.random() < 0.3:
        function = body.rng.choice(["tanh", "sigmoid", "sin", "erf", "silu", "-", "cos"])
        return f"-{name}" if function == "-" else f"{function}({name})"
    return name


# The function, and a bound on its result for arguments up to about 6.
UNARY: Sequence[tuple[str, float]] = (
    ("tanh({0})", 1.0),
    ("sigmoid({0})", 1.0),
    ("silu({0})", 6.0),
    ("gelu({0})", 6.0),
    ('gelu({0}, approximate="tanh")', 6.0),
    ("relu({0} + 0.0213)", 6.0),
    ("softplus({0})", 6.0),
    ("elu({0})", 6.0),
    ("logsigmoid({0})", 6.0),
    ("sin({0})", 1.0),
    ("cos({0})", 1.0),
    ("erf({0})", 1.0),
    ("abs({0} - 0.0213)", 6.0),
    ("square({0})", 36.0),
    ("exp(-abs({0}))", 1.0),
    ("expm1(tanh({0}))", 2.0),
    ("log1p(square({0}))", 4.0),
    ("log(1.0 + abs({0}))", 2.0),
    ("sqrt(1.0 + square({0}))", 6.0),
    ("rsqrt(1.0 + square({0}))", 1.0),
    ("reciprocal(2.0 + sin({0}))", 1.0),
    ("clamp({0}, lo=-1.0, hi=1.0)", 1.0),
    ("clamp({0}, lo=-0.5)", 6.0),
    ("clamp({0}, hi=0.5)", 6.0),
    ("sign({0} + 0.0713)", 1.0),
    ("floor({0} + 0.137)", 6.0),
    ("ceil({0} - 0.137)", 6.0),
    ("round({0} + 0.137)", 6.0),
    ("detach({0})", 6.0),
    ("f32({0})", 6.0),
    ("dropout({0}, 0.1)", 6.0),
    ("-{0}", 6.0),
    ("{0} ** 2", 36.0),
    ("{0} ** 3", 200.0),
    ("(1.0 + abs({0})) ** -0.5", 1.0),
    ("2.0 ** tanh({0})", 2.0),
    ("1.0 - {0}", 6.0),
    ("3 * {0} - 1", 18.0),
    ("{0} / 2", 3.0),
    ("({0} + 0.137) // 2.0", 3.0),
    ("({0} + 0.137) % 1.5", 1.5),
    ("1.0 / (1.0 + {0} * {0})", 1.0),
)


def unary(body: Body) -> bool:
    x = body.pick(is_float)
    if x is None:
        return False
    text, size = body.rng.choice(UNARY)
    body.bind(text.format(x), body.type(x), min(size, max(1.0, size / 6 * body.size(x))))
    return True


def broadcasts(large: tuple[str, ...], small: tuple[str, ...]) -> bool:
    """Whether the second shape broadcasts into the first without stretching it."""
    if len(small) > len(large):
        return False
    return all(s in ("1", b) for s, b in zip(reversed(small), reversed(large), strict=False))


def partner(body: Body, x: str) -> str | None:
    shape = body.type(x).dims
    return body.pick(lambda t: t.kind == "float" and broadcasts(shape, t.dims))


def binary(body: Body) -> bool:
    x = body.pick(is_float)
    if x is None:
        return False
    y = partner(body, x) or x
    a, b = inline(body, x), inline(body, y)
    if body.rng.random() < 0.4:
        a, b = b, a
    if body.rng.random() < 0.25:
        c = body.pick(lambda t: t.kind == "bool" and broadcasts(body.type(x).dims, t.dims))
        condition = c or f"{a} {body.rng.choice(['>', '<', '>=', '<='])} {b} + 0.0137"
        other = body.rng.choice([b, "0.0", "0.5", "1"])
        body.bind(f"where({condition}, {a}, {other})", body.type(x), body.size(x) + body.size(y))
        return True
    sizes = body.size(x), body.size(y)
    text, size = body.rng.choice(
        [
            (f"{a} + {b}", sum(sizes)),
            (f"{a} - {b}", sum(sizes)),
            (f"{a} * {b}", max(1.0, sizes[0]) * max(1.0, sizes[1])),
            (f"{a} / (1.0 + abs({b}))", max(sizes)),
            (f"{a} * ({b} - 0.5)", max(1.0, sizes[0]) * (sizes[1] + 1.0)),
            (f"({a} + {b}) * {a} - {b}", 6.0 * sum(sizes)),
            (f"{a} - ({b} - {a})", 3.0 * sum(sizes)),
            (f"-({a} + {b})", sum(sizes)),
        ]
    )
    body.bind(text, body.type(x), size)
    return True


def condition(body: Body) -> bool:
    x = body.pick(is_float)
    if x is None or not body.type(x).rank:
        return False
    y = partner(body, x)
    right = "0.1" if y is None or y == x else f"{y} - 0.0137"
    first = f"{x} {body.rng.choice(['>', '<', '>=', '<=', '!='])} {right}"
    text = body.rng.choice(
        [first, f"not ({first})", f"{first} and {x} < 0.9", f"{first} or {x} > 0.9"]
    )
    dims = body.type(x).dims
    name = body.bind(text, Type("bool", dims))
    if body.rng.random() < 0.6:
        body.use(name)
        body.bind(f"float({name})", floats(*dims))
    return True


def reduction(body: Body) -> bool:
    x = body.pick(lambda t: is_float(t) and bool(body.free_axes(t)))
    if x is None:
        return False
    type_ = body.type(x)
    axis = body.rng.choice(body.free_axes(type_))
    written = spelled(body, axis, type_)
    name = body.rng.choice(["sum", "mean", "max", "min", "var", "logsumexp"])
    size = {"sum": 6.0, "var": body.size(x)}.get(name, 1.0) * max(1.0, body.size(x))
    if body.rng.random() < 0.5:
        body.bind(f"{name}({x}, axis={written}, keep=true)", type_.but(axis, "1"), size)
    else:
        body.bind(f"{name}({x}, axis={written})", type_.but(axis), size)
    return True


def softmax(body: Body) -> bool:
    x = body.pick(lambda t: is_float(t) and bool(body.free_axes(t)))
    if x is None:
        return False
    axis = body.rng.choice(body.free_axes(body.type(x)))
    name = body.rng.choice(["softmax", "softmax", "log_softmax"])
    written = spelled(body, axis, body.type(x))
    body.bind(f"{name}({inline(body, x)}, axis={written})", body.type(x), body.size(x) + 2.0)
    return True


def norm(body: Body) -> bool:
    """Over the last axis, with learned weights or without."""
    x = body.pick(lambda t: is_float(t) and t.rank > 0 and t.rank - 1 in body.free_axes(t))
    if x is None:
        return False
    width = body.type(x).dims[-1]
    arguments = [x]
    if (
        body.unit is not None
        and width != "1"
        and body.can_size([width])
        and body.rng.random() < 0.6
    ):
        arguments.append(body.unit.param(body.rng, (width,), "ones"))
    name = body.rng.choice(["rms_norm", "layer_norm"])
    weighted = body.unit is not None and len(arguments) == 2
    if body.unit is not None and weighted and name == "layer_norm" and body.rng.random() < 0.5:
        arguments.append(body.unit.param(body.rng, (width,)))
    # A narrow axis has nearly equal elements now and then: eps keeps derivatives tame.
    body.bind(f"{name}({', '.join(arguments)}, eps=0.01)", body.type(x), 2.0)
    return True


def counting(body: Body) -> bool:
    x = body.pick(lambda t: is_float(t) and bool(body.free_axes(t)))
    if x is None:
        return False
    type_ = body.type(x)
    axis = body.rng.choice(body.free_axes(type_))
    text = body.rng.choice(
        [
            f"float(sum({x} > 0.2, axis={axis})) * 0.1",
            f"float(any({x} > 0.7, axis={axis}))",
            f"float(all({x} > -0.3, axis={axis}))",
            f"float(int({x} * 3.0 + 0.137))",
            f"float(int(3.0 * {x} + 0.137) // 2 - int({x} - 0.173) % 3)",
        ]
    )
    body.bind(text, type_ if "int(" in text else type_.but(axis))
    return True


POINTWISE: Sequence[Production] = (unary, unary, binary, binary, condition)
