"""A token stream cut into training sequences without padding, in a shuffled order without end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gabc.data.corpus import Tokens
from gabc.data.errors import DataError


class PackedSequences:
    """Sequences of `context + 1` tokens; neighbours share one, so each token is a target once.

    The order is a fresh permutation for every pass over the text, and depends on `seed` and on the
    number of the pass alone. A tail shorter than a sequence is left out.

    Raises:
        DataError: the stream is shorter than one sequence.
    """

    def __init__(self, tokens: Tokens, context: int, seed: int) -> None:
        self.per_pass = (len(tokens) - 1) // context
        if self.per_pass < 1:
            raise DataError(
                f"The training text has {len(tokens)} tokens, fewer than one sequence of "
                f"{context} + 1. Give more text, or a shorter context."
            )
        self._tokens = tokens
        self._context = context
        self._seed = seed
        self._permutation = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Sequence number `index` [context + 1] of the endless order, `index` from 0 on."""
        this_pass, place = divmod(index, self.per_pass)
        if self._permutation[0] != this_pass:
            generator = np.random.default_rng([self._seed, this_pass])
            self._permutation = (this_pass, generator.permutation(self.per_pass))
        start = int(self._permutation[1][place]) * self._context
        return self._tokens[start : start + self._context + 1].astype(np.int64)
