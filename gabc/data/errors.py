"""What goes wrong with data, as one exception type."""

from __future__ import annotations


class DataError(Exception):
    """Text, a tokenizer or an evaluation set is missing, empty or unreadable.

    The message is one sentence or two that name the place, the reason and the repair.
    """
