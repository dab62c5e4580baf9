"""Small designs, each about one thing the code generator has to get right."""

from __future__ import annotations

DESIGNS: dict[str, str] = {}

DESIGNS["residual"] = """
gab Small

from std.norm import RMSNorm

unit Small() {
    norm = RMSNorm()
    mlp  = MLP(hidden=2 * D)

    forward(X) {
        X = X + mlp(norm(X))
        return X + mlp(norm(X))
    }
}

unit MLP(hidden: dim) {
    up   = Linear(D, hidden)
    down = Linear(hidden, D, bias=false, init=kaiming() / sqrt(n_layers))
    forward(X) {
        return down(gelu(up(X)))
    }
}
"""

DESIGNS["scan"] = """
gab Recurrent

unit Recurrent(heads: int = 4) {
    dim H = heads
    dim K = D / H
    wq = Linear(D, H * K)
    wk = Linear(D, H * K)
    wv = Linear(D, H * K)
    wg = Linear(D, H)
    wo = Linear(H * K, D)
    param S0: [H, K, K] = normal(0.0, 0.5)

    forward(X) {
        q = rearrange(wq(X), "b l (h k) -> b l h k", k=K)
        k = rearrange(wk(X), "b l (h k) -> b l h k", k=K)
        v = rearrange(wv(X), "b l (h k) -> b l h k", k=K)
        y, m = scan(q, k, v, g=sigmoid(wg(X))) {
            state S: [B, H, K, K] = S0
            state n: [B, H, K] = 0.0
            before = einsum("b h k v, b h k -> b h v", S, q)
            S = g[:, :, None, None] * S + k[:, :, :, None] * (v - before)[:, :, None, :]
            n = n + k / (t + 1.0)
            S = S - 0.1 * S
            return before + einsum("b h k v, b h k -> b h v", S, q), n
        }
        return X + wo(rearrange(y * tanh(m), "b l h k -> b l (h k)"))
    }
}
"""

DESIGNS["swap"] = """
gab Swap

unit Swap() {
    forward(X) {
        y = scan(X) {
            state a: [B, D] = 0.0
            state b: [B, D] = 1.0
            old = a
            a = b
            b = old + 0.5 * X
            return a - b
        }
        return X + y
    }
}
"""

DESIGNS["chunk"] = """
gab Chunked

unit Chunked(size: int = 4) {
    dim C = size
    wk = Linear(D, D)
    param scale: [C] = ones()

    forward(X) {
        k = wk(X)
        y = scan(k, X) chunk C {
            state W: [B, D] = 0.0
            A = causal(einsum("b c d, b s d -> b c s", k, X))
            y = einsum("b c s, b s d -> b c d", A, X) / D + W[:, None] * scale[:, None]
            W = W + sum(k, axis=1) / (t + C)
            return y
        }
        return X + y
    }
}
"""

DESIGNS["attention_block"] = """
gab Attention

unit Attention(heads: int = 4, window: int = 3) {
    dim H = heads
    dim K = D / H
    wq = Linear(D, H * K)
    wk = Linear(D, 2 * K)
    wv = Linear(D, 2 * K)
    wo = Linear(H * K, D)
    param slope: [H] = normal()

    forward(X) {
        q = rearrange(wq(X), "b l (h k) -> b l h k", k=K)
        k = rearrange(wk(X), "b l (g k) -> b l g k", k=K)
        v = rearrange(wv(X), "b l (g k) -> b l g k", k=K)
        y = attend(q, k, v, scale=0.5) {
            score = 5.0 * tanh((score - slope[h] * (i - j)) / 5.0)
            keep  = i - j < window or j < 1
        }
        return X + wo(rearrange(y, "b l h k -> b l (h k)"))
    }
}
"""

DESIGNS["attention_arguments"] = """
gab Attention

unit Attention(heads: int = 4) {
    dim H = heads
    dim K = D / H
    qkv = Linear(D, 3 * H * K)
    param sink: [H] = normal()

    forward(X) {
        qkv_heads = rearrange(qkv(X), "b l (r h k) -> b l r h k", r=3, k=K)
        q = qkv_heads[:, :, 0]
        k = qkv_heads[:, :, 1]
        v = qkv_heads[:, :, 2]
        y = attend(q, k, v, window=4, sinks=sink, softcap=2.0) {
            score = score - 0.1 * (i - j)
        }
        return X + rearrange(y, "b l h k -> b l (h k)")
    }
}
"""

