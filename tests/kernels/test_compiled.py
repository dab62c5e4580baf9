"""Every kernel compiled for sm_80 and sm_90 without a GPU: it fits, and uses what it used before.

`resources/` beside this file has what each kernel used when it was last looked at, for the
Triton version in it. Rewrite it with `pytest tests/kernels/test_compiled.py --update-golden`.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from gabc.kernels.dispatch import kernels

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.specimens import (  # noqa: E402
    SHARED_MEMORY,
    Resources,
    Specimen,
    faults,
    resources,
)

TABLES = Path(__file__).parent / "resources"


@pytest.fixture(autouse=True)
def compile_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: this process can interpret kernels, not compile them")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", kernels())
def test_kernels_fit_and_use_what_they_used(kernel: str, request: pytest.FixtureRequest) -> None:
    specimens = importlib.import_module(f"gabc.kernels.{kernel}.specimens").specimens()
    built = [
        (specimen, architecture, resources(specimen, architecture))
        for specimen in specimens
        for architecture in SHARED_MEMORY
    ]
    wrong = [
        f"{specimen.name}, sm_{architecture}: {line}"
        for specimen, architecture, used in built
        for line in faults(specimen, used, architecture)
    ]
    assert not wrong, "\n".join(wrong)
    table = {f"{specimen.name}, sm_{number}": used for specimen, number, used in built}
    assert len(table) == len(built), "two specimens have one name"
    path = TABLES / f"{kernel}.json"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(rendered(table), encoding="utf-8")
    stored = path.read_text(encoding="utf-8")
    version = json.loads(stored)["triton"]
    if version != triton.__version__:
        pytest.skip(f"the table was made with Triton {version}; --update-golden makes it anew")
    assert stored == rendered(table)


def rendered(table: dict[str, Resources]) -> str:
    rows = {
        name: {"shared": r.shared, "registers": r.registers, "spilled": r.spilled}
        for name, r in table.items()
    }
    return json.dumps({"triton": triton.__version__, "kernels": rows}, indent=1) + "\n"


def test_faults_are_found() -> None:
    """What forbids a kernel is seen in its IR, also behind a conversion of layout."""
    specimen = Specimen("x", None, {}, {})
    ttgir = """
      %1 = tt.trans %0 {order = array<i32: 1, 0>}
      %2 = ttg.local_alloc %1 : (tensor) -> memdesc
      %4 = ttng.warp_group_dot %2, %3, %acc
      tt.atomic_rmw fadd
    """
    found = faults(specimen, Resources(232_449, 255, 8, ttgir), 90)
    assert [line.split()[0] for line in found] == ["232449", "8", "an", "a"]
    assert not faults(specimen, Resources(232_448, 255, 0, "%1 = ttng.warp_group_dot %2, %3"), 90)
    assert faults(specimen, Resources(166_913, 255, 0, ""), 80)
