"""The generated modules of the seeds, word for word: a change of the generator shows in the diff.

Rewrite them with `pytest tests/test_golden.py --update-golden` and read what changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from designs import example

from gabc.codegen.emit import emit
from gabc.passes import optimise

GOLDEN = Path(__file__).parent / "golden"
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
CASES = [(name, False) for name in (*SEEDS, "deltaproduct")] + [("gpt2", True)]


@pytest.mark.parametrize(("seed", "standalone"), CASES)
def test_generated_module(seed: str, standalone: bool, update_golden: bool) -> None:
    text = emit(optimise(example(seed, "14M")), standalone=standalone).text
    path = GOLDEN / f"{seed}{'_standalone' if standalone else ''}.py"
    if update_golden:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
