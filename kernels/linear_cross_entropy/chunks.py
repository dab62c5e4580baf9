"""How the rows are divided, by the shape alone, so that sums have one order on every device."""

from __future__ import annotations

from collections.abc import Iterator

LOGITS_BYTES = 2**28
"""What the logits of a chunk may take. The weight gradient is read and written once a chunk, in
float32, so that a chunk should have many times the roughly 800 rows at which an H100 takes as long
for that as for the product."""

FEWEST_ROWS, MULTIPLE = 1024, 128


def chunk_size(rows: int, vocabulary: int, itemsize: int) -> int:
    """Rows of a chunk: chunks of one size, a multiple of 128, but for the last."""
    most = max(FEWEST_ROWS, LOGITS_BYTES // (vocabulary * itemsize))
    chunks = -(-rows // most)
    return max(1, -(-rows // (max(1, chunks) * MULTIPLE)) * MULTIPLE)


def chunks(rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows, in order."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
