"""How much text is read where nothing else is asked for, in characters."""

from __future__ import annotations

DEFAULT_TRAIN_LIMIT = 4 << 20
DEFAULT_HELDOUT_LIMIT = 512 << 10
