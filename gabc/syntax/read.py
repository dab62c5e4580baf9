"""Reads a file, with limits."""

from __future__ import annotations

from os import PathLike, fspath

from gabc.diagnostics.model import Diagnostic
from gabc.syntax.limits import MAX_FILE_BYTES
from gabc.syntax.source import Source, Span


class SourceError(Exception):
    """A file that is no text of the language; `diagnostic` says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(f"{diagnostic.span.source.path}: {diagnostic.message}")
        self.diagnostic = diagnostic


def read_source(path: str | PathLike[str]) -> Source:
    """The text of a `.gab` file.

    Raises:
        SourceError: if it is larger than `MAX_FILE_BYTES` (no more than that is read) or not UTF-8.
        OSError: if it cannot be read.
    """
    name = fspath(path)
    with open(name, "rb") as file:
        return source_of(name, file.read(MAX_FILE_BYTES + 1))


def source_of(name: str, data: bytes) -> Source:
    """The text of bytes that came from elsewhere, such as standard input.

    Raises:
        SourceError: if there are more than `MAX_FILE_BYTES` of them, or they are not UTF-8.
    """
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(too_large(Source(name, "")))
    try:
        return Source(name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SourceError(_not_utf8(name, data, error)) from None


def too_large(source: Source) -> Diagnostic:
    """The finding for a text larger than `MAX_FILE_BYTES`."""
    return Diagnostic(
        "GAB0701",
        f"a file has at most {MAX_FILE_BYTES} bytes",
        Span(source, 0, 0),
        label="larger than that",
        help="split it and import the parts",
        facts=(("limit", str(MAX_FILE_BYTES)),),
    )


def _not_utf8(name: str, data: bytes, error: UnicodeDecodeError) -> Diagnostic:
    """Points at the first wrong byte, in the text as it can be shown."""
    source = Source(name, data.decode("utf-8", errors="replace"))
    offset = len(data[: error.start].decode("utf-8"))
    return Diagnostic(
        "GAB0003",
        f"the file is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
        Span(source, offset, offset + 1),
        label="not text",
        help="save the file as UTF-8",
        facts=(("byte_offset", str(error.start)),),
    )
