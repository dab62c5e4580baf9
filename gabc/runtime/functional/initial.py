"""Random initial values, reproducible parameter by parameter.

Each draw comes from a generator of its own, seeded by the seed and the parameter's full name. So
the values of one parameter do not depend on what else a design contains, nor on the device.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import cast

import torch
from torch import Tensor


class Init:
    """The source of a unit's initial values: a seed and the unit's place in the tree.

    `name` below is the parameter's name in the unit, `shape` its shape. Values are float32, on the
    CPU. Drawing again under the same name continues with fresh values.
    """

    def __init__(self, seed: int, path: str = "") -> None:
        self.seed = seed
        self.path = path
        self._draws: Counter[str] = Counter()

    def child(self, name: str) -> Init:
        """The source for the child unit `name` (`attn`, or `experts.2`)."""
        return Init(self.seed, self._full(name))

    def generator(self, name: str) -> torch.Generator:
        """The generator of the next draw for the parameter `name`."""
        draw = self._draws[name]
        self._draws[name] += 1
        key = f"{self.seed}\0{self._full(name)}\0{draw}"
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        # manual_seed takes what fits a signed 64-bit int.
        return torch.Generator().manual_seed(number >> 1)

    def normal(
        self, name: str, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0
    ) -> Tensor:
        """The normal distribution N(mean, std^2)."""
        values = torch.empty(shape, dtype=torch.float32)
        return values.normal_(mean, std, generator=self.generator(name))

    def uniform(
        self, name: str, shape: tuple[int, ...], lo: float = 0.0, hi: float = 1.0
    ) -> Tensor:
        """The uniform distribution on [lo, hi)."""
        values = torch.empty(shape, dtype=torch.float32)
        return values.uniform_(lo, hi, generator=self.generator(name))

    def kaiming(self, name: str, shape: tuple[int, ...], fan_in: int | None = None) -> Tensor:
        """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of `torch.nn.Linear`.

        `fan_in` is the size of the last axis unless given. He et al. 2015, arXiv 1502.01852, with
        the negative slope sqrt(5) that PyTorch chose.
        """
        bound = 1.0 / math.sqrt(shape[-1] if fan_in is None else fan_in)
        return self.uniform(name, shape, -bound, bound)

    def xavier(self, name: str, shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
        """U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)), of the last two axes (out, in).

        Glorot and Bengio 2010, equation (16).
        """
        bound = gain * math.sqrt(6.0 / (shape[-1] + shape[-2]))
        return self.uniform(name, shape, -bound, bound)

    def trunc_normal(
        self, name: str, shape: tuple[int, ...], std: float, cut: float = 2.0
    ) -> Tensor:
        """N(0, std^2) on condition that |value| <= cut * std, by inversion of the distribution."""
        tail = 0.5 * (1.0 + math.erf(-cut / math.sqrt(2.0)))
        p = torch.rand(shape, generator=self.generator(name), dtype=torch.float64)
        values = torch.special.ndtri(tail + (1.0 - 2.0 * tail) * p) * std
        return cast(Tensor, values.clamp(-cut * std, cut * std).float())

    def orthogonal(self, name: str, shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
        """Matrices of the last two axes with orthonormal rows or columns, whichever are fewer.

        Haar-distributed: Mezzadri 2007, arXiv math-ph/0609050, section 5; for networks Saxe et al.
        2013, arXiv 1312.6120.
        """
        *batch, rows, columns = shape
        tall = (*batch, max(rows, columns), min(rows, columns))
        normal = torch.randn(tall, generator=self.generator(name), dtype=torch.float64)
        q, r = torch.linalg.qr(normal)
        # The signs of R's diagonal are the factorisation's choice; fixing them makes Q uniform.
        q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
        if rows < columns:
            q = q.transpose(-2, -1)
        return cast(Tensor, (gain * q).float())

    def _full(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
