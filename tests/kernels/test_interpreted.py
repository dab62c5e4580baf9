"""Every Triton kernel against its reference, in Triton's interpreter: values and gradients.

The interpreter runs one program after another on numpy, so it shows wrong indices, masks and
formulas but no race; it is wrong for bfloat16, which is only compiled. No speed is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gabc.kernels.dispatch import kernels

pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", kernels())
def test_error_is_at_most_twice_that_of_torch_and_runs_repeat(kernel: str) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("interpret.py")), kernel],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)
    assert cases
    assert all(cases.values())
    wrong = [
        f"{name}: {difference}"
        for name, differences in cases.items()
        for difference in differences
        if not difference["is_sound"]
    ]
    assert not wrong, "\n".join(wrong)
