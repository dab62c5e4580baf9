"""`check` never raises, always ends, and says the same under every hash seed."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from language_fences import read_fences
from mutate import mutated

from gabc.check.report import Report, check
from gabc.diagnostics.render import render_text
from gabc.elaborate.scales import parse_scale
from gabc.ops.verify import verify
from gabc.syntax.source import Source

HERE = Path(__file__).parent
FOLDERS = (HERE.parent / "examples", HERE.parent / "stdlib_gaus")
SCALE = parse_scale("128x3")
QUICK_SECONDS, LONG_SECONDS = 4.0, 45.0


def originals() -> list[str]:
    """Every design, library file and specified program in the repository."""
    texts = [p.read_text(encoding="utf-8") for f in FOLDERS for p in sorted(f.glob("*.gab"))]
    for path in sorted((HERE / "language").glob("*.md")):
        texts += [fence.text for fence in read_fences(path)]
    return texts


def checked(text: str) -> Report:
    """The report of a text; its graphs hold their invariants and its findings can be printed."""
    report = check(Source("fuzz.gab", text), scales=(SCALE,))
    render_text(report.diagnostics, color=False)
    assert report.ok or report.diagnostics
    for stack in report.stacks.values():
        for instance in dict.fromkeys(i for block in stack.blocks for _, i in block.walk()):
            if instance.graph is not None:
                verify(instance.graph, instance)
    return report


def fuzz(seconds: float, seed: int) -> None:
    texts = originals()
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text = mutated(rng.choice(texts), rng)
        start = time.process_time()
        try:
            checked(text)
        except Exception as error:
            raise AssertionError(f"check raised on\n{text}") from error
        assert time.process_time() - start < 3.0, f"check took too long on\n{text}"


def test_check_never_raises() -> None:
    fuzz(QUICK_SECONDS, seed=1)


@pytest.mark.slow
def test_check_never_raises_for_longer() -> None:
    fuzz(LONG_SECONDS, seed=int(os.environ.get("GABC_FUZZ_SEED", "2")))


def findings_digest(count: int) -> str:
    """One hash of what is said of many faulty texts."""
    rng = random.Random(7)
    texts = originals()
    digest = hashlib.sha256()
    for _ in range(count):
        report = checked(mutated(rng.choice(texts), rng))
        digest.update(render_text(report.diagnostics, color=False, limit=100).encode())
    return digest.hexdigest()


def test_findings_do_not_depend_on_the_hash_seed() -> None:
    code = "from test_check_fuzz import findings_digest; print(findings_digest(60))"
    found = set()
    for seed in ("0", "1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=HERE,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout)
    assert len(found) == 1
