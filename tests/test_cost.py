"""Costs against what is counted while the compiled design runs, and against figures by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from designs import count_parameters, example, stack_of
from generator.program import generate
from measured_cost import VOCAB, kernels, measure
from small_designs import DESIGNS

from gabc.check.cost import DEVICES, Costs, cost, per_token, step_time, value_at
from gabc.graph.instance import Stack
from gabc.graph.nodes import Node
from gabc.passes import optimise

SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
BATCH = 2


def costs_of(stack: Stack) -> Costs:
    return cost(optimise(stack), vocab_size=VOCAB)


def unit(body: str, members: str = "", scale: str = "16x1") -> Stack:
    """A design of one block whose forward is `body`."""
    text = f"gab One\n\nunit One() {{\n{members}\n    forward(X) {{\n{body}\n    }}\n}}\n"
    return stack_of(text, scale)


SHORTEST = {"rwkv6": 4}
"""It reads the state before the update: what is written and decays at first gets no gradient."""


def assert_flops(stack: Stack, length: int, tolerance: float = 0.0) -> None:
    total, found = costs_of(stack).total, measure(stack, BATCH, length)
    forward = value_at(total.matmul, length, BATCH)
    training = forward + value_at(total.matmul_backward, length, BATCH)
    assert forward == pytest.approx(found.forward, rel=tolerance, abs=0.5)
    assert training == pytest.approx(found.training, rel=tolerance, abs=0.5)


# -------------------------------------------------------------------------------- FLOPs


@pytest.mark.parametrize("name", SEEDS)
def test_flops_of_the_seeds_are_what_torch_counts(name: str) -> None:
    for length in (SHORTEST.get(name, 1), 70):
        assert_flops(example(name, "64x1"), length)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 16, 64, 65, 130, 257])
@pytest.mark.parametrize("scale", ["64x2", "128x3"])
@pytest.mark.parametrize("name", SEEDS)
def test_flops_at_all_lengths_are_what_torch_counts(name: str, scale: str, length: int) -> None:
    assert_flops(example(name, scale), max(length, SHORTEST.get(name, 1)))


def nodes_of(stack: Stack) -> Iterator[Node]:
    """The operations of all units, those in a scan's body included."""

    def inside(nodes: tuple[Node, ...]) -> Iterator[Node]:
        for node in nodes:
            yield node
            if node.region is not None:
                yield from inside(node.region.nodes)

    for block in dict.fromkeys(stack.blocks):
        for _, instance in block.walk(""):
            if instance.graph is not None:
                yield from inside(instance.graph.nodes)


def assert_flops_of_program(seed: int) -> None:
    program = generate(seed)
    stack = stack_of(program.text, f"{program.width}x{program.layers}")
    total, found = costs_of(stack).total, measure(stack, BATCH, 37)
    assert value_at(total.matmul, 37, BATCH) == found.forward
    training = value_at(total.matmul + total.matmul_backward, 37, BATCH)
    operations = {node.op for node in nodes_of(optimise(stack))}
    if "attend" in operations:
        # Attention may run unfused, and then does not compute its scores a second time.
        assert found.training <= training <= 1.05 * found.training
    elif operations & {"linear_attention", "delta_rule"}:
        # In chunked forms torch leaves out some products that nothing is learnt from.
        assert found.training <= training <= 1.01 * found.training
    else:
        assert training == found.training
    parameters = cost(stack, vocab_size=VOCAB).parameters
    assert parameters.as_int() == count_parameters(stack, VOCAB)


@pytest.mark.parametrize("seed", range(6))
def test_flops_of_generated_programs(seed: int) -> None:
    assert_flops_of_program(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 60))
def test_flops_of_more_generated_programs(seed: int) -> None:
    assert_flops_of_program(seed)


@pytest.mark.parametrize("name", sorted(set(DESIGNS) - {"names"}))
def test_flops_of_small_designs_are_what_torch_counts(name: str) -> None:
    assert_flops(stack_of(DESIGNS[name]), 11)


