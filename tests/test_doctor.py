"""`gabc doctor`: what it says where there is no GPU, and where a kernel is wrong on it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from gabc.kernels.cases import Case, Difference
from gabc.kernels.dispatch import kernels

from gabc.cli.main import main
from gabc.runtime import doctor

GPU = doctor.Gpu("NVIDIA H200", "sm_90", 150 * 2**30, "13.0")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["doctor", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys)
    assert status == 0
    assert f"torch {torch.__version__}" in out
    assert "no Triton kernel was run" in out
    for kernel in kernels():
        assert f"{kernel} " in out
    status, out, _ = run(capsys, "--json", "--kernel", "rms_norm")
    document = json.loads(out)
    assert status == 0
    assert document["ok"]
    assert document["gpu"] is None
    assert [kernel["uses"] for kernel in document["kernels"]] == ["reference"]


def test_an_unknown_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "--kernel", "nope")
    assert status == 2
    assert "no kernel `nope`; there are " in err


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, of which bfloat16 is off and float16 raises."""

    def found(
        kernel: str, case: Case, dtype: torch.dtype, device: torch.device
    ) -> Iterator[Difference]:
        assert device.type == "cuda"
        if dtype == torch.float16:
            raise RuntimeError("out of resource: shared memory")
        yield Difference("y", 1e-7, 1e-7, True, True)
        yield Difference("dx", 3e-2 if dtype == torch.bfloat16 else 1e-7, 1e-2, True, True)

    monkeypatch.setattr(doctor, "_gpu", lambda: GPU)
    monkeypatch.setattr(doctor, "differences", found)


@pytest.mark.usefixtures("on_a_gpu")
def test_a_wrong_kernel_is_named_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--kernel", "rms_norm")
    assert status == 1
    assert "NVIDIA H200, sm_90, 150 GiB, CUDA 13.0" in out
    assert "bfloat16: dx: error 3.0e-02, plain torch has 1.0e-02" in out
    assert "float16: RuntimeError: out of resource: shared memory" in out
    assert "wrong on this machine, do not train with: rms_norm" in out
    status, out, _ = run(capsys, "--kernel", "rms_norm", "--json")
    (kernel,) = json.loads(out)["kernels"]
    sound = [check for check in kernel["checks"] if check["fault"] is None]
    assert {check["dtype"] for check in sound} == {"float32"}
    assert 3 * len(sound) == len(kernel["checks"])
