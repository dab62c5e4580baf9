"""Steps of recurrences, each in a unit of its own: for the tests of the pass that parallelises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WIDTH, HEADS = 24, 2

FRAME = """
gab Step

unit Step(heads: int = 2) {{
    dim H = heads
    dim K = 4
    dim V = 6
    wq = Linear(D, H * K, bias=false)
    wk = Linear(D, H * K, bias=false)
    wv = Linear(D, H * V, bias=false)
    wg = Linear(D, H * K)
    wo = Linear(H * V, D)
    param rate: [H] = uniform(-1.0, 0.0)
    param rates: [H, K] = uniform(-1.0, 0.0)

    forward(X) {{
        q = rearrange(wq(X), "b l (h k) -> b l h k", k=K, h=H)
        k = rearrange(wk(X), "b l (h k) -> b l h k", k=K, h=H)
        v = rearrange(wv(X), "b l (h v) -> b l h v", v=V, h=H)
        w = -softplus(rearrange(wg(X), "b l (h k) -> b l h k", k=K, h=H))
        g = w[..., 0]
{body}
        return wo(rearrange(o, "b l h v -> b l (h v)"))
    }}
}}
"""

READ = 'return einsum("b h k, b h k v -> b h v", q, S)'
OUTER = "k[:, :, :, None] * v[:, :, None, :]"
PER_HEAD = "exp(g)[:, :, None, None]"
PER_KEY = "exp(w)[:, :, :, None]"
ZERO = "state S: [B, H, K, V] = 0.0"


def scan(*statements: str, head: str = "q, k, v, g, w", before: str = "") -> str:
    """A scan of these statements, in the frame's indentation."""
    lines = [*([before] if before else []), f"o = scan({head}) {{"]
    lines += [*(f"    {statement}" for statement in statements), "}"]
    return "\n".join(f"        {line}" for line in lines)


@dataclass(frozen=True)
class Step:
    """A scan, and the arguments that its parallel form must have."""

    body: str
    wanted: Mapping[str, str | bool] = field(default_factory=dict)


def per_head(*statements: str, **options: str) -> Step:
    return Step(scan(*statements, **options), {"decay": "head", "read_before": False})


def per_key(*statements: str, **options: str) -> Step:
    return Step(scan(*statements, **options), {"decay": "key", "read_before": False})


RECOGNISED: dict[str, Step] = {
    # The four architectures.
    "retnet": per_head(ZERO, f"S = exp(rate)[:, None, None] * S + {OUTER}", READ),
    "mamba2": per_head(ZERO, f"S = {PER_HEAD} * S + {OUTER}", READ),
    "gla": per_key(ZERO, f"S = {PER_KEY} * S + {OUTER}", READ),
    "rwkv6": Step(
        scan(
            ZERO,
            'read = einsum("b h k, b h k v -> b h v", q, S)',
            f"S = {PER_KEY} * S + {OUTER}",
            "return read",
        ),
        {"decay": "key", "read_before": True},
    ),
    # The same, written otherwise.
    "sum the other way round": per_head(ZERO, f"S = {OUTER} + {PER_HEAD} * S", READ),
    "state before its factor": per_head(ZERO, f"S = S * {PER_HEAD} + {OUTER}", READ),
    "exp outside the index": per_head(ZERO, f"S = exp(g[:, :, None, None]) * S + {OUTER}", READ),
    "exp outside the index, per key": per_key(ZERO, f"S = exp(w[..., None]) * S + {OUTER}", READ),
    "ellipsis": per_key(ZERO, f"S = exp(w)[..., None] * S + {OUTER}", READ),
    "v before k": per_head(ZERO, f"S = {PER_HEAD} * S + v[:, :, None, :] * k[:, :, :, None]", READ),
    "trailing axes left out": per_head(
        ZERO, f"S = {PER_HEAD} * S + k[:, :, :, None] * v[:, :, None]", READ
    ),
    "outer product by einsum": per_head(
        ZERO, f'S = {PER_HEAD} * S + einsum("b h k, b h v -> b h k v", k, v)', READ
    ),
    "einsum with v first": per_key(
        ZERO, f'S = {PER_KEY} * S + einsum("b h v, b h k -> b h k v", v, k)', READ
    ),
    "other letters": per_head(
        ZERO,
        f'S = {PER_HEAD} * S + einsum("a c i, a c j -> a c i j", k, v)',
        'return einsum("x y m n, x y m -> x y n", S, q)',
    ),
    "named parts": per_head(
        ZERO, f"decay = {PER_HEAD}", f"new = {OUTER}", "kept = decay * S", "S = kept + new", READ
    ),
    "arithmetic in the step": per_head(
        ZERO,
        "S = exp(-softplus(g) * 0.5)[:, :, None, None] * S "
        "+ (k * 0.3)[:, :, :, None] * tanh(v)[:, :, None, :]",
        'return einsum("b h k, b h k v -> b h v", q * 0.5, S)',
    ),
    "a captured rate per key": per_key(ZERO, f"S = exp(rates)[:, :, None] * S + {OUTER}", READ),
    "captured and data": per_key(ZERO, f"S = exp(rates + w)[..., None] * S + {OUTER}", READ),
    "renamed arguments": per_head(
        ZERO,
        f"S = exp(a)[:, :, None, None] * S + {OUTER}",
        READ,
        head="q, k, v=2.0 * v, a=g - 0.1",
    ),
    "gate inside": per_head(
        ZERO, f"S = exp(log(sigmoid(g)))[:, :, None, None] * S + {OUTER}", READ
    ),
    "read before, per head": Step(
        scan(
            ZERO,
            'y = einsum("b h k v, b h k -> b h v", S, q)',
            f"S = {PER_HEAD} * S + {OUTER}",
            "return y",
        ),
        {"decay": "head", "read_before": True},
    ),
}

