"""How long a chunk is: part of the meaning of the stored states, so both implementations ask."""

from __future__ import annotations


def chunk_steps(keys: int) -> int:
    """Steps of a chunk for states of `keys` rows, 16 or 32.

    With many more updates than keys the errors of a chunk's system exceed those of a loop.
    """
    return 16 if keys <= 8 else 32


def chunk_count(length: int, keys: int) -> int:
    """Chunks of a sequence; the last one may be short."""
    return -(-length // chunk_steps(keys))
