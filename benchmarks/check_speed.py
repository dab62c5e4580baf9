"""How long `gabc check` takes: cold (a new process) and once loaded, per seed design.

Prints a Markdown table. Run from the project's root: `python benchmarks/check_speed.py`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from gabc.check.report import check
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).parent.parent / "examples"
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
COLD_RUNS = 5
WARM_RUNS = 20


def cold(path: Path) -> list[float]:
    """Seconds of a whole `gabc check`, start of Python included, its modules compiled before."""
    command = [sys.executable, "-m", "gabc", "check", str(path)]
    # An installed package has its bytecode; where none may be written, each start compiles anew.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=env)
    times = []
    for _ in range(COLD_RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=env)
        times.append(time.perf_counter() - start)
    return times


def warm(path: Path) -> list[float]:
    """Seconds of processor time of `check` in a process that has done it before."""
    source = Source(str(path), path.read_text(encoding="utf-8"))
    check(source, folder=path.parent)
    times = []
    for _ in range(WARM_RUNS):
        start = time.process_time()
        check(source, folder=path.parent)
        times.append(time.process_time() - start)
    return times


def main() -> None:
    print("| design | cold, s (median of 5) | loaded, ms (median of 20) | loaded, ms (min) |")
    print("|---|---|---|---|")
    for seed in SEEDS:
        path = EXAMPLES / f"{seed}.gab"
        cold_times, warm_times = cold(path), warm(path)
        print(
            f"| {seed} | {statistics.median(cold_times):.2f} "
            f"| {statistics.median(warm_times) * 1e3:.1f} | {min(warm_times) * 1e3:.1f} |"
        )


if __name__ == "__main__":
    main()
