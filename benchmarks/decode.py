"""Tokens per second of decoding, against the length of the context.

    python benchmarks/decode.py [--scale 14M] [--lengths 128,1024,4096] [--designs gpt2,ttt]

One row, one thread, float32, on the CPU. For each design: after a prefill of so many tokens, the
median time of a step; and of the compiled module on the whole prefix, which is what a step costs
without a state. Weights are the initial ones: the speed does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gabc.api import compile
from gabc.check.streaming import stack_class
from gabc.graph.instance import Stack
from gabc.passes import optimise
from gabc.runtime.decode import Decoder
from gabc.runtime.model import build
from gabc.syntax.read import read_source

EXAMPLES = Path(__file__).parent.parent / "examples"
DESIGNS = "gpt2,mamba2,retnet,rwkv6,ttt"
LENGTHS = "128,512,1024,2048,4096"
VOCAB = 264
"""The width of the byte tokenizer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="14M")
    parser.add_argument("--lengths", default=LENGTHS)
    parser.add_argument("--designs", default=DESIGNS)
    parser.add_argument("--steps", type=int, default=16, help="timed steps at each length")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lengths = [int(length) for length in options.lengths.split(",")]
    print(f"{options.scale}, one thread, float32, {torch.__version__}")
    print("design   state   context    prefill       step   recompute   ratio   state bytes")
    for name in options.designs.split(","):
        source = read_source(EXAMPLES / f"{name}.gab")
        stack = compile(source, scale=options.scale, vocab_size=VOCAB).stack
        assert stack is not None, name
        measure(name, stack, lengths, options.steps)


def measure(name: str, stack: Stack, lengths: list[int], steps: int) -> None:
    """One line for each length; speeds are tokens per second."""
    module = build(stack, vocab_size=VOCAB).eval().requires_grad_(False)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    decoder = Decoder(optimise(stack), tensors)
    kind = str(stack_class(decoder.plan))
    decoder(torch.zeros(1, 64, dtype=torch.int64), decoder.start(1))  # torch's own first use
    for length in lengths:
        tokens = torch.randint(0, VOCAB, (1, length))
        begun = time.perf_counter()
        _, state = decoder(tokens, decoder.start(1))
        prefill = length / (time.perf_counter() - begun)
        size = state.bytes()
        step = tokens[:, :1]
        decoder(step, state)
        times = []
        for _ in range(steps):
            begun = time.perf_counter()
            _, state = decoder(step, state)
            times.append(time.perf_counter() - begun)
        again = median_time(lambda tokens=tokens: module(tokens), 3)
        seconds = statistics.median(times)
        print(
            f"{name:8} {kind:6} {length:8} {prefill:10.0f} {1 / seconds:10.1f} {1 / again:11.2f} "
            f"{again / seconds:7.1f} {size:13,}",
            flush=True,
        )


@torch.inference_mode()
def median_time(run: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    main()