DESIGNS["z"] = """
gab Values

unit Values() {
    inner = Mixer()
    forward(X) {
        X = X + inner(X)
        return X + 0.5 * (Z.seen ?? X)
    }
}

unit Mixer() {
    reads  v_first: [B, L, D]?, seen: [B, L, D]?
    writes v_first: [B, L, D], seen: [B, L, D]
    wv = Linear(D, D)
    forward(X) {
        v = wv(X)
        v1 = Z.v_first ?? v
        Z.v_first = v1
        Z.seen = (Z.seen ?? v) + 0.25 * v
        return 0.5 * v1 + 0.5 * tanh(v)
    }
}
"""

DESIGNS["skips"] = """
gab Skips

unit Skips() {
    reads  skip[int]: [B, L, D]
    writes skip[int]: [B, L, D]
    down = Linear(D, D)
    forward(X) {
        if layer < n_layers / 2 {
            Z.skip[layer] = down(X)
            y = X
        } else {
            y = X + Z.skip[n_layers - 1 - layer] + down(X)
        }
        return y
    }
}
"""

DESIGNS["by_layer"] = """
gab Mix

unit Mix() {
    if layer % 2 == 0 {
        mlp = MLP(hidden=D)
    } else {
        out = Linear(D, D)
    }
    forward(X) {
        if layer % 2 == 0 {
            y = mlp(X) * (layer + 1)
        } else {
            y = tanh(out(X))
        }
        return X + y
    }
}

unit MLP(hidden: dim = 4 * D) {
    up   = Linear(D, hidden)
    down = Linear(hidden, D)
    forward(X) {
        return down(relu(up(X)))
    }
}
"""

DESIGNS["slots"] = """
gab Slots with tie=false, logit_cap=5.0, embed_scale=sqrt(D)

from std.norm import RMSNorm

unit Slots(width: int = 3) {
    a = PreNorm(mixer=Twice(inner=Scale(init=2.0), times=width))
    b = PreNorm(mixer=Linear(D, D, bias=false))
    forward(X) {
        return b(a(X))
    }
}

unit PreNorm(mixer: unit) {
    norm = RMSNorm(eps=1e-3)
    forward(X) {
        return X + mixer(norm(X))
    }
}

unit Twice(inner: unit, times: int, power: float = 1.5) {
    first = Wrap(mixer=inner)
    forward(X) {
        return first(inner(X)) * times / power
    }
}

unit Wrap(mixer: unit) {
    forward(X) {
        return tanh(mixer(X))
    }
}

unit Scale(init: float) {
    param scale: [D] = init + 0.1 * normal()
    forward(X) {
        return X * scale
    }
}
"""

DESIGNS["arrays"] = """
gab Arrays

unit Arrays(sizes: list[int] = [2, 3]) {
    experts = Expert() * 3
    pair    = [Expert(gain=0.5), Expert(gain=2.0)]
    stem    = Sequential(Linear(D, 2 * D), silu, Linear(2 * D, D))
    gate    = Linear(D, 3)
    buffer half: [D] = 0.5
    forward(X) {
        weight = softmax(gate(X), axis=-1)
        total  = stem(X) * half
        for i, e in enumerate(experts) {
            total = total + weight[:, :, i:i + 1] * e(X)
        }
        for e, size in zip(pair, sizes) {
            total = total + e(X) / size
        }
        return X + total
    }
}

unit Expert(gain: float = 1.0) {
    up = Linear(D, D)
    forward(X) {
        return gain * silu(up(X))
    }
}
"""

DESIGNS["shared"] = """
gab Shared

unit Shared() {
    shared attn = Mixer()
    shared lift = Linear(D, D)
    local_mix = Holder()
    forward(X) {
        return X + attn(lift(X)) + local_mix(X)
    }
}

unit Holder() {
    shared inner = Mixer()
    own = Linear(D, D)
    forward(X) {
        return inner(own(X))
    }
}

unit Mixer() {
    w = Linear(D, D)
    forward(X) {
        return tanh(w(shift(X, 1)))
    }
}
"""

DESIGNS["losses"] = """
gab Losses

unit Losses() {
    a = Router()
    b = Router()
    forward(X) {
        return X + a(X) + b(X)
    }
}

unit Router() {
    gate = Linear(D, 4)
    value = Linear(D, 4)
    forward(X) {
        p = softmax(gate(X), axis=-1)
        share = mean(mean(p, axis=0), axis=0)
        loss balance = sum(square(share), axis=0)
        return repeat(sum(p * value(X), axis=-1), "b l -> b l d", d=D)
    }
}
"""

