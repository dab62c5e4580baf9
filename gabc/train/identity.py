"""What a model is built from: the narrow boundary between the compiler and training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Everything that rebuilding the untrained model needs, and nothing else.

    `files` are the design's sources as (name, text), the design's own file first. `design_hash` is
    the compiler's hash of the design. `seed` is the seed of the initialisation.
    """

    design: str
    design_hash: str
    files: tuple[tuple[str, str], ...]
    scale: str
    vocab_size: int
    seed: int
    compiler_version: str

    @property
    def files_sha256(self) -> str:
        """sha256 over names and texts; two checkpoints of one source agree in it."""
        text = "\0".join(part for file in self.files for part in file)
        return hashlib.sha256(text.encode()).hexdigest()


Build = Callable[[ModelIdentity], nn.Module]
"""Builds the untrained model: `forward(tokens [B, L]) -> logits [B, L, vocab_size]`."""
