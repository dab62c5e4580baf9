"""Which text is held out: by document where there are many, the end of each where they are long."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gabc.data.documents import Document

HELDOUT_FRACTION = 0.1
# A document this long would tilt the split by itself, so its last tenth is held out instead.
_LONG = 256 * 1024
# Fewer documents than this cannot be split by chance with a steady share on either side.
_FEW = 40


@dataclass(frozen=True, slots=True)
class Split:
    """`rule` says in words how the two sides were chosen."""

    train: tuple[Document, ...]
    heldout: tuple[Document, ...]
    rule: str


def split(documents: list[Document], fraction: float = HELDOUT_FRACTION) -> Split:
    """Hold out about `fraction` of the text, the same part on every machine and in every run.

    A document goes to one side by the hash of its text, so equal texts are never on both sides.
    Long documents, and all documents where there are few, give their last part instead.
    """
    short = [d for d in documents if len(d.text) < _LONG]
    by_document = len(short) >= _FEW
    train: list[Document] = []
    heldout: list[Document] = []
    cut = 0
    for document in documents:
        if by_document and len(document.text) < _LONG:
            (heldout if _share(document) < fraction else train).append(document)
        else:
            cut += 1
            at = _cut(document.text, fraction)
            train.append(Document(document.name, document.text[:at]))
            heldout.append(Document(f"{document.name} (end)", document.text[at:]))
    rules = []
    if by_document:
        rules.append(f"{fraction:.0%} of {len(short)} documents by the hash of their text")
    if cut:
        rules.append(f"the last {fraction:.0%} of each of {cut} documents")
    kept = tuple(d for d in train if d.text), tuple(d for d in heldout if d.text)
    return Split(*kept, rule=" and ".join(rules))


def within(documents: tuple[Document, ...], limit: int | None) -> tuple[Document, ...]:
    """Documents of at most `limit` characters in all, chosen by hash and kept in their order.

    The last one chosen is cut at the limit, so that a single long document can be bounded too.
    """
    if limit is None or sum(len(d.text) for d in documents) <= limit:
        return documents
    chosen: dict[int, Document] = {}
    left = limit
    for index in sorted(range(len(documents)), key=lambda i: (_share(documents[i]), i)):
        document = documents[index]
        chosen[index] = Document(document.name, document.text[:left])
        left -= len(chosen[index].text)
        if left == 0:
            break
    return tuple(chosen[index] for index in sorted(chosen))


def _share(document: Document) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(document.text.encode()).digest()[:8], "big") / 2**64


def _cut(text: str, fraction: float) -> int:
    """The first end of a paragraph, else of a line, past the training share of `text`."""
    at = int(len(text) * (1 - fraction))
    for mark in ("\n\n", "\n"):
        found = text.find(mark, at)
        if found != -1 and found + len(mark) < len(text):
            return found + len(mark)
    return at