DESIGNS["names"] = """
gab Names

unit Names(id: int = 2, type: float = 3.0) {
    dim F = 2 * D
    half  = Linear(D, F)
    train = Linear(F, D)
    param float_: [D] = ones()
    forward(X) {
        torch  = half(X)
        lambda = tanh(torch)
        self   = train(lambda) * type / id
        nn     = self * float_
        X      = X + nn
        map    = X * 0.5
        return map + X
    }
}
"""

DESIGNS["call_dims"] = """
gab CallDims

unit CallDims(heads: int = 4) {
    dim H = heads
    turn = Turn()
    forward(X) {
        x = rearrange(X, "b l (h k) -> b l h k", h=H)
        y = turn(x) + turn(x[:, :, :, None, :])[:, :, :, 0]
        return X + rearrange(y, "b l h k -> b l (h k)")
    }
}

unit Turn() {
    forward(x: [..., N]) {
        angle = arange(N) / N
        return x * cos(angle)
    }
}
"""

DESIGNS["functions"] = """
gab Functions

unit Functions() {
    up = Linear(D, D)
    forward(X) {
        X = X + twice(tanh(X), up(X))
        Y = X
        X = X * 0.5
        Y, X = ordered(exp(-X), X + 1.0)
        return X + Y
    }
}

fn twice(a, b) {
    X = 2.0 * a
    Y = X + b
    X = Y - a
    return X * b
}

fn ordered(X, Y) {
    Z1 = X
    X = Y * X
    Y = Z1 + X
    return Y, X
}
"""

_LONG = ("first_projection_of_the_input", "second_projection", "third_projection_of_the_input")

DESIGNS["long_lines"] = f"""
gab Long

unit Long() {{
    {_LONG[0]} = Linear(D, D)
    {_LONG[1]} = Linear(D, D)
    {_LONG[2]} = Linear(D, D)
    forward(X) {{
        return X + {_LONG[0]}(X) * sigmoid({_LONG[1]}(X)) + {_LONG[2]}(tanh(X) * cos(X)
            + sin(X) * 0.5) * relu({_LONG[0]}(X) - {_LONG[2]}(X))
    }}
}}
"""

DESIGNS["hostile_names"] = """
gab Names

unit Names() {
    a = list(3, type=2.0, type_=0.5)
    keys  = Linear(D, D)
    keys_ = Linear(D, D)
    param half:  [D] = normal(0.0, 1.0)
    param half_: [D] = normal(0.0, 1.0)
    shared a_b = Linear(D, D)
    shared b = Linear(D, D)
    forward(X) {
        a_b_2 = b(X * half) * half_
        return X + keys(X) - keys_(X) + a(X) + a_b(a_b_2)
    }
}

unit list(exact_div: int, type: float, type_: float) {
    dim id_ = exact_div
    dim id = D / 2 * id_
    shared b = seed(exact_div=id / id_)
    param __dunder: [id] = ones()
    param _x: [D] = ones()
    forward(X) {
        a_b = X * type
        b_2 = b(a_b) - type_ * _x * X
        return b_2 + sum(__dunder, axis=0)
    }
}

unit seed(exact_div: dim, b: int = 2) {
    dim b_ = exact_div * b
    up = Linear(D, b_)
    forward(X) {
        seed = up(X)
        return seed[:, :, 0:D]
    }
}
"""

DESIGNS["loss_names"] = """
gab Names

unit Names() {
    reads a_here: [B, L, D]?, return_losses: [B, L, D]?
    writes a_here: [B, L, D], return_losses: [B, L, D]
    w = Linear(D, D)
    forward(X) {
        loss a = mean(mean(mean(square(w(X)), axis=2), axis=1), axis=0)
        Z.return_losses = (Z.return_losses ?? X) + X
        Z.a_here = (Z.a_here ?? X) * 0.5
        return X + Z.a_here * Z.return_losses
    }
}
"""

DESIGNS["losses_of_steps"] = """
gab Losses

unit Losses() {
    outside = Router()
    step = Step()
    forward(X) {
        ignored = outside(X)
        y = scan(X) {
            state S: [B, D] = 0.0
            unread = step(X)
            S = 0.5 * S + X
            return S
        }
        return X + y
    }
}

unit Router() {
    gate = Linear(D, 4)
    forward(X) {
        loss balance = mean(mean(mean(square(gate(X)), axis=2), axis=1), axis=0)
        return X
    }
}

unit Step() {
    gate = Linear(D, 4)
    forward(x: [B, D]) {
        loss balance = mean(mean(square(gate(x)), axis=1), axis=0)
        return x
    }
}
"""
