"""`attend_edited` in its three forms: the same outputs, and gradients of all that is captured.

No GPU is needed: FlexAttention runs here as torch's dense formulas for its forward and backward
pass, which on a CPU torch only refuses to differentiate, and once as compiled for a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import flex_attention as flex

from gabc.codegen.helpers import pasted
from gabc.runtime.functional import attention_edited
from gabc.runtime.functional.attention_edited import (
    attend_edited,
    attend_explicit,
    attend_flex,
    attend_flex_compiled,
    edited_form,
)
from gabc.runtime.functional.structure import lookup

from .compare import assert_equal_to_the_loop

BATCH, LENGTH, HEADS, GROUPS = 2, 9, 4, 2

Attention = Callable[..., Tensor]
Case = Callable[..., Tensor]
"""The attention of q, k, v, and of slope [H], gate [B, L, H] and sinks [H], in a given form."""


@pytest.fixture
def with_gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlexAttention differentiated on a CPU, by the dense form of its backward pass."""
    torch._dynamo.reset()
    monkeypatch.setattr(flex, "_validate_device", lambda *tensors: None)
    yield
    torch._dynamo.reset()


def leaves(
    width: int = 3, values: int = 5, length: int = LENGTH, seed: int = 0
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "q": (BATCH, length, HEADS, width),
        "k": (BATCH, length, GROUPS, width),
        "v": (BATCH, length, GROUPS, values),
        "slope": (HEADS,),
        "gate": (BATCH, length, HEADS),
        "sinks": (HEADS,),
    }
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def softcap(run: Attention, q: Tensor, k: Tensor, v: Tensor, **_: Tensor) -> Tensor:
    return run(q, k, v, softcap=0.7, scale=0.4)


def alibi(run: Attention, q: Tensor, k: Tensor, v: Tensor, slope: Tensor, **_: Tensor) -> Tensor:
    slope = slope.clone()
    return run(q, k, v, lambda score, b, h, i, j: score - slope[h] * (i - j))


def window(run: Attention, q: Tensor, k: Tensor, v: Tensor, **_: Tensor) -> Tensor:
    return run(q, k, v, window=3)


def a_mask(run: Attention, q: Tensor, k: Tensor, v: Tensor, **_: Tensor) -> Tensor:
    """With rows that keep no key."""
    return run(q, k, v, None, lambda b, h, i, j: ((i - j < 3) | (j < h)) & (i % 4 != b))


def segments_of(q: Tensor) -> Tensor:
    """int [B, L]: documents of 4 positions in one row, of 7 in the other."""
    return torch.arange(q.shape[1]) // torch.tensor([[4], [7]])


def documents(run: Attention, q: Tensor, k: Tensor, v: Tensor, **_: Tensor) -> Tensor:
    return run(q, k, v, softcap=2.0, segments=segments_of(q))


def forgetting(
    run: Attention, q: Tensor, k: Tensor, v: Tensor, gate: Tensor, **_: Tensor
) -> Tensor:
    total = gate.sigmoid().log().cumsum(1)
    c, d = total.clone(), total.clone()
    return run(q, k, v, lambda score, b, h, i, j: score + c[b, i, h] - d[b, j, h])


def with_sinks(
    run: Attention, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, **_: Tensor
) -> Tensor:
    return run(q, k, v, None, lambda b, h, i, j: i % 3 != 2, sinks=sinks, softcap=3.0)