INNER = """
unit Inner() {
    reads  memo: [B, L, D]?
    writes memo: [B, L, D]
    w = Linear(D, D)
    u = Linear(D, D)
    forward(X) {
BODY
    }
}
"""
DEFAULTS = {
    "in the place": "m = Z.memo ?? w(X)\n Z.memo = u(m)\n return X + m",
    "in an expression": "m = X + tanh(Z.memo ?? u(w(X)))\n Z.memo = X\n return m",
    "with a name": "v = w(X)\n m = Z.memo ?? v\n Z.memo = u(m)\n return X + m",
    "part with a name": "v = w(X)\n m = Z.memo ?? u(tanh(v))\n Z.memo = X\n return X + m",
    "used beside it": "v = w(X)\n m = Z.memo ?? v\n Z.memo = u(m)\n return v * m",
    "never read again": "m = Z.memo ?? w(X)\n Z.memo = u(X)\n return X + detach(m)",
    "kept as it is": "m = Z.memo ?? w(X)\n Z.memo = m\n return X + u(m)",
    "in a loop": (
        "m = Z.memo ?? w(X)\n Z.memo = u(X)\n"
        " return scan(m, X) { state h: [B, D] = 0.0\n h = 0.5 * h + u(m) * X\n return h }"
    ),
    "a loop": (
        "m = Z.memo ?? scan(X) { state h: [B, D] = 0.0\n h = w(0.5 * h + X)\n return h }\n"
        " Z.memo = X\n return u(m)"
    ),
}


def with_defaults(body: str, calls: str, scale: str) -> Stack:
    inner = INNER.replace("BODY", body)
    return stack_of(f"gab Outer\n{inner}\nunit Outer() {{\n{calls}\n}}\n", scale)


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_default_counts_where_its_entry_is_absent(name: str, layers: int) -> None:
    """Layers, and calls of the same unit in one layer, differ in what Z holds."""
    once = "a = Inner()\n forward(X) { return a(X) }"
    twice = "a = Inner()\n b = Inner()\n forward(X) {\n X = a(X)\n return b(X)\n }"
    one = "a = Inner()\n forward(X) {\n X = a(X)\n return a(X)\n }"
    for calls in (once, twice, one):
        assert_flops(with_defaults(DEFAULTS[name], calls, f"16x{layers}"), 11)


def test_a_default_by_hand() -> None:
    """Two blocks of two calls: only the first call of all has no entry, and computes `w(X)`."""
    calls = "a = Inner()\n b = Inner()\n forward(X) {\n X = a(X)\n return b(X)\n }"
    total = costs_of(with_defaults(DEFAULTS["in the place"], calls, "16x2")).total
    matrix, length = 2 * 16 * 16 * 11, 11
    head = 2 * 16 * VOCAB * length
    # `w` once, `u` in all four calls; of those the last is never read.
    assert value_at(total.matmul, length) == 5 * matrix + head
    assert value_at(total.matmul_backward, length) == 2 * (4 * matrix + head)


@pytest.mark.parametrize("name", ["retnet", "rwkv6"])
def test_flops_of_a_loop_over_time(name: str) -> None:
    """The scan as it was written, which no pass has put in parallel form."""
    stack = example(name, "32x1")
    total, found = cost(stack, vocab_size=VOCAB).total, measure(stack, BATCH, 9, optimised=False)
    assert value_at(total.matmul, 9, BATCH) == found.forward
    assert value_at(total.matmul + total.matmul_backward, 9, BATCH) == found.training