OTHERS: dict[str, str] = {
    "delta rule": scan(
        ZERO,
        'old = einsum("b h k v, b h k -> b h v", S, k)',
        'S = S + einsum("b h k, b h v -> b h k v", k, v - old)',
        READ,
    ),
    "gated delta rule": scan(
        ZERO,
        'old = einsum("b h k v, b h k -> b h v", S, k)',
        f"S = {PER_HEAD} * S + k[:, :, :, None] * (v - old)[:, :, None, :]",
        READ,
    ),
    "a first state that is not zero": scan(
        "state S: [B, H, K, V] = 0.5", f"S = {PER_HEAD} * S + {OUTER}", READ
    ),
    "a learned first state": scan(
        "state S: [B, H, K, V] = rates[:, :, None]", f"S = {PER_HEAD} * S + {OUTER}", READ
    ),
    "two states": scan(
        ZERO,
        "state n: [B, H, K] = 0.0",
        f"S = {PER_HEAD} * S + {OUTER}",
        "n = exp(g)[:, :, None] * n + k",
        'num = einsum("b h k, b h k v -> b h v", q, S)',
        "return num / (1.0 + abs(sum(q * n, axis=-1, keep=true)))",
    ),
    "the position in the decay": scan(
        ZERO, f"S = exp(g / (1.0 + t))[:, :, None, None] * S + {OUTER}", READ
    ),
    "tanh of the state": scan(ZERO, f"S = tanh({PER_HEAD} * S + {OUTER})", READ),
    "tanh of the state in the product": scan(ZERO, f"S = {PER_HEAD} * tanh(S) + {OUTER}", READ),
    "a decay that is no exponential": scan(
        ZERO, f"S = sigmoid(g)[:, :, None, None] * S + {OUTER}", READ
    ),
    "decay per value": scan(ZERO, f"S = exp(v - 2.0)[:, :, None, :] * S + {OUTER}", READ),
    "a difference": scan(ZERO, f"S = {PER_HEAD} * S - {OUTER}", READ),
    "two outer products": scan(
        ZERO, f"S = {PER_HEAD} * S + {OUTER} + q[:, :, :, None] * v[:, :, None, :]", READ
    ),
    "the state is returned": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", "return sum(S, axis=2)"),
    "a nonlinear read": scan(
        ZERO,
        f"S = {PER_HEAD} * S + {OUTER}",
        'return einsum("b h k, b h k v -> b h v", q, tanh(S))',
    ),
    "read by values": scan(
        ZERO,
        f"S = {PER_HEAD} * S + {OUTER}",
        'return v * sum(einsum("b h v, b h k v -> b h k", v, S), axis=-1, keep=true)',
    ),
    "a query that reads the state": scan(
        ZERO,
        f"S = {PER_HEAD} * S + {OUTER}",
        'return einsum("b h k, b h k v -> b h v", q + sum(S, axis=-1), S)',
    ),
    "assigned twice": scan(
        ZERO, f"S = {PER_HEAD} * S + {OUTER}", f"S = {PER_HEAD} * S + {OUTER}", READ
    ),
    "an element assigned": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", "S[..., 0] = 0.0", READ),
    "sum over the batch letter of another axis": scan(
        ZERO,
        f"S = {PER_HEAD} * S + {OUTER}",
        'return einsum("b h k, b h k v -> b h v", softmax(q, axis=-1), S)',
    ),
    "chunks": scan(
        ZERO,
        'S = 0.5 * S + einsum("b c h k, b c h v -> b h k v", k, v)',
        "return v",
        head="q, k, v, g, w",
    ).replace(") {", ") chunk 5 {", 1),
}

LOOPS = {
    "tanh of the state",
    "tanh of the state in the product",
    "an element assigned",
    "chunks",
}
"""Those among the others that have no parallel form."""

BROADCASTING: dict[str, str] = {
    # Unit axes that stretch in the state but are one wide in the argument.
    "one key head": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", READ, before="k = k[:, :, :1]"),
    "one value head": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", READ, before="v = v[:, :, :1]"),
    "keys one wide": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", READ, before="k = k[..., :1]"),
    "values one wide": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", READ, before="v = v[..., :1]"),
    "decay one head": scan(ZERO, f"S = {PER_HEAD} * S + {OUTER}", READ, before="g = g[..., :1]"),
    "decay one key": scan(ZERO, f"S = {PER_KEY} * S + {OUTER}", READ, before="w = w[..., :1]"),
    # Captured values with a batch axis, which have no time axis to line up with.
    "captured decay per row": scan(
        ZERO,
        f"S = exp(c)[:, :, None, None] * S + {OUTER}",
        READ,
        before="c = -0.3 * ones(B, H)",
    ),
    "captured keys per row": scan(
        ZERO,
        f"S = {PER_HEAD} * S + c[:, :, :, None] * v[:, :, None, :]",
        READ,
        before="c = 0.5 * ones(B, H, K)",
    ),
    "captured values per row": scan(
        ZERO,
        f"S = {PER_HEAD} * S + k[:, :, :, None] * c[:, :, None, :]",
        READ,
        before="c = 0.5 * ones(B, H, V)",
    ),
    "captured query per row": scan(
        ZERO,
        f"S = {PER_HEAD} * S + {OUTER}",
        'return einsum("b h k, b h k v -> b h v", c, S)',
        before="c = 0.5 * ones(B, H, K)",
    ),
    "captured per row, added to data": scan(
        ZERO,
        f"S = exp(g + c)[:, :, None, None] * S + {OUTER}",
        READ,
        before="c = -0.5 * ones(B, H)",
    ),
}
