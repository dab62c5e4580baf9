"""Generated well-typed programs: the check accepts them, and all backends compute one function.

The programs come from `tests/generator`: random units, children, Z, functions, scans, attention and
the rest of the primitives, well-typed and causal by construction. A program that fails is reduced
to the parts that matter. For a long run: `python -m tests.generator --programs 20000`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of
from generator.examine import LENGTHS, VOCAB, built, examine, stack_of
from generator.program import Program, generate
from generator.shrink import shrink

from gabc.codegen.emit import emit

QUICK = 60
SLOW = 500
BATCH = 50


def fault_of(seed: int, size: int = 8) -> str:
    """What goes wrong on the program of a seed, on its smallest form; empty if nothing does."""
    length = LENGTHS[seed % len(LENGTHS)]
    if not examine(generate(seed, size), length):
        return ""
    program, findings = shrink(seed, size, length)
    scale = f"{program.width}x{program.layers}"
    return "\n".join([f"seed {seed}, L = {length}, {scale}", *findings, program.text])


@pytest.mark.parametrize("seed", range(QUICK))
def test_backends_agree(seed: int) -> None:
    fault = fault_of(seed)
    assert not fault, fault


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + SLOW, BATCH))
def test_backends_agree_on_many(first: int) -> None:
    faults = [fault for seed in range(first, first + BATCH) if (fault := fault_of(seed))]
    assert not faults, "\n\n".join(faults)


def emitted(seed: int, standalone: bool = False) -> str:
    stack = stack_of(generate(seed))
    assert not isinstance(stack, list), stack
    return emit(stack, standalone=standalone, vocab_size=VOCAB).text


def test_generator_is_deterministic_and_varied() -> None:
    texts = [generate(seed).text for seed in range(40)]
    assert texts == [generate(seed).text for seed in range(40)]
    assert len(set(texts)) == len(texts)
    everything = "\n".join(generate(seed).text for seed in range(300))
    for word in (
        "scan(", " chunk ", "attend(", "causal(", "blocks(", "einsum(", "rearrange(", "repeat(",
        "reduce(", "causal_conv(", "long_conv(", "cumsum(", "shift(", "softmax(", "rms_norm(",
        "layer_norm(", "topk(", "take(", "gather(", "split(", "concat(", "stack(", "where(",
        "for ", "if layer", "Sequential(", "shared ", "Z.memo", "Z.past[", " ?? ", "fn ", "slot(",
        "state ", "keep = ", "score = ", "masked(", "solve_lower(", "window_mean(", " @ ",
    ):  # fmt: skip
        assert word in everything, word


def test_left_out_parts_leave_a_program() -> None:
    """What shrinking relies on: any subset of the parts is well-typed."""
    whole = generate(3)
    for kept in range(0, len(whole.parts), 3):
        few = set(whole.parts[:kept])
        assert not isinstance(stack_of(generate(3, keep=few.__contains__)), list)


def test_text_does_not_depend_on_hashing() -> None:
    script = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]);"
        "from generator.program import generate; from generator.examine import stack_of, VOCAB;"
        "from gabc.codegen.emit import emit;"
        "texts = [emit(stack_of(generate(s)), standalone=s % 2 > 0, vocab_size=VOCAB).text"
        " for s in range(4)];"
        "print(hashlib.sha256('\\n'.join(texts).encode()).hexdigest())"
    )
    texts = [emitted(seed, standalone=seed % 2 > 0) for seed in range(4)]
    expected = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    own = os.environ.get("PYTHONHASHSEED")
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONHASHSEED": "4321" if own == "1234" else "1234"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    "count", [15, pytest.param(120, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_text_is_as_ruff_formats_it(count: int, tmp_path: Path) -> None:
    for seed in range(count):
        text = emitted(seed, standalone=seed % 3 == 0)
        (tmp_path / f"design_{seed}.py").write_text(text, encoding="utf-8")
    format_command = ["ruff", "format", "--diff", "--isolated", "--line-length", "100", "."]
    done = subprocess.run(
        [sys.executable, "-m", *format_command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[:4000] + done.stderr[-500:]


# ---------------------------------------------------------------- found by this test


def program_of(text: str) -> Program:
    return Program(text, width=8, layers=2, parts=())


FOUND: dict[str, str] = {
    "a state assigned a value whose type is spelled otherwise": """
