"""The one interface to a tokenizer, and the function that finds one by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gabc.data.errors import DataError

TOKENIZERS = ("byte", "gpt2")


class Tokenizer(Protocol):
    """Text to token ids and back.

    `size` counts the ids that `encode` can give plus the document mark; `vocab_size` is that count
    padded to a multiple of 8, and is the width of a model's output. `eos_id` is the one special
    token: it ends a document and, as first token, stands for the empty context.
    `byte_lengths` [vocab_size] is how many bytes of text an id stands for (0 for the mark and the
    padding), so that bits per byte needs no decoding. `content_hash` changes when any id would.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def content_hash(self) -> str: ...
    @property
    def byte_lengths(self) -> NDArray[np.int64]: ...

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without the document mark."""

    def encode_batch(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """`encode` of each text; the fast way for a corpus."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, the mark and the padding left out; broken UTF-8 becomes U+FFFD."""


def load_tokenizer(name: str, data_dir: Path | None = None) -> Tokenizer:
    """The tokenizer called `name`: `byte`, or `gpt2` from the files in a `gpt2_bpe` folder.

    Raises:
        DataError: the name is unknown, or the files are missing.
    """
    if name == "byte":
        from gabc.data.byte_tokenizer import ByteTokenizer

        return ByteTokenizer()
    if name == "gpt2":
        from gabc.data.gpt2_tokenizer import Gpt2Tokenizer
        from gabc.data.locate import find_folder

        folder = find_folder("gpt2_bpe", data_dir)
        if folder is None:
            raise DataError(
                "The gpt2 tokenizer needs a folder `gpt2_bpe` with encoder.json and vocab.bpe in "
                f"DATA_DIR or beside it ({_where(data_dir)}). Set DATA_DIR to such a place, or use "
                "the tokenizer `byte`, which needs no files."
            )
        return Gpt2Tokenizer(folder)
    raise DataError(f"Unknown tokenizer `{name}`. Use one of: {', '.join(TOKENIZERS)}.")


def _where(data_dir: Path | None) -> str:
    return f"DATA_DIR is {data_dir}" if data_dir is not None else "DATA_DIR is not set"
