"""What keeps a score from being stored."""

from __future__ import annotations


class GateError(Exception):
    """A score was computed and cannot be trusted; the message lists every gate that failed."""
