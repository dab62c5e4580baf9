"""How the time of `check`, all proofs included, grows with the number of units in a block.

Prints a Markdown table of processor time. Run from the project's root:
`python benchmarks/check_scaling.py`.
"""

from __future__ import annotations

import time

from gabc.check.report import check
from gabc.syntax.source import Source

COUNTS = (10, 100, 1000)
RUNS = 3


def design(units: int) -> str:
    """A block of `units` units one after another: attention, MLP and norm by turns."""
    names = ("GatedMLP", "RMSNorm", "ShortConv")
    members = [f"    u{i} = {names[i % 3]}()" for i in range(units)]
    calls = [f"        X = X + u{i}(X)" for i in range(units)]
    return "\n".join(
        [
            "gab Wide",
            "from std.conv import ShortConv",
            "from std.mlp import GatedMLP",
            "from std.norm import RMSNorm",
            "unit Wide() {",
            *members,
            "    forward(X) {",
            *calls,
            "        return X",
            "    }",
            "}",
        ]
    )


def main() -> None:
    print("| units | best of 3, ms | ms per unit |")
    print("|---|---|---|")
    for count in COUNTS:
        source = Source("wide.gab", design(count))
        times = []
        for _ in range(RUNS):
            start = time.process_time()
            report = check(source)
            times.append(time.process_time() - start)
            assert report.ok, report.diagnostics[:3]
        best = min(times) * 1e3
        print(f"| {count} | {best:.1f} | {best / count:.2f} |")


if __name__ == "__main__":
    main()
