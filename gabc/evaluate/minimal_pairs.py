"""Minimal pairs for lm-eval: the functions that `tasks/*.yaml` name.

lm-eval's own accuracy takes the argmax of the two log-probabilities, and the right sentence is
always the first, so a tie and a NaN count as right. Here the right sentence must be strictly more
probable. Both figures are reported.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import datasets  # type: ignore[import-untyped]
import numpy as np

from gabc.data.errors import DataError

_FIELDS = ("sentence_good", "sentence_bad")


def load_pairs(
    folder: str, subtask: str, data_dir: str | None = None, **_: object
) -> dict[str, datasets.Dataset]:
    """The pairs of `data_dir`/`folder`/`subtask`.jsonl as lm-eval's `test` split.

    `data_dir` comes from lm-eval's metadata, else from the environment variable DATA_DIR.

    Raises:
        DataError: no folder is named, or the file is missing, empty, or not of this form.
    """
    root = data_dir or os.environ.get("DATA_DIR")
    if not root:
        raise DataError(
            f"The task needs minimal pairs ({folder}/{subtask}.jsonl). Set DATA_DIR to the folder "
            f"that holds {folder}."
        )
    path = Path(root) / folder / f"{subtask}.jsonl"
    return {"test": datasets.Dataset.from_list(read_pairs(path))}


def read_pairs(path: Path) -> list[dict[str, str]]:
    """The fields `sentence_good` and `sentence_bad` of each line of a JSON-lines file.

    Raises:
        DataError: the file is missing, empty, or a line has no such pair.
    """
    if not path.is_file():
        raise DataError(
            f"The minimal pairs {path} are missing. Set DATA_DIR to a complete copy of the BabyLM "
            "2024 evaluation data."
        )
    if not path.stat().st_size:
        raise DataError(f"The minimal pairs {path} are empty. Restore the file.")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").strip().split("\n"), start=1):
        try:
            entry = json.loads(line)
            pairs.append({field: str(entry[field]) for field in _FIELDS})
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is not a minimal pair ({error!r}). Restore the file."
            ) from error
    return pairs


def sentences(doc: dict[str, str]) -> list[str]:
    """The two choices, the right one first."""
    return [doc["sentence_good"], doc["sentence_bad"]]


def compare(doc: dict[str, str], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of one pair from (log-probability, is greedy) of the right and wrong sentence."""
    good, bad = (log_probability for log_probability, _ in results)
    return {
        "acc_strict": float(good > bad),
        "acc": float(np.argmax([good, bad]) == 0),
        "tie": float(good == bad),
        "non_finite": float(not (math.isfinite(good) and math.isfinite(bad))),
    }
