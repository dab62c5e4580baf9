"""Recurrences in parallel form: which scans are recognised, and that nothing changes but speed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from generator.blocks import block_nodes, compiled, interpreted, leaves_of
from generator.compare import Run, differences, differentiate
from generator.steps import BROADCASTING, FRAME, HEADS, LOOPS, OTHERS, RECOGNISED, WIDTH
from torch import Tensor

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.passes.recurrences import parallelise
from gabc.runtime.functional.linear_attention import linear_attention
from gabc.syntax.source import Source


def stack_of(body: str) -> Stack:
    scale = parse_scale(f"{WIDTH}x1")
    report = check(Source("step.gab", FRAME.format(body=body)), scales=(scale,))
    assert report.ok, [d.message for d in report.diagnostics]
    return report.stacks[scale.name]


def run(stack: Stack, length: int, *, is_interpreted: bool = False) -> Run:
    """The block's output, and gradients in its input and parameters."""
    way = interpreted if is_interpreted else compiled
    return way(stack, leaves_of(stack, length))


@pytest.mark.parametrize("name", RECOGNISED)
def test_recognised(name: str) -> None:
    parallel = parallelise(stack_of(RECOGNISED[name].body))
    assert not block_nodes(parallel, "scan")
    (node,) = block_nodes(parallel, "linear_attention")
    assert {key: node.args[key] for key in ("decay", "read_before")} == RECOGNISED[name].wanted


@pytest.mark.parametrize("length", [1, 3, 17, 70])
@pytest.mark.parametrize("name", RECOGNISED)
def test_parallel_form_is_the_loop(name: str, length: int) -> None:
    stack = stack_of(RECOGNISED[name].body)
    loop = run(stack, length, is_interpreted=True)
    # Read before the update, the first position sees nothing.
    assert loop.gradients["X"].any() or length == 1
    parallel = parallelise(stack)
    assert not differences(loop, run(parallel, length))
    assert not differences(loop, run(parallel, length, is_interpreted=True))


@pytest.mark.parametrize("name", OTHERS)
def test_others_keep_their_function(name: str) -> None:
    """Those of no parallel form stay loops; `test_recurrences` has the classes of the rest."""
    stack = stack_of(OTHERS[name])
    parallel = parallelise(stack)
    assert len(block_nodes(parallel, "scan")) == (name in LOOPS)
    loop = run(stack, 6, is_interpreted=True)
    assert not differences(loop, run(parallel, 6))
    assert not differences(loop, run(parallel, 6, is_interpreted=True))


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("name", BROADCASTING)
def test_broadcasting_is_kept(name: str, length: int) -> None:
    """Recognised or not, the function stays."""
    stack = stack_of(BROADCASTING[name])
    loop = run(stack, length, is_interpreted=True)
    parallel = parallelise(stack)
    assert not differences(loop, run(parallel, length))
    assert not differences(loop, run(parallel, length, is_interpreted=True))


# ---------------------------------------------------------------- the parallel form by itself


def arguments(length: int, per_key: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(2, length, HEADS, *shape, generator=generator, dtype=torch.float64)

    decay = draw(3) if per_key else draw()
    return {"q": draw(3), "k": draw(3), "v": draw(4), "g": -torch.exp(decay)}


def loop_of(x: Mapping[str, Tensor], per_key: bool, read_before: bool) -> Tensor:
    """The recurrence, one step after another."""
    q, k, v, g = (x[name] for name in "qkvg")
    S = torch.zeros(2, HEADS, 3, 4, dtype=torch.float64)
    outputs = []
    for t in range(q.shape[1]):
        decay = torch.exp(g[:, t])
        decay = decay[..., None] if per_key else decay[..., None, None]
        after = decay * S + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S if read_before else after))
        S = after
    return torch.stack(outputs, 1)


DECAYS = {
    "drawn": None,
    "none at all": 0.0,
    "tiny": -1e-9,
    "steep": -1e5,
    "shut": float("-inf"),
}


@pytest.mark.parametrize("read_before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("per_key", [False, True], ids=["head", "key"])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("length", [1, 15, 16, 17, 64, 65, 130])
def test_extreme_decays(length: int, decay: str, per_key: bool, read_before: bool) -> None:
    x = arguments(length, per_key)
    value = DECAYS[decay]
    if value is not None:
        x["g"] = torch.full_like(x["g"], value)
    _same_as_loop(x, per_key, read_before)


@pytest.mark.parametrize("per_key", [False, True], ids=["head", "key"])
@pytest.mark.parametrize("read_before", [False, True], ids=["after", "before"])
def test_mixed_decays(per_key: bool, read_before: bool) -> None:
    """Gates that shut now and then, beside some that never do: nothing infinite may meet a zero."""
    x = arguments(70, per_key)
    generator = torch.Generator().manual_seed(5)
    values = torch.tensor([0.0, -1e5, float("-inf"), -0.1, -30.0], dtype=torch.float64)
    x["g"] = values[torch.randint(5, x["g"].shape, generator=generator)]
    _same_as_loop(x, per_key, read_before)


def _same_as_loop(x: Mapping[str, Tensor], per_key: bool, read_before: bool) -> None:
    decay = "key" if per_key else "head"

    def parallel(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        q, k, v, g = (leaves[name] for name in "qkvg")
        return {"o": linear_attention(q, k, v, g, decay=decay, read_before=read_before)}

    expected = differentiate(lambda leaves: {"o": loop_of(leaves, per_key, read_before)}, x)
    assert torch.isfinite(expected.outputs["o"]).all()
    assert not differences(expected, differentiate(parallel, x))


def test_units_that_were_one_stay_one() -> None:
    """The pass rewrites each instance once, and leaves a graph without a scan untouched."""
    scale = parse_scale(f"{WIDTH}x3")
    text = FRAME.format(body=RECOGNISED["gla"].body)
    stack = check(Source("step.gab", text), scales=(scale,)).stacks[scale.name]
    parallel = parallelise(stack)
    assert len({id(block) for block in stack.blocks}) == 1
    assert len({id(block) for block in parallel.blocks}) == 1
    again = parallelise(parallel)
    assert again.blocks[0].graph is parallel.blocks[0].graph
