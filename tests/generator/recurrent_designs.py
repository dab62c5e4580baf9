"""Small designs, one for each kind of recurrence, written as an author would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WIDTH = 12

FRAME = """
gab Step

unit Step(heads: int = 2) {{
    dim H = heads
    dim K = 3
    dim V = 4
    dim N = 2
    wq = Linear(D, H * K, bias=false)
    wk = Linear(D, H * K, bias=false)
    wv = Linear(D, H * V, bias=false)
    wa = Linear(D, H * K)
    wb = Linear(D, H)
    wx = Linear(D, D)
    wz = Linear(D, D)
    wn = Linear(D, N)
    mix = Linear(D, D)
    wo = Linear(H * V, D)
    param rate: [H] = uniform(-1.0, 0.0)
    param rates: [H, K] = uniform(-1.0, 0.0)
    param slow: [D] = uniform(-1.0, 0.0)
    param poles: [D, N] = uniform(-1.0, 0.0)
    param start: [D] = uniform(-1.0, 1.0)
    buffer half: [D] = 0.5 * ones()

    forward(X) {{
        q = rearrange(wq(X), "b l (h k) -> b l h k", k=K, h=H)
        k = rearrange(wk(X), "b l (h k) -> b l h k", k=K, h=H)
        v = rearrange(wv(X), "b l (h v) -> b l h v", v=V, h=H)
        a = rearrange(wa(X), "b l (h k) -> b l h k", k=K, h=H)
        w = -softplus(a)
        g = w[..., 0]
        beta = sigmoid(wb(X))
        x = wx(X)
        z = wz(X)
        n = wn(X)
{body}
        return {result}
    }}
}}
"""

HEADS = 'wo(rearrange(o, "b l h v -> b l (h v)"))'
VECTOR = "mix(o)"


@dataclass(frozen=True)
class Design:
    """A scan with the classes of its states, in the order they are solved; and the decays."""

    body: str
    classes: tuple[str, ...]
    decays: tuple[str, ...] = ()
    result: str = HEADS
    reason: str = ""

    @property
    def text(self) -> str:
        lines = "\n".join(f"        {line}" for line in self.body.strip().splitlines())
        return FRAME.format(body=lines, result=self.result)


OUTER, DELTA, ELEMENT = "decayed outer product", "delta rule", "elementwise"
PRODUCT = "delta product"
MAX_PLUS, LOOP = "max-plus", "sequential"

MATRIX = "q, k, v, g, w, beta, a"
KV = "k[:, :, :, None] * v[:, :, None, :]"
READ = 'return einsum("b h k, b h k v -> b h v", q, S)'
ZERO = "state S: [B, H, K, V] = 0.0"
UPDATE = (
    'old = einsum("b h k, b h k v -> b h v", {k}, S)\n'
    "    S = S + {k}[..., None] * ({rate}[..., None] * (v - old))[:, :, None, :]"
)
ONE, TWO = UPDATE.format(k="k", rate="beta"), UPDATE.format(k="a", rate="2.0 * beta")
THREE = UPDATE.format(k="(k - 0.5 * a)", rate="-g")
DECAY = "S = exp(g)[:, :, None, None] * S"
OLD = 'old = einsum("b h k, b h k v -> b h v", k, S)'


def scan(*lines: str, head: str = "q, k, v, g, w, beta", before: str = "") -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{before}\no = scan({head}) {{\n{body}\n}}".strip()


def outer(decay: str, *lines: str, **options: str) -> Design:
    return Design(scan(*lines, **options), (OUTER,), (decay,))


def delta(decay: str, *lines: str, **options: str) -> Design:
    return Design(scan(*lines, **options), (DELTA,), (decay,))


def product(decay: str, *lines: str, head: str = MATRIX, before: str = "") -> Design:
    return Design(scan(*lines, head=head, before=before), (PRODUCT,), (decay,))


def element(*lines: str, head: str = "x, z", before: str = "") -> Design:
    return Design(scan(*lines, head=head, before=before), (ELEMENT,), ("",), VECTOR)


def vector(classes: tuple[str, ...], *lines: str, head: str = "x, z", before: str = "") -> Design:
    return Design(scan(*lines, head=head, before=before), classes, (), VECTOR)


def loop(
    reason: str, *lines: str, head: str = "x, z", before: str = "", result: str = VECTOR
) -> Design:
    return Design(scan(*lines, head=head, before=before), (LOOP,), (), result, reason)


H0 = "state h: [B, D] = 0.0"

DESIGNS: Mapping[str, Design] = {
    # ------------------------------------------------------------- decayed outer products
    "retnet": outer("head", ZERO, f"S = exp(rate)[:, None, None] * S + {KV}", READ),
    "summed over an axis whose size has no name": Design(
        """
