"""Hashes stay under rewrites that keep the meaning, and change with what the design computes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict

import pytest
from designs import EXAMPLES, example, stack_of
from generator.program import generate
from rewriting import (
    SEEDS,
    commuted,
    flat,
    members_reordered,
    mutants,
    outside_strings,
    renamed,
    reordered,
    with_helpers,
)
from small_designs import DESIGNS

from gabc.check.identity import canonical, structural_hash
from gabc.diagnostics.model import Diagnostics
from gabc.elaborate.modules import Loader
from gabc.elaborate.scales import parse_scale
from gabc.elaborate.stack import elaborate_stack
from gabc.graph.instance import Stack
from gabc.runtime.fingerprint import fingerprint
from gabc.syntax.source import Source

SCALE = "64x2"
LIBRARY = EXAMPLES.parent / "stdlib_gaus"


def hash_of(text: str, scale: str = SCALE) -> str:
    return structural_hash(stack_of(text, scale))


def accepted(text: str, scale: str) -> Stack | None:
    """The stack of a text, which may be refused, whatever is proved of it."""
    found = Diagnostics()
    module = Loader(found).load(Source("design.gab", text), None)
    if found.has_errors:
        return None
    return elaborate_stack(module, parse_scale(scale), found, {"design.gab": text})


def unit(body: str, members: str = "", rest: str = "") -> str:
    return f"gab One\n\nunit One() {{\n{members}\n    forward(X) {{\n{body}\n    }}\n}}\n{rest}"


# -------------------------------------------------------------------------------- rewrites


REWRITES = {
    "flattened": lambda text: text,
    "renamed": renamed,
    "reordered": lambda text: reordered(text, 1),
    "reordered otherwise": lambda text: reordered(text, 2),
    "members reordered": members_reordered,
    "commuted": commuted,
    "sugar and functions": with_helpers,
    "all at once": lambda text: members_reordered(
        reordered(renamed(with_helpers(commuted(text))), 3)
    ),
}


@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize("name", SEEDS)
def test_a_rewritten_seed_has_its_hash(name: str, rewrite: str) -> None:
    text = REWRITES[rewrite](flat(name))
    assert hash_of(text) == structural_hash(example(name, SCALE))


def test_rewrites_do_rewrite() -> None:
    for name in SEEDS:
        text = flat(name)
        texts = [rewrite(text) for key, rewrite in REWRITES.items() if key != "flattened"]
        assert sum(new != text for new in texts) >= 5


@pytest.mark.parametrize("name", SEEDS)
def test_the_hash_does_not_depend_on_the_scale(name: str) -> None:
    assert len({structural_hash(example(name, scale)) for scale in ("14M", "70M", "350M")}) == 1


INLINED = """
gab GPT2

from std.attention import MultiHeadAttention
from std.position import RoPE

