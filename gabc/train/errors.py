"""What goes wrong in training and with its checkpoints."""

from __future__ import annotations


class TrainingError(Exception):
    """A setting cannot be used, or the loss stopped being a number; the message says which."""


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, edited, or of another design; the message says which."""