o = scan(x, n) {
    state h: [B, D] = 0.0
    h = 0.1 * sum(h[:, None] + rearrange(concat([n, n], axis=-1), "b m -> b m 1"), axis=1) + x
    return h
}
""",
        (ELEMENT,),
        result=VECTOR,
    ),
    "retnet, a number": outer("head", ZERO, f"S = 0.9 * S + {KV}", READ),
    "linear attention": outer("none", ZERO, f"S = S + {KV}", READ),
    "mamba2": outer("head", ZERO, f"S = exp(g)[:, :, None, None] * S + {KV}", READ),
    "mamba2, by einsum": outer(
        "head",
        ZERO,
        'S = einsum("b h, b h k v -> b h k v", exp(g), S)',
        'S = S + einsum("b h k, b h v -> b h k v", k, v)',
        "return sum(S * q[..., None], axis=2)",
    ),
    "mamba2, keys shared by the heads": Design(
        scan(
            "state S: [B, H, N, V] = 0.0",
            'S = exp(g)[:, :, None, None] * S + einsum("b n, b h v -> b h n v", n, v)',
            'return einsum("b n, b h n v -> b h v", n, S)',
            head="v, g, n",
        ),
        (OUTER,),
        ("head",),
    ),
    "no heads": Design(
        scan(
            "state S: [B, D, D] = 0.0",
            "S = sigmoid(x)[:, :, None] * S + x[:, :, None] * z[:, None, :]",
            'return einsum("b k, b k v -> b v", z, S)',
            head="x, z",
        ),
        (OUTER,),
        ("key",),
        VECTOR,
    ),
    "gla": outer("key", ZERO, f"S = exp(w)[:, :, :, None] * S + {KV}", READ),
    "gla, transposed": outer(
        "key",
        "state S: [B, H, V, K] = 0.0",
        "S = S * exp(w)[:, :, None, :] + v[..., None] * k[:, :, None, :]",
        'return einsum("b h v k, b h k -> b h v", S, q)',
    ),
    "gla, by a matrix product": outer(
        "key",
        ZERO,
        f"S = exp(w)[:, :, :, None] * S + {KV}",
        "return (q[:, :, None, :] @ S)[:, :, 0]",
    ),
    "a sigmoid outside": outer(
        "key",
        ZERO,
        f"S = f[..., None] * S + {KV}",
        READ,
        head="q, k, v, f",
        before="f = sigmoid(a) ** 0.5",
    ),
    "the complement of a gate": outer(
        "key",
        ZERO,
        f"S = (1.0 - f)[..., None] * S + {KV}",
        READ,
        head="q, k, v, f",
        before="f = sigmoid(a)",
    ),
    "hgrn2": outer(
        "key",
        ZERO,
        "S = f[..., None] * S + (1.0 - f)[..., None] * v[:, :, None]",
        READ,
        head="q, v, f",
        before="f = 0.1 + 0.9 * sigmoid(a)",
    ),
    "written by lerp": outer(
        "key",
        ZERO,
        "S = lerp(S, v[:, :, None, :], f[..., None])",
        READ,
        head="q, v, f",
        before="f = sigmoid(a)",
    ),
    "rwkv6": outer(
        "key",
        ZERO,
        f"kv = {KV}",
        'read = einsum("b h k, b h k v -> b h v", q, S + exp(rates)[:, :, None] * kv)',
        "S = exp(w)[..., None] * S + kv",
        "return read",
    ),
    "two reads, before and after": outer(
        "head",
        ZERO,
        'before = einsum("b h k, b h k v -> b h v", k, S)',
        f"S = exp(g)[:, :, None, None] * S + {KV}",
        'return tanh(before) * einsum("b h k, b h k v -> b h v", q, S)',
    ),
    "decay per value": outer(
        "value",
        ZERO,
        f"S = sigmoid(v)[:, :, None, :] * S + {KV}",
        READ,
    ),
    "two outer products": outer(
        "head",
        ZERO,
        f"S = exp(g)[:, :, None, None] * S + {KV} + q[..., None] * v[:, :, None, :]",
        READ,
    ),
    "a difference": outer("head", ZERO, f"S = exp(g)[:, :, None, None] * S - {KV}", READ),
    "a learned first state": outer(
        "head",
        "state S: [B, H, K, V] = rates[:, :, None]",
        f"S = exp(g)[:, :, None, None] * S + {KV}",
        READ,
    ),
    "a first state that is a number": outer(
        "head", "state S: [B, H, K, V] = 0.5", f"S = exp(g)[:, :, None, None] * S + {KV}", READ
    ),
    "the position in the decay": outer(
        "head", ZERO, f"S = exp(g / (1.0 + t))[:, :, None, None] * S + {KV}", READ
    ),
    "the position alone decays": outer("head", ZERO, f"S = exp(-0.1 * t) * S + {KV}", READ),
    "a captured row": outer(
        "head",
        ZERO,
        f"S = exp(g + c)[:, :, None, None] * S + {KV}",
        READ,
        before="c = -0.3 * ones(B, H)",
    ),
    "normalised": Design(
        scan(
            ZERO,
            "state d: [B, H, K] = 0.0",
            f"S = exp(g)[:, :, None, None] * S + {KV}",
            "d = exp(g)[:, :, None] * d + k",
            'y = einsum("b h k, b h k v -> b h v", q, S)',
            "return y / (1.0 + abs(sum(q * d, axis=-1, keep=true)))",
        ),
        (OUTER, ELEMENT),
    ),
    "mlstm": Design(
        scan(
            "state C: [B, H, K, V] = 0.0",
            "state d: [B, H, K] = 0.0",
            "state m: [B, H] = 0.0",
            "top = maximum(g + m, i)",
            "keep = exp(g + m - top)",
            "new = exp(i - top)",
            "m = top",
            f"C = keep[:, :, None, None] * C + new[:, :, None, None] * {KV}",
            "d = keep[:, :, None] * d + new[:, :, None] * k",
            'y = einsum("b h k v, b h k -> b h v", C, q)',
            "size = maximum(abs(sum(d * q, axis=-1, keep=true)), exp(-top)[..., None])",
            "return y / size",
            head="q, k, v, g, i=a[..., 1]",
        ),
        (MAX_PLUS, OUTER, ELEMENT),
    ),
    # ------------------------------------------------------------- delta rules
    "deltanet": delta(
        "none",
        ZERO,
        OLD,
        "S = S + k[..., None] * (beta[..., None] * (v - old))[:, :, None, :]",
        READ,
    ),
    "deltanet, by einsum": delta(
        "none", ZERO, OLD, 'S = S + einsum("b h k, b h v, b h -> b h k v", k, v - old, beta)', READ
    ),
    "deltanet, a matrix of keys": delta(
        "none",
        ZERO,
        "S = S - beta[:, :, None, None] * (k[..., None] * k[:, :, None, :]) @ S "
        "+ beta[:, :, None, None] * k[..., None] * v[:, :, None, :]",
        READ,
    ),
    "gated deltanet": delta(
        "head",
        ZERO,
        "S = exp(g)[:, :, None, None] * S",
        OLD,
        "S = S + k[..., None] * (beta[..., None] * (v - old))[:, :, None, :]",
        READ,
    ),
    "gated deltanet, transposed": delta(
        "head",
        "state S: [B, H, V, K] = 0.0",
        "S = exp(g)[:, :, None, None]"
        " * (S - (S @ (beta[..., None] * k)[..., None]) * k[:, :, None, :])"
        " + (beta[..., None] * v)[..., None] * k[:, :, None, :]",
        "return (S @ q[..., None])[..., 0]",
    ),
    "kda": delta(
        "key",
        ZERO,
        "S = exp(w)[..., None] * S",
        OLD,
        "S = S + k[..., None] * (beta[..., None] * (v - old))[:, :, None, :]",
        READ,
    ),
    "rwkv7": delta(
        "key",
        "state S: [B, H, V, K] = 0.0",
        'mixed = einsum("b h v k, b h k -> b h v", S, -k)',
        "S = S * exp(w)[:, :, None] + mixed[..., None] * (k * sigmoid(a))[:, :, None]"
        " + v[..., None] * q[:, :, None]",
        'return einsum("b h v k, b h k -> b h v", S, q)',
        head=MATRIX,
    ),
    "delta, read before": delta(
        "none",
        ZERO,
        OLD,
        "S = S + k[..., None] * (beta[..., None] * (v - old))[:, :, None]",
        "return old",
    ),
    # ------------------------------------------------------------- products of delta rules
    "deltaproduct": product("none", ZERO, ONE, TWO, READ),
    "gated deltaproduct": product("head", ZERO, DECAY, ONE, TWO, READ),
    "gated deltaproduct of six": product("head", ZERO, DECAY, *[ONE, TWO, THREE] * 2, READ),
    "deltaproduct, a decay per key": product(
        "key", ZERO, "S = exp(w)[..., None] * S", ONE, TWO, THREE, READ
    ),
    "deltaproduct, read before": product(
        "head", ZERO, 'y = einsum("b h k, b h k v -> b h v", q, S)', DECAY, ONE, TWO, "return y"
    ),
    "deltaproduct, read between and after": product(
        "head",
        ZERO,
        DECAY,
        ONE,
        'y = einsum("b h k, b h k v -> b h v", a, S)',
        TWO,
        'return tanh(y) * einsum("b h k, b h k v -> b h v", q, S)',
    ),
    "deltaproduct, a decay after the first update": product("head", ZERO, ONE, DECAY, TWO, READ),
    "deltaproduct, only erased first": product(
        "none",
        ZERO,
        'S = S - beta[..., None, None] * k[..., None] * einsum("b h k, b h k v -> b h v", k, S)'
        "[:, :, None]",
        TWO,
        READ,
    ),
    "deltaproduct, two outer products in an update": product(
        "head", ZERO, DECAY, ONE, "S = S + q[..., None] * v[:, :, None]", TWO, READ
    ),
    "deltaproduct, transposed": product(
        "head",
        "state S: [B, H, V, K] = 0.0",
        DECAY,
        "S = S - (S @ (beta[..., None] * k)[..., None] - v[..., None]) * k[:, :, None, :]",
        "S = S - (S @ a[..., None] - v[..., None]) * (beta[..., None] * a)[:, :, None, :]",
        "return (S @ q[..., None])[..., 0]",
    ),
    "deltaproduct from a learned first state": product(
        "head", "state S: [B, H, K, V] = rates[:, :, None]", DECAY, ONE, TWO, READ
    ),
    # ------------------------------------------------------------- elementwise
    "ema": element(H0, "h = 0.9 * h + 0.1 * x", "return h"),
    "ema by lerp": element(H0, "h = lerp(h, x, sigmoid(z))", "return h"),
    "ema as a correction": element(H0, "h = h + sigmoid(z) * (x - h)", "return h"),
    "hgrn": element(H0, "f = sigmoid(z)", "h = f * h + (1.0 - f) * x", "return tanh(h)"),
    "mingru": element(H0, "h = (1.0 - sigmoid(z)) * h + sigmoid(z) * tanh(x)", "return h"),
    "rg-lru": element(
        H0,
        "f = exp(-8.0 * softplus(slow) * sigmoid(z))",
        "h = f * h + sqrt(1.0 - f * f) * x",
        "return h",
    ),
    "a decay that may be negative": element(H0, "h = tanh(z) * h + x", "return h"),
    "read before": element(H0, "before = h", "h = sigmoid(z) * h + x", "return before * x"),
    "a learned start": element(
        "state h: [B, D] = start", "y = h", "h = sigmoid(z) * h + x", "return h - y"
    ),
    "a sum": element(H0, "h = h + x", "return h / (1.0 + t)"),
    "a sum from a number": element("state h: [B, D] = 0.25", "h = h + x", "return h"),
    "the position is the factor": element(H0, "h = h * (1.0 / (1.0 + t)) + x", "return h"),
    "token shift": element(H0, "before = h", "h = x", "return x - before"),
    "a buffer's decay": element(H0, "h = half * h + x", "return h"),
    "a reset": element(H0, "h = where(z > 0.0, 0.5 * h, x)", "return h"),
    "divided": element(H0, "h = h / (1.0 + exp(z)) + x", "return h"),
    "mamba1": element(
        "state h: [B, D, N] = 0.0",
        "dt = softplus(z)",
        "h = exp(-dt[..., None] * exp(poles)) * h + (dt * x)[..., None] * n[:, None, :]",
        "return sum(h * n[:, None], axis=-1) + x",
        head="x, z, n",
    ),
    "rwkv4": Design(
        scan(
            "state num: [B, D] = 0.0",
            "state den: [B, D] = 0.0",
            "y = (num + exp(slow + z) * x) / (den + exp(slow + z))",
            "num = exp(-exp(slow)) * num + exp(z) * x",
            "den = exp(-exp(slow)) * den + exp(z)",
            "return y",
            head="x, z",
        ),
        (ELEMENT, ELEMENT),
        (),
        VECTOR,
    ),
    "a matrix whose decay may be negative": Design(
        scan(ZERO, f"S = tanh(g)[:, :, None, None] * S + {KV}", READ), (ELEMENT,)
    ),
    "momentum": Design(
        scan(
            "state M: [B, H, K, V] = 0.0",
            ZERO,
            f"M = sigmoid(g)[:, :, None, None] * M + {KV}",
            "S = exp(g)[:, :, None, None] * S + M",
            READ,
        ),
        (ELEMENT, ELEMENT),
    ),
    "lru": vector(
        (ELEMENT, ELEMENT),
        "state re: [B, D] = 0.0",
        "state im: [B, D] = 0.0",
        "turned = exp(-exp(slow)) * cos(start) * re - exp(-exp(slow)) * sin(start) * im + x",
        "im = exp(-exp(slow)) * (cos(start) * im + sin(start) * re) + z",
        "re = turned",
        "return re - tanh(im)",
    ),
    "s4d, read before": vector(
        (ELEMENT, ELEMENT),
        "state re: [B, D, N] = 0.0",
        "state im: [B, D, N] = 0.0",
        "old = re",
        "re = poles * re - cos(poles) * im + x[..., None]",
        "im = poles * im + cos(poles) * old",
        "return sum(re * n[:, None] - im, axis=-1) + sum(old, axis=-1)",
        head="x, n",
    ),
    "two vectors, one feeding the other": vector(
        (ELEMENT, ELEMENT),
        H0,
        "state c: [B, D] = 0.0",
        "c = sigmoid(z) * c + x",
        "h = sigmoid(c) * h + c",
        "return h",
    ),
    # ------------------------------------------------------------- what is lifted
    "much after the read": Design(
        scan(
            H0,
            "h = sigmoid(z) * h + x",
            "parts = split(h, parts=2, axis=1)",
            "y = concat([rms_norm(parts[1]), softmax(parts[0], axis=-1)], axis=1)",
            'y = rearrange(y, "b (h k) -> b h k", h=2)',
            "y = y - mean(y, axis=1, keep=true) + max(y, axis=-1, keep=true)",
            "y = stack([y, y * y], axis=1)[:, 0]",
            "best, places = topk(h, 2)",
            'return mix(rearrange(y, "b h k -> b (h k)")) + sum(best, axis=-1, keep=true)',
            head="x, z",
        ),
        (ELEMENT,),
        (),
        VECTOR,
    ),
    # ------------------------------------------------------------- loops
    "slstm": loop(
        "of the state is not linear",
        H0,
        "state c: [B, D] = 0.0",
        "f = sigmoid(z + mix(h))",
        "c = f * c + tanh(x + h)",
        "h = tanh(c)",
        "return h",
    ),
    "a squared state": loop(
        "the state is multiplied by itself", H0, "h = h * h * z + x", "return h"
    ),
    "a tanh of the state": loop("`tanh` of the state", H0, "h = tanh(h + x)", "return h"),
    "a gate that reads the state": loop(
        "`sigmoid` of the state", H0, "h = sigmoid(h) * x + h", "return h"
    ),
    "rows mixed by a matrix": loop(
        "full matrix",
        "state h: [B, D] = 0.0",
        'h = einsum("b d e, b e -> b d", tanh(z[:, :, None] * x[:, None, :]), h) + x',
        "return h",
    ),
    "a pair that does not turn": loop(
        "depend on each other",
        "state re: [B, D] = 0.0",
        "state im: [B, D] = 0.0",
        "turned = cos(z) * re + sin(z) * im + x",
        "im = cos(z) * im + sin(z) * re",
        "re = turned",
        "return re - im",
    ),
    "states in a circle": loop(
        "depend on each other",
        H0,
        "state c: [B, D] = 0.0",
        "old = h",
        "h = 0.5 * h + 0.1 * c * z + x",
        "c = 0.5 * c + 0.1 * old",
        "return h",
    ),
    "a sum of two low ranks": loop(
        "a sum of 2 products `r (l^T S)` of the same S",
        ZERO,
        OLD,
        'other = einsum("b h k, b h k v -> b h v", a, S)',
        "S = S - k[..., None] * (old - v)[:, :, None] - a[..., None] * other[:, :, None]",
        READ,
        head=MATRIX,
        result=HEADS,
    ),
    "a sum of two low ranks after an update": loop(
        "a sum of 3 products `r (l^T S)` of the same S",
        ZERO,
        THREE,
        OLD,
        'other = einsum("b h k, b h k v -> b h v", a, S)',
        "S = S - k[..., None] * (old - v)[:, :, None] - a[..., None] * other[:, :, None]",
        READ,
        head=MATRIX,
        result=HEADS,
    ),
    "deltaproduct that decays last": loop(
        "decays between its updates", ZERO, ONE, TWO, DECAY, READ, head=MATRIX, result=HEADS
    ),
    "deltaproduct whose second rate reads the state": loop(
        "the state is multiplied by itself",
        ZERO,
        ONE,
        UPDATE.format(k="a", rate="sum(old, axis=-1)"),
        READ,
        head=MATRIX,
        result=HEADS,
    ),
    "more terms than are followed": loop(
        "more than 32 terms", H0, *["h = h + x + z"] * 20, "return h"
    ),
    "delta whose decay may be negative": loop(
        "its decay may be zero or negative",
        ZERO,
        OLD,
        "S = tanh(g)[:, :, None, None] * S + k[..., None] * (v - old)[:, :, None]",
        READ,
        head="q, k, v, g",
        result=HEADS,
    ),
}
