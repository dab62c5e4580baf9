"""Text files to documents: Project Gutenberg's and TinyStories' wrappings are taken off."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gabc.data.errors import DataError

_STORY_MARK = "<|endoftext|>"
_GUTENBERG_START = re.compile(r"^\*\*\* ?START OF TH[^\n]*$", re.MULTILINE)
_GUTENBERG_END = re.compile(r"^\*\*\* ?END OF TH[^\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its name, for example `novels/alice.txt` or `stories.txt#12`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its name, its size in bytes and the sha256 of those bytes."""

    name: str
    size: int
    sha256: str


def read_documents(path: Path) -> tuple[list[Document], list[SourceFile]]:
    """All documents of a `.txt` file, or of every `.txt` file below a folder, in order of name.

    Raises:
        DataError: nothing is there, no file ends in .txt, a file is not UTF-8, or all are empty.
    """
    if not path.exists():
        raise DataError(f"There is no data at {path}. Give a text file or a folder of .txt files.")
    files = [path] if path.is_file() else sorted(path.rglob("*.txt"))
    if not files:
        raise DataError(f"The folder {path} has no .txt file. Put text there, or name another one.")
    root = path.parent
    documents: list[Document] = []
    sources: list[SourceFile] = []
    for file in files:
        name = file.relative_to(root).as_posix()
        content = file.read_bytes()
        sources.append(SourceFile(name, len(content), hashlib.sha256(content).hexdigest()))
        documents.extend(_split(name, _decode(file, content)))
    if not documents:
        raise DataError(f"The text at {path} is empty. Put text there, or name another place.")
    return documents, sources


def _decode(file: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 (byte {error.start}). Convert it, for example with iconv."
        ) from error
    return text.replace("\r\n", "\n")


def _split(name: str, text: str) -> list[Document]:
    if _STORY_MARK in text:
        stories = [story.strip() for story in text.split(_STORY_MARK)]
        return [Document(f"{name}#{i}", story) for i, story in enumerate(stories) if story]
    body = _without_gutenberg_wrapping(text).strip()
    return [Document(name, body)] if body else []


def _without_gutenberg_wrapping(text: str) -> str:
    """The part between Project Gutenberg's START and END lines; any other text unchanged."""
    start, end = _GUTENBERG_START.search(text), _GUTENBERG_END.search(text)
    if start is None or end is None or start.end() > end.start():
        return text
    return text[start.end() : end.start()]
