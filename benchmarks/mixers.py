"""Mixers of the library against the same ones in transformers' plain PyTorch, on this CPU.

Same weights and sizes, one thread, forward and backward; outputs and all gradients are compared
before anything is timed. Prints a Markdown table: processor time and peak memory of both, the ratio
(above 1: gabc is faster), and how time grows from the first length to the last. Run from the
project's root: `OMP_NUM_THREADS=1 python benchmarks/mixers.py [WORD of a case ...]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
from measure import interleaved, machine, prepare
from mixer_cases import CASES, QUADRATIC, WIDTH
from parity.recurrent_weights import disagreement
from torch import Tensor

LENGTHS = (512, 2048)
ROUNDS = {512: 21, 2048: 9}
BOUND = 1e-3
"""Largest relative difference of an output or gradient at 512 positions in float32."""


def step(mixer: Callable[[Tensor], Tensor], x: Tensor) -> None:
    mixer(x.requires_grad_()).sum().backward()


def main() -> None:
    prepare()
    print(f"{machine()}, width {WIDTH}, batch 1\n")
    print(
        "| mixer | L | gabc, ms | transformers, ms | ratio | gabc, MiB | transformers, MiB "
        "| growth of gabc | of transformers |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, make in CASES.items():
        if not all(word in name for word in sys.argv[1:]):
            continue
        sides = make()
        x = torch.randn(1, LENGTHS[0], WIDTH, generator=torch.Generator().manual_seed(0))
        parameters = dict(sides.theirs.named_parameters())
        errors = disagreement(sides.ours, sides.run, parameters, sides.copies, x)
        worst = max(errors, key=errors.__getitem__)
        if errors[worst] > BOUND:
            sys.exit(f"{name}: `{worst}` differs by {errors[worst]:.1e}; nothing was timed")
        before: list[float] = []
        for length in LENGTHS:
            x = torch.randn(1, length, WIDTH)
            steps = [partial(step, mixer, x) for mixer in (sides.ours, sides.run)]
            costs = interleaved(steps, ROUNDS[length])
            ours, theirs = times = [cost.seconds for cost in costs]
            memory = " | ".join(f"{cost.mebibytes:.0f}" for cost in costs)
            growth = [f"{now / then:.1f}" for now, then in zip(times, before, strict=False)]
            print(
                f"| {name} | {length} | {ours * 1e3:.1f} | {theirs * 1e3:.1f} "
                f"| {theirs / ours:.2f} | {memory} | {' | '.join(growth or ['', ''])} |",
                flush=True,
            )
            before = times
    factor = LENGTHS[-1] / LENGTHS[0]
    print(f"\nLinear is {factor:.0f} in growth; {', '.join(QUADRATIC)}: up to {factor**2:.0f}.")
    print(machine())


if __name__ == "__main__":
    main()
