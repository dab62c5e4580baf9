"""`python -m tests.generator --programs 20000 [--start 0] [--size 8] [--minutes 10]`.

Examines programs one after another and reports each kind of fault once, on the smallest program
that shows it. Exit status 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import torch

from .examine import LENGTHS, examine
from .program import generate
from .shrink import shrink, signature


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.generator")
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--size", type=int, default=8, help="statements tried in each unit")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    stop = time.monotonic() + 60 * options.minutes
    faults: Counter[str] = Counter()
    done = 0
    for seed in range(options.start, options.start + options.programs):
        if time.monotonic() > stop:
            break
        length = LENGTHS[seed % len(LENGTHS)]
        fault = signature(examine(generate(seed, options.size), length))
        done += 1
        if not fault:
            continue
        faults[fault] += 1
        if faults[fault] == 1:
            program, findings = shrink(seed, options.size, length)
            scale = f"{program.width}x{program.layers}"
            print(f"seed {seed}, length {length}, scale {scale}", *findings, sep="\n    ")
            print(program.text, flush=True)
    print(f"{done} programs, {sum(faults.values())} with faults")
    for fault, count in faults.most_common():
        print(f"{count:6} {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
