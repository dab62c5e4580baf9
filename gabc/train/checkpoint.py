"""Checkpoints as folders: written whole or not at all, and checked file by file when opened."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gabc.train.errors import CheckpointError
from gabc.train.record import CONFIG, CheckpointRecord, read_record, write_record
from gabc.train.weights import file_sha256

WEIGHTS = "model.safetensors"
PROOF = "proof.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files all have the hashes that its record states."""

    folder: Path
    record: CheckpointRecord

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def weights_sha256(self) -> str:
        return dict(self.record.files)[WEIGHTS]

    def proof_tokens(self) -> torch.Tensor:
        """The saved training batch, int64 [B, context + 1].

        Raises:
            CheckpointError: the file cannot be read as safetensors.
        """
        try:
            return load_file(self.folder / PROOF)["tokens"].long()
        except (SafetensorError, KeyError) as error:
            raise CheckpointError(f"{self.folder / PROOF} is damaged ({error}).") from error


def save_proof_tokens(tokens: torch.Tensor, folder: Path) -> None:
    """Write the training batch [B, context + 1] that proves the weights."""
    save_file({"tokens": tokens.to(torch.int32)}, folder / PROOF)


def hash_files(folder: Path) -> tuple[tuple[str, str], ...]:
    """(name, sha256) of every file in `folder` but its record, by name."""
    files = sorted(path for path in folder.iterdir() if path.name != CONFIG)
    return tuple((path.name, file_sha256(path)) for path in files)


def publish(staged: Path, record: CheckpointRecord, run_folder: Path, keep: int) -> Path:
    """Complete `staged` with its record, move it to its place in one rename, drop old ones.

    A checkpoint of the same step, left by a run that broke off later, is replaced.
    """
    write_record(record, staged)
    place = run_folder / f"checkpoint-{record.progress.step}"
    if place.exists():
        shutil.rmtree(place)
    os.replace(staged, place)
    for old in _checkpoints(run_folder)[:-keep]:
        shutil.rmtree(old)
    return place


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint folder, or the newest checkpoint of a run's folder, and check every file.

    Raises:
        CheckpointError: there is none, or a file is missing, truncated or changed.
    """
    folder = path
    if not (path / CONFIG).is_file():
        found = _checkpoints(path)
        if not found:
            raise CheckpointError(
                f"There is no checkpoint at {path}. Name a run's folder or a checkpoint-N in it."
            )
        folder = found[-1]
    record = read_record(folder)
    for name, expected in record.files:
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder} is incomplete: {name} is missing. Restore it.")
        if file_sha256(file) != expected:
            raise CheckpointError(
                f"{file} is damaged: its sha256 is not the one in {CONFIG}. Restore it, or use an "
                "earlier checkpoint."
            )
    return Checkpoint(folder, record)


def _checkpoints(run_folder: Path) -> list[Path]:
    """Checkpoints of a run from the oldest to the newest."""
    if not run_folder.is_dir():
        return []
    numbered = [(_NAME.fullmatch(path.name), path) for path in run_folder.iterdir()]
    return [path for _, path in sorted((int(m[1]), path) for m, path in numbered if m)]