unit GPT2(heads: int = 8) {
    attn = MultiHeadAttention(heads=heads, bias=true, rope=RoPE(interleaved=true))
    param a: [D] = ones()
    param b: [D] = 1.0
    gate = Linear(D, ceil_to(8 * D / 3, 128), bias=false)
    up   = Linear(D, ceil_to(8 * D / 3, 128), bias=false)
    down = Linear(ceil_to(8 * D / 3, 128), D, bias=false, init=kaiming() / sqrt(n_layers))

    forward(X) {
        h = rms_norm(X, eps=1e-5) * a
        X = attn(h) + X
        h = rms_norm(X) * b
        g = gate(h)
        return X + down(up(h) * (g * sigmoid(g)))
    }
}
"""


def test_units_written_out_by_hand() -> None:
    text = INLINED.replace("param b: [D] = 1.0", "param b: [D] = ones()")
    assert hash_of(text) == structural_hash(example("gpt2", SCALE))


PARAMETER = "    param w: [D] = normal()\n    param v: [D] = normal()"
EQUAL = {
    "subtraction": ("return X - w * X", "return X + (-(w * X))"),
    "negated difference": ("return -(X - w)", "return w - X"),
    "nested sums": ("return X + (w + v)", "return (v + X) + w"),
    "nested products": ("return (X * w) * v", "return w * (v * X)"),
    "numbers in a sum": ("return X + 1.5 + 2.5", "return 4.0 + X"),
    "numbers in a product": ("return 0.5 * (X * 4.0)", "return X + X"),
    "static numbers": ("return X * (1.0 / D)", "return X / D"),
    "decimals": ("return X * 0.1 * 3.0", "return X * 0.3"),
    "squares": ("return square(X)", "return X ** 2"),
    "powers": ("return X ** 3", "return X * square(X)"),
    "reciprocals": ("return X / sqrt(1.0 + square(X))", "return X * rsqrt(square(X) + 1.0)"),
    "silu": ("return silu(X)", "return sigmoid(X) * X"),
    "lerp": ("return lerp(X, w * X, v)", "return X + v * (w * X - X)"),
    "weights of a norm": ("return rms_norm(X, w)", "return w * rms_norm(X)"),
    "comparison": ("return where(X > w, X, 0.0)", "return where(w < X, X, 0.0)"),
    "einsum operands": (
        'return einsum("b l d, d -> b l d", X, w)',
        'return einsum("d, b l d -> b l d", w, X)',
    ),
    "einsum letters": (
        'return X * einsum("b l d, d -> b l", X, w)[:, :, None]',
        'return einsum("x y z, z -> x y", X, w)[:, :, None] * X',
    ),
    "sizes in a pattern": (
        'x = rearrange(X, "b l (h k) -> b l h k", h=4)\n'
        ' return rearrange(x, "b l h k -> b l (k h)")',
        'y = rearrange(X, "a t (i j) -> a t i j", j=D / 4)\n'
        ' return rearrange(y, "b l d e -> b l (e d)")',
    ),
    "a pattern that moves nothing": ('return rearrange(X, "b l d -> b l d") + w', "return X + w"),
    "a subscript of everything": ("return X[:, :, :] + w", "return X + w"),
    "axis from either end": ("return softmax(X, axis=-1)", "return softmax(X, axis=2)"),
    "dropout": ("return X + dropout(tanh(X), 0.1)", "return X + tanh(X)"),
    "common part": ("y = tanh(X + w)\n return y * v + y", "return tanh(w + X) + v * tanh(X + w)"),
    "exchanged parameters": ("return tanh(X * w) + v", "return tanh(X * v) + w"),
    "order of a scan's arguments": (
        "y = scan(a=X, c=w * X) { state h: [B, D] = 0.0\n h = a * h + c\n return h }\n return y",
        "y = scan(p=w * X, q=X) { state s: [B, D] = 0.0\n s = p + s * q\n return s }\n return y",
    ),
    "what a scan captures": (
        "y = scan(X) { state h: [B, D] = 0.0\n h = h + X * w\n return h }\n return y",
        "y = scan(X) { state h: [B, D] = 0.0\n u = X * w\n h = u + h\n return h }\n return y",
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_two_ways_to_say_a_thing(name: str) -> None:
    first, second = (stack_of(unit(f"        {body}", PARAMETER)) for body in EQUAL[name])
    assert canonical(first).lines == canonical(second).lines
    assert fingerprint(first) == fingerprint(second)


DIFFERENT = {
    "constant": ("return X * 0.5", "return X * 0.51"),
    "sign": ("return X + w", "return X - w"),
    "order of a difference": ("return X - tanh(X)", "return tanh(X) - X"),
    "power": ("return X * X", "return X * X * X"),
    "activation": ("return silu(X)", "return gelu(X)"),
    "division": ("return X / (1.0 + square(w))", "return X * (1.0 + square(w))"),
    "a parameter used twice": (
        "return tanh(X * w) + sin(X * w)",
        "return tanh(X * w) + sin(X * v)",
    ),
    "crossed parameters": (
        "return tanh(X * w) * sin(X + w) + tanh(X * v) * sin(X + v)",
        "return tanh(X * w) * sin(X + v) + tanh(X * v) * sin(X + w)",
    ),
    "side of a comparison": ("return where(X > w, X, 0.0)", "return where(X < w, X, 0.0)"),
    "strict comparison": ("return where(X > X, X, 1.0) + w", "return where(X >= X, X, 1.0) + w"),
    "order of axes": (
        'return rearrange(rearrange(X, "b l (h k) -> b l h k", h=4), "b l h k -> b l (k h)")',
        'return rearrange(rearrange(X, "b l (h k) -> b l h k", h=4), "b l h k -> b l (h k)")',
    ),
    "size of a group": (
        'return rearrange(rearrange(X, "b l (h k) -> b l h k", h=4), "b l h k -> b l (k h)")',
        'return rearrange(rearrange(X, "b l (h k) -> b l h k", h=2), "b l h k -> b l (k h)")',
    ),
    "shift": ("return shift(X, 1)", "return shift(X, 2)"),
    "window": ("return window_mean(X, 3)", "return window_mean(X, 4)"),
    "initial state": (
        "return scan(X) { state h: [B, D] = 0.0\n h = w * h + X\n return h }",
        "return scan(X) { state h: [B, D] = 1.0\n h = w * h + X\n return h }",
    ),
    "read before or after": (
        "return scan(X) { state h: [B, D] = 0.0\n h = 0.5 * h + X\n return h }",
        "return scan(X) { state h: [B, D] = 0.0\n o = h\n h = 0.5 * h + X\n return o }",
    ),
    "which state": (
        "return scan(X) { state g: [B, D] = 0.0\n state h: [B, D] = 0.0\n"
        " o = g\n g = 0.5 * g + h\n h = X + 0.5 * h\n return o - h }",
        "return scan(X) { state g: [B, D] = 0.0\n state h: [B, D] = 0.0\n"
        " o = g\n g = 0.5 * h + X\n h = o + 0.5 * h\n return o - h }",
    ),
    "chunks": (
        "return scan(X) chunk 2 { state h: [B, D] = 0.0\n y = X + h[:, None]\n h = h + X[:, 0]\n"
        " return y }",
        "return scan(X) chunk 3 { state h: [B, D] = 0.0\n y = X + h[:, None]\n h = h + X[:, 0]\n"
        " return y }",
    ),
    "zeros of another width": (
        "return concat([X - X, X], axis=-1)[..., 0:D] + w",
        "return concat([X[..., 1:] - X[..., 1:], X], axis=-1)[..., 0:D] + w",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_things_that_differ(name: str) -> None:
    # One block: two in a row can undo what they do. The width is no square, which h = 4 transposes.
    texts = [unit(f"        {body}", PARAMETER) for body in DIFFERENT[name]]
    first, second = (stack_of(text, "32x1") for text in texts)
    assert structural_hash(first) != structural_hash(second)
    assert fingerprint(first) != fingerprint(second)


MEMBERS = {
    "initial value": ("param w: [D] = normal()", "param w: [D] = ones()"),
    "number in an initial value": ("param w: [D] = normal(std=0.1)", "param w: [D] = normal()"),
    "buffer": ("param w: [D] = ones()", "buffer w: [D] = ones()"),
    "shape": ("param w: [D] = ones()", "param w: [1] = ones()"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_parameters_that_differ(name: str) -> None:
    first, second = MEMBERS[name]
    body = "        return X * w"
    assert hash_of(unit(body, f"    {first}")) != hash_of(unit(body, f"    {second}"))


def test_sharing_among_blocks_and_within_one_is_seen() -> None:
    own = unit("        return X + m(X)", "    m = Linear(D, D)")
    shared = unit("        return X + m(X)", "    shared m = Linear(D, D)")
    assert hash_of(own) != hash_of(shared)
    twice = unit("        return m(tanh(m(X)))", "    m = Linear(D, D)")
    pair = unit("        return n(tanh(m(X)))", "    m = Linear(D, D)\n    n = Linear(D, D)")
    assert hash_of(twice) != hash_of(pair)


def test_head_options_are_seen() -> None:
    body = "        return tanh(X)"
    plain = unit(body)
    options = ("tie=false", "logit_cap=30.0", "logit_cap=31.0", "embed_scale=sqrt(D)")
    texts = [plain, *(plain.replace("gab One", f"gab One with {o}") for o in options)]
    assert len({hash_of(text) for text in texts}) == len(texts)
    assert hash_of(texts[-1], "64x2") == hash_of(texts[-1], "128x2")


# -------------------------------------------------------------------------------- Z


Z_DESIGN = """
gab Deep

