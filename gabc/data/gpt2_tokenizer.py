"""GPT-2's byte-level BPE (Radford et al. 2019), from its two files on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import ByteLevelBPETokenizer

from gabc.data.errors import DataError
from gabc.data.vocabulary import padded

_MARK = "<|endoftext|>"
_FILES = ("encoder.json", "vocab.bpe")


class Gpt2Tokenizer:
    """50,257 ids, the last of them the document mark, padded to a width of 50,264.

    `<|endoftext|>` written in a text is encoded as the characters it is made of: only the packing
    writes the mark.

    Raises:
        DataError: a file is missing, unreadable, or has no document mark.
    """

    name = "gpt2"

    def __init__(self, folder: Path) -> None:
        paths = [folder / file for file in _FILES]
        for path in paths:
            if not path.is_file():
                raise DataError(f"The gpt2 tokenizer needs {path}, which is not there. Restore it.")
        digest = hashlib.sha256()
        for path in paths:
            digest.update(path.read_bytes())
        self.content_hash = digest.hexdigest()
        try:
            vocabulary: dict[str, int] = json.loads(paths[0].read_text(encoding="utf-8"))
            self._bpe = ByteLevelBPETokenizer(str(paths[0]), str(paths[1]))
        except Exception as error:  # the tokenizers library raises bare Exception on a bad file
            raise DataError(
                f"The gpt2 tokenizer cannot be read from {folder} ({error}). "
                "Restore encoder.json and vocab.bpe."
            ) from error
        if _MARK not in vocabulary:
            raise DataError(f"{paths[0]} has no token {_MARK}. Restore GPT-2's own encoder.json.")
        self._vocabulary = vocabulary
        self.size = len(vocabulary)
        self.vocab_size = padded(self.size)
        self.eos_id = vocabulary[_MARK]

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Byte-level BPE writes a byte as one printable character, so a token has `len` bytes."""
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token, index in self._vocabulary.items():
            lengths[index] = len(token)
        lengths[self.eos_id] = 0
        return lengths

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[NDArray[np.int32]]:
        return [np.asarray(found.ids, dtype=np.int32) for found in self._bpe.encode_batch(texts)]

    def decode(self, ids: Iterable[int]) -> str:
        kept = [i for i in ids if i < self.size and i != self.eos_id]
        text: str = self._bpe.decode(kept)
        return text
