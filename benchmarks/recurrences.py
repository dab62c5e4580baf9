"""The chunk-parallel form of linear attention against the loop over time, in one run on this CPU.

Prints a Markdown table of seconds for forward and backward, and the ratio. Run from the project's
root: `OMP_NUM_THREADS=1 python benchmarks/recurrences.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.runtime.model import build
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).parent.parent / "examples"
SEEDS = ("mamba2", "retnet", "rwkv6")
LENGTHS = (128, 512, 2048)
SCALE = "128x1"
VOCAB = 64
RUNS = 3


def step_time(model: nn.Module, tokens: torch.Tensor) -> float:
    """The best of `RUNS` forward and backward passes, in seconds."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        model(tokens).logsumexp(-1).mean().backward()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {threads} thread(s), scale {SCALE}, batch 1\n")
    print("| design | L | loop, s | parallel, s | loop / parallel |")
    print("|---|---|---|---|---|")
    for seed in SEEDS:
        path = EXAMPLES / f"{seed}.gab"
        source = Source(str(path), path.read_text(encoding="utf-8"))
        stack = check(source, scales=[parse_scale(SCALE)]).stacks[SCALE]
        loop = build(stack, vocab_size=VOCAB, optimised=False)
        parallel = build(stack, vocab_size=VOCAB)
        for length in LENGTHS:
            tokens = torch.randint(0, VOCAB, (1, length))
            slow, fast = step_time(loop, tokens), step_time(parallel, tokens)
            print(f"| {seed} | {length} | {slow:.3f} | {fast:.3f} | {slow / fast:.1f} |")


if __name__ == "__main__":
    main()