gab Root
unit Root(heads: int = 2) {
    dim H = heads
    dim K = D / H
    forward(X) {
        y = scan(X) {
            state S: [B, H, K] = 0.0
            S = rearrange(X, "b (h k) -> b h k", k=K) + 0.5 * S
            return rearrange(S, "b h k -> b (h k)")
        }
        return X + y
    }
}""",
    "a shared child whose only result is never used": """
gab Root
unit Root() {
    shared layer_ = Linear(D, D)
    forward(X) {
        unused = layer_(X)
        return X + tanh(X)
    }
}""",
    "a shared child of a child whose only result is never used": """
gab Root
unit Leaf() {
    shared layer_ = Sequential(Linear(D, D), tanh, Linear(D, D))
    forward(X) {
        unused = layer_(X)
        return X + tanh(X)
    }
}
unit Root() {
    leaf = Leaf()
    forward(X) { return leaf(X) }
}""",
    "a state named like a value outside": """
gab Root
unit Root() {
    forward(X) {
        S = X * 2.0
        y = scan(X) {
            state S: [B, D] = 0.0
            S = 0.5 * S + X
            return S
        }
        return y + S
    }
}""",
}
"""Programs on which the compiler once went wrong."""


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    assert not examine(program_of(FOUND[name]), 3)


LEADING = (
    "x + x[..., 0, None]",
    "x * x[..., -1:]",
    "x + mean(x, axis=-1, keep=true)",
    "concat([x[..., D / 2:], x[..., :D / 2]], axis=-1)",
    "stack([x, -x], axis=-1)[..., 1]",
    "rms_norm(x) + softmax(x)",
    "x + sum(x[..., None] * x[..., None], axis=-1)",
)


@pytest.mark.parametrize("expression", LEADING)
def test_leading_axes_are_all_that_the_caller_has(expression: str) -> None:
    """`[..., D]` at a call with [B, L, D] means what [B, L, D] means."""
    results = []
    for type_ in ("[..., D]", "[B, L, D]"):
        text = f"""
gab Root
unit Leaf() {{
    forward(x: {type_}) {{ return {expression} }}
}}
unit Root() {{
    leaf = Leaf()
    forward(X) {{ return leaf(X) }}
}}"""
        stack = stack_of(program_of(text))
        assert not isinstance(stack, list), stack
        model = built(stack)
        state = drawn_state(model, seed=0)
        tokens = tokens_of(5, VOCAB)
        assert not differences(
            run_reference(stack, state, tokens), run_compiled(model, state, tokens)
        )
        results.append(run_reference(stack, state, tokens))
    leading, spelled_out = results
    assert not differences(spelled_out, leading)


ACAUSAL: dict[str, str] = {
    "softmax": "softmax(x, axis=1)",
    "sum": "x + sum(x, axis=1, keep=true)",
    "cumsum": "cumsum(x, axis=1)",
    "position": "x + x[:, 0]",
    "slice": "x + x[:, :1]",
    "split": "concat([split(x, parts=2, axis=1)], axis=1)",
}


@pytest.mark.parametrize("name", ACAUSAL)
def test_an_axis_counted_from_the_front_of_unknown_axes_is_refused(name: str) -> None:
    """In `[..., D]` axis 1 is time at one call and another axis at the next."""
    text = f"""
gab Root
unit Leaf() {{
    forward(x: [..., D]) {{ return {ACAUSAL[name]} }}
}}
unit Root() {{
    leaf = Leaf()
    forward(X) {{ return leaf(X) }}
}}"""
    assert isinstance(stack_of(program_of(text)), list)
