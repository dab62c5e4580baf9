"""What the chunked forms of matrix recurrences cost (`gabc.runtime.functional`).

`size` C steps make a chunk, `rows` are the chunks of all heads and sequences. A length below C that
is no power of two is filled up, which is left out here.
"""

from __future__ import annotations

from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.graph.types import ONE
from gabc.ops.cost import ZERO, Kept, Site, Work

_CHUNK = Dim.const(32)


def linear_attention_cost(site: Site) -> Work:
    """Scores inside chunks, the chunks' states by an associative scan, and reads of the states."""
    q, k, v = (site.value(name) for name in ("q", "k", "v"))
    log_decay = site.optional("log_decay")
    batch, length, heads, width = site.dims(k)
    values = site.dims(v)[-1]
    kind = "none" if log_decay is None else site.args["decay"]
    size = Dim.apply("min", _CHUNK, length)
    count = Dim.apply("ceil", length / size)
    rows = batch * heads * count
    scores, state = rows * size * size, rows * width * values
    steps = rows * size
    # With a decay per key or value, blocks of steps are joined in pairs, those of one step without
    # a matrix product.
    joined = steps * Dim.apply("max", size - 2, ZERO)
    by_keys = joined * width if kind == "key" else 2 * scores * width
    inside = joined * values if kind == "value" else 2 * scores * values
    # The last chunk's state is read by no one, and the first chunk reads none that is not zero.
    has_initial = site.optional("initial") is not None
    written = 2 * steps * width * values * (count - 1) / count
    read = 2 * steps * width * values * (ONE if has_initial else Dim.apply("min", count - 1, ONE))
    gradients = [x is not None and site.has_gradient(x) for x in (q, k, v, log_decay)]
    in_q, in_k, in_v, in_decay = gradients
    in_scores = in_q or in_k or (in_decay and kind != "value")
    in_values = in_v or (in_decay and kind == "value")
    # The joins have all their gradients or none.
    of_keys = 2 * by_keys * in_scores if kind == "key" else by_keys * (in_q + in_k)
    of_inside = inside * (in_scores + in_values)
    if kind == "value":
        of_inside = (inside + (scores - steps) * values) * (in_scores or in_values)
    backward = (
        of_keys
        + of_inside
        + written * ((in_k or (in_decay and kind != "value")) + in_values)
        + read * ((in_q or (in_decay and kind != "value")) + (in_k or in_v or in_decay))
    )
    vectors = steps * (2 * width + values)
    masks = {"none": 1, "head": 3, "key": 2, "value": 2}[str(kind)] * scores
    decayed = 2 * steps * width if kind in ("head", "key") else ZERO
    decayed = 3 * steps * values if kind == "value" else decayed
    kept = vectors + masks + decayed + 3 * state
    return Work(
        matmul=by_keys + inside + written + read,
        matmul_backward=backward,
        pointwise=masks + decayed + 6 * state,
        pointwise_backward=2 * masks + 2 * decayed + 6 * state if any(gradients) else ZERO,
        launches=Dim.const({"none": 24, "head": 40}.get(str(kind), 76)),
        saved=kept if any(gradients) else ZERO,
        extra_traffic=2 * kept + 2 * masks,
        keeps=(Kept(site.outputs[0], heads * width * values),),
    )


def delta_rule_cost(site: Site) -> Work:
    """The WY form: scores of two pairs of vectors, a triangular system, a loop over the chunks.

    Several updates in a step are as many steps.
    """
    batch, length, *updates, heads, width = site.dims(site.value("k"))
    length = product([length, *updates])
    values = site.dims(site.value("v"))[-1]
    most = Dim.apply("max", Dim.const(8), Dim.apply("min", _CHUNK, 2 * width))
    size = Dim.apply("min", most, length)
    count = Dim.apply("ceil", length / size)
    rows = batch * heads * count
    scores, steps, state = rows * size * size, rows * size, rows * width * values
    per_key = site.optional("log_decay") is not None and site.args["decay"] == "key"
    by_keys = 4 * (scores - steps) * width if per_key else 8 * scores * width
    both = width + values
    matmul = by_keys + 2 * scores * (width + 4 * values) + 8 * steps * width * values
    system = scores * size
    kept = 4 * scores + 2 * steps * (4 * width + values) + 3 * steps * both
    kept = kept + 3 * state + rows * width * width
    has_gradient = bool(site.gradients())
    return Work(
        matmul=matmul,
        matmul_backward=2 * matmul + 2 * system if has_gradient else ZERO,
        pointwise=8 * scores + system + 4 * steps * width + 2 * state,
        pointwise_backward=16 * scores + system + 8 * steps * width if has_gradient else ZERO,
        launches=Dim.const(60) + 3 * count,
        saved=kept if has_gradient else ZERO,
        extra_traffic=3 * kept,
        keeps=(Kept(site.outputs[0], heads * width * values),),
    )
