"""A corpus: what a model trains on and what it is scored on, as token streams with their hashes."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gabc.data.documents import Document, SourceFile, read_documents
from gabc.data.errors import DataError
from gabc.data.limits import DEFAULT_HELDOUT_LIMIT, DEFAULT_TRAIN_LIMIT
from gabc.data.locate import find_folder
from gabc.data.split import Split, split, within
from gabc.data.standard_library import standard_library_documents
from gabc.data.tokenizer import Tokenizer

Tokens = NDArray[np.uint16] | NDArray[np.int32]

# The folders that make up the training text of a DATA_DIR, where they are there.
_TRAINING_FOLDERS = ("tinystories", "gutenberg", "tinyshakespeare")
_EXTRA_HELDOUT = ("wikitext-2", "valid.txt")


@dataclass(frozen=True, slots=True)
class HeldOutText:
    """Text to be scored; a corpus's own `heldout` is text that no training sequence contains.

    `tokens` [n] begins with the document mark, so every token of the text is a target; `bytes` is
    the length of the text in UTF-8, the denominator of bits per byte.
    """

    name: str
    tokens: Tokens
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Training and held-out text under one tokenizer.

    `train` [n] is mark, document, mark, document, ..., mark. `extra` are further held-out texts of
    other origin, scored beside `heldout` and never trained on. `sha256` fields are over the token
    ids (int32, little endian). `split_rule` says in words what was held out, the limits are those
    given to `load_corpus`.
    """

    name: str
    tokenizer: str
    tokenizer_hash: str
    vocab_size: int
    train: Tokens
    train_bytes: int
    train_sha256: str
    heldout: HeldOutText
    extra: tuple[HeldOutText, ...]
    split_rule: str
    train_limit: int | None
    heldout_limit: int | None
    sources: tuple[SourceFile, ...]


def load_corpus(
    tokenizer: Tokenizer,
    *,
    data: Path | None = None,
    data_dir: Path | None = None,
    train_limit: int | None = DEFAULT_TRAIN_LIMIT,
    heldout_limit: int | None = DEFAULT_HELDOUT_LIMIT,
) -> Corpus:
    """Text from `data` (a file or folder), else `data_dir`, else Python's standard library.

    `train_limit` and `heldout_limit` bound the text in characters (None: no bound); which documents
    are kept within a bound is decided by hash, so it is the same everywhere.

    Raises:
        DataError: the place is missing, empty or unreadable, or has too little text to split.
    """
    extra: tuple[HeldOutText, ...] = ()
    if data is not None:
        name, (documents, sources) = data.name, read_documents(data)
    elif data_dir is not None:
        name, documents, sources = _from_data_dir(data_dir)
        extra = _extra_heldout(data_dir, tokenizer, heldout_limit)
    else:
        name = f"Python {sys.version_info.major}.{sys.version_info.minor} standard library"
        documents, sources = standard_library_documents()
    parts = split(documents)
    parts = Split(
        within(parts.train, train_limit), within(parts.heldout, heldout_limit), parts.rule
    )
    if not parts.train or not parts.heldout:
        raise DataError(
            f"The text of {data or data_dir or name} is too short to hold a tenth of it out. "
            "Give more text."
        )
    train = _encode(parts.train, tokenizer)
    return Corpus(
        name=name,
        tokenizer=tokenizer.name,
        tokenizer_hash=tokenizer.content_hash,
        vocab_size=tokenizer.vocab_size,
        train=train,
        train_bytes=int(tokenizer.byte_lengths[train].sum()),
        train_sha256=tokens_sha256(train),
        heldout=_heldout(f"{name}, held out", parts.heldout, tokenizer),
        extra=extra,
        split_rule=parts.rule,
        train_limit=train_limit,
        heldout_limit=heldout_limit,
        sources=tuple(sources),
    )


def load_text(path: Path, tokenizer: Tokenizer, limit: int | None) -> HeldOutText:
    """The documents at `path` as one text to score, called by the name of the file or folder.

    `limit` bounds it in characters, as it bounds a corpus's held-out text.

    Raises:
        DataError: the place is missing, empty or unreadable.
    """
    documents, _ = read_documents(path)
    return _heldout(path.name, within(tuple(documents), limit), tokenizer)


def tokens_sha256(tokens: Tokens) -> str:
    """sha256 of the ids as little-endian int32, whatever array type holds them."""
    return hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()


def _from_data_dir(data_dir: Path) -> tuple[str, list[Document], list[SourceFile]]:
    documents: list[Document] = []
    sources: list[SourceFile] = []
    found = []
    for folder_name in _TRAINING_FOLDERS:
        folder = find_folder(folder_name, data_dir)
        if folder is not None:
            found.append(folder_name)
            more_documents, more_sources = read_documents(folder)
            documents += more_documents
            sources += more_sources
    if not found:
        raise DataError(
            f"DATA_DIR is {data_dir}, and none of the folders {', '.join(_TRAINING_FOLDERS)} is in "
            "it or beside it. Put one there, name text with --data, or unset DATA_DIR to train on "
            "the source of Python's standard library."
        )
    return " + ".join(found), documents, sources


def _extra_heldout(
    data_dir: Path, tokenizer: Tokenizer, limit: int | None
) -> tuple[HeldOutText, ...]:
    folder_name, file_name = _EXTRA_HELDOUT
    folder = find_folder(folder_name, data_dir)
    if folder is None or not (folder / file_name).is_file():
        return ()
    documents, _ = read_documents(folder / file_name)
    name = f"{folder_name}/{file_name}"
    return (_heldout(name, within(tuple(documents), limit), tokenizer),)


def _heldout(name: str, documents: tuple[Document, ...], tokenizer: Tokenizer) -> HeldOutText:
    tokens = _encode(documents, tokenizer)
    size = int(tokenizer.byte_lengths[tokens].sum())
    return HeldOutText(name, tokens, size, tokens_sha256(tokens))


def _encode(documents: tuple[Document, ...], tokenizer: Tokenizer) -> Tokens:
    """Mark, document, mark, ..., mark, in the smallest integer type that holds the ids."""
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.int32
    mark = np.array([tokenizer.eos_id], dtype=dtype)
    pieces = [mark]
    for ids in tokenizer.encode_batch([d.text for d in documents]):
        pieces += [ids.astype(dtype), mark]
    stream: Tokens = np.concatenate(pieces)
    return stream
