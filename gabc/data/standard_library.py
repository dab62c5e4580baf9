"""Source text of the running Python's standard library: a corpus that every machine has."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

from gabc.data.documents import Document, SourceFile
from gabc.data.errors import DataError

# Tests, tables and text that Python itself generates teach a language model little.
_SKIPPED_FOLDERS = frozenset(
    (
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idle_test",
        "encodings",
        "pydoc_data",
        "lib2to3",
        "turtledemo",
        "ensurepip",
        "__phello__",
        "__pycache__",
    )
)
_LARGEST = 200_000
_SMALLEST = 200


def standard_library_documents() -> tuple[list[Document], list[SourceFile]]:
    """Each module of the standard library as one document, in order of path.

    Raises:
        DataError: this Python has no readable sources of its library (a zipped or stripped one).
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    documents: list[Document] = []
    sources: list[SourceFile] = []
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        if _SKIPPED_FOLDERS.intersection(relative.parts):
            continue
        content = file.read_bytes()
        if not _SMALLEST <= len(content) <= _LARGEST:
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            continue  # Python allows other declared encodings; such a module is not worth a decoder
        documents.append(Document(relative.as_posix(), text))
        digest = hashlib.sha256(content).hexdigest()
        sources.append(SourceFile(relative.as_posix(), len(content), digest))
    if not documents:
        raise DataError(
            f"This Python has no source files of its standard library under {root}. "
            "Name some text with --data."
        )
    return documents, sources
