"""Generated kernels: the Triton form against the plain one, and the operators they become.

The interpreter shows wrong indices, masks and formulas, but no race and nothing of bfloat16; the
compiler shows faults of types, and registers. No speed is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

sys.path.insert(0, str(Path(__file__).parent.parent))

from designs import example  # noqa: E402
from gabc.kernels.generated import operators  # noqa: E402
from gabc.kernels.generated.launch import MAX_COLUMNS, tile_of  # noqa: E402
from gabc.kernels.generated.spec import Fused  # noqa: E402
from gabc.kernels.generated.specimens import specimens  # noqa: E402
from gabc.kernels.specimens import SHARED_MEMORY, faults, resources  # noqa: E402

from gabc.codegen.emit import emit  # noqa: E402
from gabc.passes import optimise  # noqa: E402
from gabc.passes.fusion import fuse  # noqa: E402
from gabc.passes.traffic import MAX_ROW  # noqa: E402
from gabc.runtime.load import load  # noqa: E402

INTERPRETED = ("gpt2", "mamba2", "rwkv6", "retnet", "gla", "ngpt", "hgrn")


@pytest.mark.slow
@pytest.mark.parametrize("names", [*((name,) for name in INTERPRETED), ("3", "8", "27")])
def test_error_is_at_most_twice_that_of_torch_and_runs_repeat(names: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("interpret_generated.py")), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert kernels
    assert all(kernels.values())
    wrong = [
        f"{name}: {difference}"
        for name, differences in kernels.items()
        for difference in differences
        if not difference["is_sound"]
    ]
    assert not wrong, "\n".join(wrong)


def groups_of(name: str) -> list[Fused]:
    """The groups of an example."""
    module = emit(fuse(optimise(example(name))), standalone=False)
    load(module)
    return [fused for fused in operators.DEFINED.values() if f'"{fused.name}"' in module.kernels]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "widths"), [("gpt2", (96, 768)), ("rwkv6", (768,))])
def test_kernels_compile_and_fit(
    name: str, widths: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: this process can interpret kernels, not compile them")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    wrong = [
        f"{specimen.name}, sm_{architecture}: {line}"
        for fused in groups_of(name)
        for specimen in specimens(fused, widths)
        for architecture in SHARED_MEMORY
        for line in faults(specimen, resources(specimen, architecture), architecture)
    ]
    assert not wrong, "\n".join(wrong)


# ------------------------------------------------------------------------------ operators


@pytest.fixture(scope="module")
def gate() -> Fused:
    """`silu(gate) * up` of gpt2."""
    return next(fused for fused in groups_of("gpt2") if fused.name.startswith("gated_mlp"))


def call(fused: Fused, *args: Tensor) -> Tensor:
    result = getattr(getattr(torch.ops, operators.NAMESPACE), fused.name)(*args)
    assert isinstance(result, Tensor)
    return result


def plain(gate: Tensor, up: Tensor) -> Tensor:
    return torch.nn.functional.silu(gate) * up


def test_it_is_a_well_behaved_operator(gate: Fused) -> None:
    operator = getattr(getattr(torch.ops, operators.NAMESPACE), gate.name).default
    for shape in ((2, 3, 8), (0, 4)):
        args = tuple(torch.randn(shape, requires_grad=True) for _ in range(2))
        torch.library.opcheck(operator, args)


def test_gradients_are_those_of_torch(gate: Fused) -> None:
    """Of operands that lie in memory in another order, too."""
    base = torch.randn(4, 6, 2, dtype=torch.float64)
    gates, ups = base[..., 0].t(), base[..., 1].t()
    found, want = [], []
    for function, results in ((lambda *x: call(gate, *x), found), (plain, want)):
        leaves = [x.detach().requires_grad_() for x in (gates, ups)]
        y = function(*leaves)
        results += [y, *torch.autograd.grad((y * y).sum(), leaves)]
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.bfloat16,) * 2])
def test_dtypes_are_those_of_torch_and_rounded_once(
    gate: Fused, dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    operands = [torch.randn(3, 8).to(dtype) for dtype in dtypes]
    found, exact = call(gate, *operands), plain(*(x.double() for x in operands))
    assert found.dtype == plain(*operands).dtype
    torch.testing.assert_close(found, exact.to(found.dtype))


def test_it_compiles_as_one_graph(gate: Fused) -> None:
    def function(a: Tensor, b: Tensor) -> Tensor:
        return call(gate, a + 1.0, b)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (2, 5):
        a, b = (torch.randn(rows, 8, requires_grad=True) for _ in range(2))
        y = compiled(a, b)
        torch.testing.assert_close(y, plain(a + 1.0, b))
        found = torch.autograd.grad(y.sum(), (a, b))
        want = torch.autograd.grad(plain(a + 1.0, b).sum(), (a, b))
        torch.testing.assert_close(found, want)


def test_a_row_too_wide_is_an_error() -> None:
    norm = next(f for f in groups_of("rwkv6") if f.name.startswith("head_layer_norm"))
    with pytest.raises(ValueError, match="stops at 8192 columns, got 8193"):
        tile_of(norm, 8193)


def test_what_is_fused_fits_a_program() -> None:
    """The compiler's limit of a row is the kernels' own, which it does not import."""
    assert MAX_ROW == MAX_COLUMNS
