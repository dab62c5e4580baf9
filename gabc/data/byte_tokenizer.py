"""One token per byte of UTF-8: needs no files and has no unknown text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gabc.data.vocabulary import padded

_BYTES = 256


class ByteTokenizer:
    """Ids 0 to 255 are bytes, 256 is the document mark, 257 to 263 are padding of the width."""

    name = "byte"
    size = _BYTES + 1
    vocab_size = padded(_BYTES + 1)
    eos_id = _BYTES
    content_hash = hashlib.sha256(b"byte: 0-255 are bytes, 256 is the document mark").hexdigest()

    @property
    def byte_lengths(self) -> NDArray[np.int64]:
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        lengths[:_BYTES] = 1
        return lengths

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def encode_batch(self, texts: list[str]) -> list[NDArray[np.int32]]:
        return [np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(i for i in ids if i < _BYTES).decode("utf-8", errors="replace")
