"""Generated modules in torch's machinery: compiled whole, checkpointed, autocast, distributed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from gabc.api import compile as compile_design
from gabc.runtime.model import build
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
VOCAB = 50

# Attention, element scans (real and complex), outer products with a decay per key, delta rules,
# experts.
DESIGNS = ("gpt2", "mamba", "lru", "rwkv6", "gated_deltanet", "mixtral")


def model_of(design: str) -> nn.Module:
    path = EXAMPLES / f"{design}.gab"
    compiled = compile_design(Source(path.name, path.read_text(encoding="utf-8")), scale="64x1")
    assert compiled.stack is not None
    return build(compiled.stack, vocab_size=VOCAB, seed=0).double()


def tokens_of(batch: int, length: int = 37) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(VOCAB, (batch, length), generator=generator)


def step(model: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    logits = model(tokens)
    logits.square().mean().backward()
    return logits.detach()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: name + text
        )


@pytest.mark.slow
@pytest.mark.parametrize("design", ["gpt2", "mamba", "rwkv6", "kimi_linear"])
def test_compiles_as_one_graph(design: str) -> None:
    model, tokens = model_of(design), tokens_of(2)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    expected, wanted = step(model, tokens), gradients(model)
    model.zero_grad()
    torch.testing.assert_close(step(compiled, tokens), expected, rtol=1e-9, atol=1e-12)
    assert_same(gradients(model), wanted)


@pytest.mark.parametrize("design", DESIGNS)
def test_activation_checkpointing(design: str) -> None:
    model, tokens = model_of(design), tokens_of(2)
    expected, wanted = step(model, tokens), gradients(model)
    model.zero_grad()
    blocks = set(model.blocks)
    apply_activation_checkpointing(model, check_fn=lambda module: module in blocks)
    assert torch.equal(step(model, tokens), expected)
    found = {n.replace("_checkpoint_wrapped_module.", ""): g for n, g in gradients(model).items()}
    assert_same(found, wanted)


@pytest.mark.parametrize("design", [name for name in DESIGNS if name != "mixtral"])
def test_autocast(design: str) -> None:
    """In bfloat16 near float32: a norm of the difference of 5%, rounding being 0.4% a step.

    Not of experts, which rounding may choose anew.
    """
    model, tokens = model_of(design).float(), tokens_of(2)
    expected = step(model, tokens)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(tokens)
    found.float().square().mean().backward()
    assert (found.float() - expected).norm() <= 0.05 * expected.norm()
    assert all(g.isfinite().all() for g in gradients(model).values())


def distributed(rank: int, store: str, sharded: bool, design: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = model_of(design)
    tokens = tokens_of(4).chunk(2)[rank]
    if sharded:
        mesh = init_device_mesh("cpu", (2,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        step(model, tokens)
        found = {
            n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in gradients(model).items()
        }
    else:
        step(DistributedDataParallel(model), tokens)
        found = gradients(model)
    if rank == 0:
        torch.save(found, Path(folder) / "gradients.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("design", ["gpt2", "mamba"])
def test_two_processes_have_the_gradients_of_one(
    design: str, sharded: bool, tmp_path: Path
) -> None:
    model = model_of(design)
    step(model, tokens_of(4))
    mp.spawn(distributed, (str(tmp_path / "store"), sharded, design, str(tmp_path)), nprocs=2)
    assert_same(torch.load(tmp_path / "gradients.pt"), gradients(model))
