"""Random positions, masks and scores: what pairs a query with keys, causal or not."""

from __future__ import annotations

from causality_body import Program


def position(p: Program, depth: int = 1) -> str:
    """A float [L] that follows from positions."""
    rng = p.rng
    inner = "positions()" if depth == 0 or rng.random() < 0.5 else position(p, depth - 1)
    return rng.choice(
        [
            "positions()",
            "positions()",
            f"({inner} + {rng.randint(-2, 2)}.0)",
            f"({inner} * {rng.choice(['2.0', '0.5', '-1.0', '1.0'])})",
            f"({inner} // {rng.randint(2, 4)})",
            f"({inner} % {rng.randint(2, 4)})",
            f"floor({inner} / {rng.randint(2, 3)})",
            f"abs({inner})",
            f"maximum({inner}, {rng.randint(0, 2)}.0)",
            f"minimum({inner}, {rng.randint(0, 5)}.0)",
            f"(cumsum(ones(L)) - {rng.randint(0, 2)}.0)",
            f"shift({inner}, {rng.randint(0, 2)})",
        ]
    )


def mask(p: Program, depth: int = 2) -> str:
    """A bool [L, L]: query, key."""
    rng = p.rng
    if depth and rng.random() < 0.35:
        op = rng.choice(["and", "or", "and"])
        return f"({mask(p, depth - 1)} {op} {mask(p, depth - 1)})"
    if depth and rng.random() < 0.1:
        return f"(not {mask(p, depth - 1)})"
    q, k = "positions()", "positions()"
    if rng.random() < 0.2:
        q, k = position(p), position(p)
    q, k = f"{q}[:, None]", f"{k}[None, :]"
    c = rng.choice(["0.0", "0.0", "1.0", "-1.0", "2.0", "3.0"])
    return rng.choice(
        [
            f"({q} >= {k})",
            f"({q} >= {k})",
            f"({k} <= {q} + {c})",
            f"({q} - {k} < {c})",
            f"({q} - {k} >= {c})",
            f"({q} > {k})",
            f"(abs({q} - {k}) <= {c})",
            f"({q} == {k} + {c})",
            f"({k} < 2.0)",
            f"({q} // 3 > {k} // 3)",
            f"({q} // 2 == {k} // 2)",
            f"({q} // 2 >= {k} // 2)",
            f"({k} * 2.0 <= {q})",
            f"({k} <= {q} * 2.0)",
            f"({q} >= {k})" if rng.random() < 0.85 else f"(square({q}) >= square({k}))",
            "one_hot(int(positions()), L)",
            f"one_hot(int(positions() - {rng.randint(0, 1)}.0), L)",
            "(eye(1)[0, 0] > 0.5) or (positions()[:, None] >= positions()[None, :])",
        ]
    )


def scores(p: Program) -> str:
    a, b = p.stream(), p.stream()
    return p.value(f'0.5 * einsum("b l d, b m d -> b l m", {a}, {b})')


def masked_scores(p: Program) -> tuple[str, bool]:
    """An expression [B, L, L]; whether it is a masked value."""
    rng = p.rng
    s = scores(p)
    m = mask(p)
    match rng.randrange(11):
        case 0 | 1 | 2:
            return f"causal({s})", True
        case 3 | 4:
            return f"masked({s}, {m})", True
        case 5:
            return f"causal(masked({s}, {m}))", True
        case 6:
            return f"where({m}, tanh({s}), 0.0)", False
        case 7:
            return f"(tanh({s}) * float({m}))", False
        case 8:
            return f"({s} + where({m}, 0.0, -1e9))", False
        case 9:
            return f"where({m}, {s}, {s} * 0.5)", False
        case _:
            return s, False
