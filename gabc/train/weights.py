"""Weights on disk and their hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from gabc.train.errors import CheckpointError


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tensors_sha256(module: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of all that `module` would save, by name."""
    digest = hashlib.sha256()
    state = module.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a safetensors file; tensors that share storage are written once."""
    save_model(module, str(path))


def load_weights(module: nn.Module, path: Path) -> None:
    """Copy the tensors of a file that `save_weights` wrote into `module`, all of them and no other.

    Raises:
        CheckpointError: the file is damaged, or is of a model with other tensors.
    """
    try:
        load_model(module, str(path), strict=True)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Restore the file, or train again."
        ) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path} holds other tensors than the model built from its design: {reason[:300]}"
        ) from error


def count_parameters(module: nn.Module) -> int:
    """Trained numbers, shared tensors counted once."""
    return sum(parameter.numel() for parameter in module.parameters())