_HEADS = 'rearrange(X, "b l (h k) -> b l h k", h=4)'
PRIMITIVES = {
    "einsum of three": ('return einsum("b l d, d e, e -> b l d", X, w, v)', "w: [D, D], v: [D]"),
    "outer product": ('y = einsum("b l d, e -> b l d e", X, v)\n return X + y[..., 0]', "v: [D]"),
    "sum in einsum": ('return X * einsum("b l d -> b l", X)[:, :, None]', ""),
    "square of one tensor": ('return X * einsum("b l d, b l d -> b l", X, X)[:, :, None]', ""),
    "matrix product": ("return X @ w", "w: [D, D]"),
    "matrix by vector": ("return X + (X @ v)[:, :, None]", "v: [D]"),
    "weights made of weights": ("return X @ (w @ w)", "w: [D, D]"),
    "attention by hand": (
        'a = causal(einsum("b i d, b j d -> b i j", X, X @ w))\n'
        '        return einsum("b i j, b j d -> b i d", softmax(a), X)',
        "w: [D, D]",
    ),
    "short convolution": ("return causal_conv(X, w)", "w: [D, 3]"),
    "dilated convolution": ("return causal_conv(X, w, v, dilation=2)", "w: [D, 3], v: [D]"),
    "constant signal": ("p = positions()[:, None] * v\n return X + p @ w", "v: [D], w: [D, D]"),
    "detached": ("return X + detach(X @ w) @ w", "w: [D, D]"),
    "no gradient through ints": ("return X + float(int(X @ w))", "w: [D, D]"),
    "triangular system": (
        f"x = {_HEADS}\n"
        "        return X + rearrange(solve_lower(eye(4) + t, x), "
        '"b l h k -> b l (h k)")',
        "t: [4, 4]",
    ),
    "attention": (
        f'x = {_HEADS}\n return X + rearrange(attend(x, x, x), "b l h k -> b l (h k)")',
        "",
    ),
    "capped attention": (
        f"x = {_HEADS}\n"
        ' return X + rearrange(attend(x, x, x, softcap=5.0), "b l h k -> b l (h k)")',
        "",
    ),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_flops_of_a_primitive_are_what_torch_counts(name: str) -> None:
    body, parameters = PRIMITIVES[name]
    members = [p.split(":") for p in parameters.replace("], ", "]; ").split("; ") if p]
    declared = "\n".join(f"    param {n}: {s.strip()} = normal(std=0.1)" for n, s in members)
    for length in (2, 17):
        assert_flops(unit(f"        {body}", declared), length)


# -------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("name", SEEDS)
def test_saved_bytes_are_those_autograd_keeps(name: str) -> None:
    """Within 15%: torch also keeps copies that its matrix products make of strided operands."""
    stack = example(name, "64x2")
    total = costs_of(stack).total
    for length in (64, 100):
        found = measure(stack, BATCH, length).saved
        assert value_at(total.saved, length, BATCH) == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("name", ["residual", "z", "skips", "arrays", "shared", "functions"])
def test_saved_bytes_without_copies(name: str) -> None:
    stack = stack_of(DESIGNS[name])
    found = measure(stack, BATCH, 37).saved
    assert value_at(costs_of(stack).total.saved, 37, BATCH) == pytest.approx(found, rel=0.015)


@pytest.mark.parametrize("name", ["gpt2", "mamba2", "retnet", "rwkv6"])
def test_launches_are_operations_that_are_no_views(name: str) -> None:
    stack = example(name, "64x2")
    found = kernels(stack, BATCH, 100)
    assert value_at(costs_of(stack).total.launches, 100, BATCH) == pytest.approx(found, rel=0.2)


@pytest.mark.parametrize("scale", ["14M", "350M"])
@pytest.mark.parametrize("name", SEEDS)
def test_parameters_are_exact(name: str, scale: str) -> None:
    stack = example(name, scale)
    assert cost(stack).parameters.as_int() == count_parameters(stack)


@pytest.mark.parametrize("name", sorted(set(DESIGNS) - {"names"}))
def test_parameters_of_small_designs_are_exact(name: str) -> None:
    stack = stack_of(DESIGNS[name])
    assert cost(stack, vocab_size=VOCAB).parameters.as_int() == count_parameters(stack, VOCAB)


# -------------------------------------------------------------------------------- state


def state_bytes(stack: Stack, length: int) -> int:
    return round(value_at(costs_of(stack).total.state, length))


def test_state_of_the_seeds_by_hand() -> None:
    """At D = 64, two blocks, float32; L = 100."""
    width, blocks, length = 64, 2, 100
    # Keys and values of every position, all heads together D each.
    assert state_bytes(example("gpt2"), length) == 4 * blocks * length * 2 * width
    # Per mixer: heads * N * P, and three positions of what the convolution sees, 2 D + 2 N.
    mixer = 128 * 64 + 3 * (2 * width + 2 * 64)
    assert state_bytes(example("mamba2"), length) == 4 * blocks * 2 * mixer
    # 8 heads of K = 8, V = 16.
    assert state_bytes(example("retnet"), length) == 4 * blocks * 8 * 8 * 16
    # 4 heads of K = 8, V = 16; the last token of both mixes.
    assert state_bytes(example("rwkv6"), length) == 4 * blocks * (4 * 8 * 16 + 2 * width)
    # 4 heads with W [16, 16] and b [16]; 15 positions of q, k, v and the rate of each head; the
    # convolution's three.
    ttt = 4 * 16 * 16 + 4 * 16 + 15 * (3 * width + 4) + 3 * width
    assert state_bytes(example("ttt"), length) == 4 * blocks * ttt


STATES = {
    "pointwise": ("return tanh(X)", 0),
    "shift": ("return shift(X, 3)", 3 * 16),
    "two shifts of one value": ("return shift(X, 2) + shift(X, 5)", 5 * 16),
    "shifts of two values": ("return shift(X) + shift(tanh(X))", 2 * 16),
    "cumsum": ("return cumsum(X)", 16),
    "cumsum over channels": ("return cumsum(X, axis=-1)", 0),
    "running mean": ("return running_mean(X)", 16),
    "window mean": ("return window_mean(X, 5)", 4 * 16),
    "scan": ("return scan(X) { state h: [B, D] = 0.0\n h = 0.5 * h + X\n return h }", 16),
    "blocks": ("return unblocks(tanh(blocks(X, 4)))", 3 * 16),
    "blocks that overlap, computed again": (
        "m = shift(sum(blocks(X, 4, stride=2), axis=2), 2)\n"
        ' return unblocks(repeat(m, "b n d -> b n c d", c=2))',
        100 * 16,
    ),
    "chunked scan": (
        "return scan(X) chunk 4 { state h: [B, D] = 0.0\n y = X + h[:, None]\n"
        " h = h + sum(X, axis=1)\n return y }",
        16 + 3 * 16,
    ),
    "window": (
        'x = rearrange(X, "b l (h k) -> b l h k", h=2)\n y = attend(x, x, tanh(x), window=8)\n'
        ' return rearrange(y, "b l h k -> b l (h k)")',
        2 * 7 * 16,
    ),
    "parts of one value": (
        'x = rearrange(concat([X, X, X], axis=-1), "b l (r h k) -> b l r h k", r=3, h=2)\n'
        " y = attend(x[:, :, 0], x[:, :, 1], x[:, :, 2])\n"
        ' return rearrange(y, "b l h k -> b l (h k)")',
        100 * 2 * 16,
    ),
    "shared keys and values": (
        'x = rearrange(X, "b l (h k) -> b l h k", h=2)\n y = attend(x, x, x)\n'
        ' return rearrange(y, "b l h k -> b l (h k)")',
        100 * 16,
    ),
    "attention by hand": (
        'a = causal(einsum("b i d, b j d -> b i j", X, tanh(X)))\n'
        ' return einsum("b i j, b j d -> b i d", softmax(a), sin(X))',
        100 * 2 * 16,
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_state_of_a_primitive_by_hand(name: str) -> None:
    body, floats = STATES[name]
    assert state_bytes(unit(f"        {body}"), 100) == 4 * floats


# -------------------------------------------------------------------------------- classes


CLASSES = {
    "gpt2": ("O(L)", "O(L)"),
    "mamba2": ("O(1)", "O(1)"),
    "retnet": ("O(1)", "O(1)"),
    "rwkv6": ("O(1)", "O(1)"),
    "ttt": ("O(1)", "O(1)"),
}


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("symbolic", [False, True])
def test_classes_of_the_seeds(name: str, symbolic: bool) -> None:
    costs = cost(optimise(example(name)), symbolic=symbolic)
    assert (str(costs.time), str(costs.state)) == CLASSES[name]


def test_a_window_is_linear_in_time_and_constant_in_state() -> None:
    costs = costs_of(unit(f"        {STATES['window'][0]}"))
    assert (str(costs.time), str(costs.state)) == ("O(1)", "O(1)")


def test_a_long_convolution_costs_a_logarithm() -> None:
    body = "        h = exp(-positions()) * exp(r)[:, None]\n        return long_conv(X, h)"
    costs = costs_of(unit(body, "    param r: [D] = zeros()"))
    assert (str(costs.time), str(costs.state)) == ("O(log L)", "O(L)")


# -------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("name", SEEDS)
def test_formulas_have_the_numbers_values(name: str) -> None:
    """The polynomials over all names, evaluated at the scale, are those over numbers."""
    stack = optimise(example(name))
    numbers, names = cost(stack), cost(stack, symbolic=True)
    for number, formula in zip(numbers.total.all(), names.total.all(), strict=True):
        assert formula.symbols() <= {"B", "L", "log2(L)", *names.sizes}
        expected = value_at(number, 96, 3)
        assert value_at(formula, 96, 3, names.sizes) == pytest.approx(expected)
    assert value_at(names.parameters, 96, 3, names.sizes) == numbers.parameters.as_int()


def test_the_formula_of_a_unit_is_in_its_names() -> None:
    costs = cost(example("gpt2"), symbolic=True)
    mlp = next(unit for unit in costs.units if unit.path == "blocks.mlp")
    assert str(per_token(mlp.amounts.matmul)) == "6*D*mlp.hidden"
    attention = next(unit for unit in costs.units if unit.path == "blocks.attn")
    assert str(attention.amounts.state) == "8*L*attn.G*attn.K"


def test_units_add_up_to_the_whole() -> None:
    costs = costs_of(example("rwkv6", "64x3"))
    whole = sum(unit.copies * value_at(unit.own.forward, 50, 2) for unit in costs.units)
    assert whole == value_at(costs.total.forward, 50, 2)
    tops = [unit for unit in costs.units if "." not in unit.path]
    assert [unit.path for unit in tops] == ["embedding", "blocks", "norm", "head"]
    assert sum(u.copies * value_at(u.amounts.forward, 50, 2) for u in tops) == whole


def test_layers_that_differ_are_told_apart() -> None:
    paths = [unit.path for unit in costs_of(stack_of(DESIGNS["by_layer"], "16x3")).units]
    assert "blocks.0.mlp.up" in paths
    assert "blocks.1.out" in paths


# -------------------------------------------------------------------------------- time


def test_step_time_lies_between_its_largest_bound_and_their_sum() -> None:
    costs = cost(optimise(example("gpt2", "125M")), float_bytes=2)
    for device in DEVICES.values():
        time = step_time(costs, device, batch=8, length=1024)
        bounds = (time.compute, time.memory, time.launches)
        assert max(bounds) <= time.seconds <= sum(bounds)
        forward = step_time(costs, device, batch=8, length=1024, training=False)
        assert forward.seconds < time.seconds / 2


def test_step_time_on_an_h200_is_above_what_was_reached_there() -> None:
    """No more time than at 41% of the matrix units' speed, which was measured for compiled code,
    and no less than if they never rested."""
    costs = cost(optimise(example("gpt2", "125M")), float_bytes=2)
    tokens = 32 * 1024
    time = step_time(costs, DEVICES["H200"], batch=32, length=1024)
    assert 300_000 < tokens / time.seconds < 1_300_000