def all_at_once(
    run: Attention, q: Tensor, k: Tensor, v: Tensor, slope: Tensor, gate: Tensor, sinks: Tensor
) -> Tensor:
    """With a score that is dropped, and a bias that has gradients."""
    c, d = gate.clone(), slope.clone()

    def edit(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        score = 2 * score * d[h] + lookup(c, b, j - 1, h // 2)
        return torch.where(score > -1.0, score, -torch.inf)

    def keep(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (i - j) % 2 == h % 2

    bias = gate[:, :1].transpose(1, 2)[..., None]  # [B, H, 1, 1]
    options = {"scale": 0.3, "softcap": 2.0, "window": 7, "segments": segments_of(q)}
    return run(q, k, v, edit, keep, sinks=sinks, bias=bias, **options)


CASES = (softcap, alibi, window, a_mask, documents, forgetting, with_sinks, all_at_once)
ADDS = (alibi, window, a_mask, forgetting)


def assert_same(
    case: Case, one: Attention, other: Attention, x: dict[str, Tensor], tolerance: float = 1e-12
) -> None:
    """Outputs and gradients; what a case leaves alone counts with a factor of zero."""

    def results(run: Attention, **given: Tensor) -> tuple[Tensor]:
        unused = sum((leaf.sum() for leaf in given.values()), torch.zeros(()))
        return (case(run, **given) + 0 * unused,)

    assert_equal_to_the_loop(partial(results, one), partial(results, other), x, tolerance)


@pytest.mark.usefixtures("with_gradients")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("case", CASES)
def test_flex_equals_the_explicit_form(case: Case) -> None:
    """Values wider than keys, two query heads for a key head, in float64."""
    assert_same(case, attend_flex, attend_explicit, leaves())


@pytest.mark.parametrize("case", ADDS)
def test_the_fused_form_equals_the_explicit_one(case: Case) -> None:
    assert_same(case, partial(attend_edited, adds=True), attend_explicit, leaves())


@pytest.mark.slow
@pytest.mark.usefixtures("with_gradients")
@pytest.mark.parametrize(("case", "tolerance"), [(forgetting, 1e-12), (all_at_once, 1e-6)])
@pytest.mark.parametrize("is_whole", [False, True])
def test_compiled_flex_has_all_gradients(
    case: Case, tolerance: float, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also inside a model that is compiled, where torch loses those of what is captured.

    A compiled graph has the log of the denominator, which sinks are put to, in float32.
    """
    compiled = torch.compile(attend_flex, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(attention_edited, "compiled_flex", lambda: compiled)
    model = torch.compile(case, backend="aot_eager") if is_whole else case
    assert_same(
        lambda run, **given: (case if run is attend_explicit else model)(run, **given),
        attend_flex_compiled,
        attend_explicit,
        leaves(),
        tolerance,
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [documents, forgetting])
def test_flex_compiled_for_a_cpu(case: Case) -> None:
    """Float32, without gradients, over more than a block: as exact as the explicit form, or 2x.

    One function serves all blocks of one text.
    """
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for seed in range(2):
        x = leaves(16, 32, 180, seed)
        narrow = {name: leaf.float() for name, leaf in x.items()}
        with torch.no_grad():
            exact = case(attend_explicit, **x)
            error = case(attend_flex_compiled, **narrow) - exact
            plain = case(attend_explicit, **narrow) - exact
        assert error.square().mean() <= 4 * plain.square().mean()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


# ------------------------------------------------------------------------------- which form


def form(
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
    width: int = 64,
    values: int = 64,
    adds: bool = False,
    mixes: bool = False,
) -> str:
    with FakeTensorMode():
        q = torch.empty(BATCH, LENGTH, HEADS, width, device=device, dtype=dtype)
        v = torch.empty(BATCH, LENGTH, GROUPS, values, device=device, dtype=dtype)
        return edited_form(q, v, adds, mixes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_flex_on_a_gpu(dtype: torch.dtype) -> None:
    assert form(dtype=dtype) == form(dtype=dtype, adds=True) == "flex"
    assert form(width=16, values=256) == "flex"


def test_other_forms_where_flex_has_no_kernel() -> None:
    assert form(device="cpu") == form(dtype=torch.float64) == form(mixes=True) == "explicit"
    assert form(width=8) == form(values=8) == form(width=257) == form(values=512) == "explicit"
    assert form(device="cpu", adds=True) == form(mixes=True, adds=True) == "fused"


def test_no_flex_where_determinism_is_asked_for() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert (form(), form(adds=True)) == ("explicit", "fused")
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("options", "called"),
    [({"softcap": 2.0}, "attend_explicit"), ({"window": 3}, "attend"), ({}, "attend")],
)
def test_the_form_is_what_runs(
    options: dict[str, float], called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("attend", "attend_explicit", "attend_flex_compiled"):
        monkeypatch.setattr(
            attention_edited, name, lambda *_, name=name, **options: calls.append(name)
        )
    x = leaves()
    attend_edited(x["q"], x["k"], x["v"], **options)  # type: ignore[arg-type]
    monkeypatch.setattr(attention_edited, "edited_form", lambda *_: "flex")
    attend_edited(x["q"], x["k"], x["v"], **options)  # type: ignore[arg-type]
    assert calls == [called, "attend_flex_compiled"]


def test_pasted_text_stands_alone() -> None:
    imports, texts = pasted(["attend_edited"])
    assert not any("gabc" in line for line in imports)
    scope: dict[str, object] = {}
    text = "\n\n".join(["from __future__ import annotations", *imports, *texts])
    exec(compile(text, "pasted", "exec"), scope)
    alone = scope["attend_edited"]
    assert callable(alone)
    for case in (forgetting, all_at_once):
        torch.testing.assert_close(case(alone, **leaves()), case(attend_explicit, **leaves()))