unit Deep() {
    reads  first: [B, L, D]?, sum: [B, L, D]?
    writes first: [B, L, D], sum: [B, L, D]
    w = Linear(D, D)
    forward(X) {
        y = tanh(w(X))
        f = Z.first ?? y
        s = Z.sum ?? X
        Z.first = f
        Z.sum = s + y
        return X + 0.5 * f + 0.25 * s
    }
}
"""


def test_z_keys_are_names() -> None:
    swapped = Z_DESIGN.replace("first", "third").replace("sum", "first").replace("third", "sum")
    assert hash_of(swapped, "16x3") == hash_of(Z_DESIGN, "16x3")
    changed = Z_DESIGN.replace("Z.sum = s + y", "Z.sum = f + y")
    assert hash_of(changed, "16x3") != hash_of(Z_DESIGN, "16x3")


def test_what_no_one_reads_is_not_there() -> None:
    member = "    writes unread: [B, L, D]\n    w = Linear(D, D)"
    written = unit("        Z.unread = tanh(X)\n        return w(X)", member)
    plain = unit("        return w(X)", "    w = Linear(D, D)\n    dead = Linear(D, 2 * D)")
    assert hash_of(written) == hash_of(plain)


def test_an_auxiliary_loss_is_no_part_of_nothing() -> None:
    without = re.sub(r"        (loss|share).*\n", "", DESIGNS["losses"])
    assert hash_of(without) != hash_of(DESIGNS["losses"])


def test_a_layer_that_does_nothing_else_is_no_difference() -> None:
    body = "        return X + layer * 0.0 + tanh(X)"
    assert hash_of(unit(body)) == hash_of(unit("        return X + tanh(X)"))


# -------------------------------------------------------------------------------- processes


def test_the_hash_is_the_same_in_every_process() -> None:
    program = (
        "import sys, gabc.check.cost; from gabc.check.identity import structural_hash\n"
        "from gabc.api import elaborate\n"
        "from pathlib import Path\n"
        "for name in sys.argv[1:]:\n"
        "    print(structural_hash(elaborate(Path(name).read_text()).stack))\n"
        "assert 'torch' not in sys.modules"
    )
    files = [str(EXAMPLES / f"{name}.gab") for name in SEEDS]
    outputs = set()
    for seed in ("0", "1", "4242"):
        result = subprocess.run(
            [sys.executable, "-c", program, *files],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(result.stdout)
    assert len(outputs) == 1
    assert outputs == {"".join(structural_hash(example(n, "14M")) + "\n" for n in SEEDS)}


# -------------------------------------------------------------------------------- against values


def assert_equal_hashes_are_equal_functions(texts: list[str], scale: str) -> int:
    """Returns how many different functions there were."""
    groups: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        stack = accepted(text, scale)
        if stack is not None:
            groups[structural_hash(stack)].add(fingerprint(stack))
    assert all(len(values) == 1 for values in groups.values())
    return len(groups)


def test_mutants_of_a_seed_differ() -> None:
    texts = [text for _, text in mutants(flat("gpt2"))]
    assert assert_equal_hashes_are_equal_functions(texts[::3], "16x1") >= len(texts) // 6


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_all_mutants_of_the_seeds(name: str) -> None:
    texts = [text for _, text in mutants(flat(name))]
    scale = {"mamba2": "256x1", "ttt": "64x1"}.get(name, "16x1")
    assert assert_equal_hashes_are_equal_functions(texts[:90], scale) >= len(texts[:90]) // 4


def renamed_program(text: str) -> str:
    """A generated program with its numbered names changed."""
    return outside_strings(
        text, lambda part: re.sub(r"\b(v|c|p|f|vs|va|vsz)(\d+)\b", r"other_\1_\2", part)
    )


@pytest.mark.parametrize("seed", range(25))
def test_generated_programs_renamed_and_reordered(seed: int) -> None:
    program = generate(seed)
    scale = f"{program.width}x{program.layers}"
    stack = accepted(program.text, scale)
    assert stack is not None
    other = accepted(reordered(renamed_program(program.text), seed), scale)
    assert other is not None
    assert structural_hash(other) == structural_hash(stack)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(105, 110))
def test_mutants_of_generated_programs(seed: int) -> None:
    program = generate(seed)
    texts = [program.text, renamed_program(program.text)]
    texts += [text for _, text in list(mutants(program.text))[::5]]
    assert_equal_hashes_are_equal_functions(texts, f"{program.width}x{program.layers}")


def library_designs() -> dict[str, str]:
    """A design around every unit of the library that X alone can be given to."""
    designs = {}
    for path in sorted(LIBRARY.glob("*.gab")):
        for name in re.findall(r"^unit (\w+)", path.read_text(encoding="utf-8"), re.M):
            text = unit("        return X + m(X)", f"    m = {name}()")
            text = text.replace("\n\n", f"\n\nfrom std.{path.stem} import {name}\n\n", 1)
            if accepted(text, "128x1") is not None:
                designs[name] = text
    return designs


def test_no_two_units_of_the_library_collide() -> None:
    """In two blocks: what hands a value on to the next one does nothing in a single block."""
    texts = library_designs()
    assert len(texts) >= 10
    stacks = {name: stack_of(text, "128x2") for name, text in texts.items()}
    stacks |= {name: example(name, "128x2") for name in SEEDS}
    stacks |= {name: stack_of(DESIGNS[name], "128x2") for name in set(DESIGNS) - {"names"}}
    assert len({structural_hash(stack) for stack in stacks.values()}) == len(stacks)


CALL_DIMS = """
gab One

unit One() {
    m = Scale()
    forward(X) {
        return X + m(X, X[..., 0:4])
    }
}

unit Scale() {
    forward(x: [B, L, N], y: [B, L, M]) {
        return x / sqrt(N) + mean(y, axis=-1, keep=true)
    }
}
"""


def test_dims_of_a_call_are_no_names() -> None:
    swapped = CALL_DIMS.replace("[B, L, N]", "[B, L, M]").replace("y: [B, L, M]", "y: [B, L, N]")
    assert hash_of(swapped) != hash_of(CALL_DIMS)
    renamed_too = swapped.replace("sqrt(N)", "sqrt(M)")
    assert hash_of(renamed_too) == hash_of(CALL_DIMS)
