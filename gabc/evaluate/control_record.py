"""Controls, scored once for each version of the evaluator and stored beside the tasks.

A positive control, which must pass the gates, and negative ones, which must be refused or stay at
chance. An evaluator that stores a score for a model that knows nothing would store any score.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from torch import nn

from gabc.data.corpus import Corpus
from gabc.data.ngram import NgramModel, ngram_baseline
from gabc.data.tokenizer import Tokenizer
from gabc.evaluate.controls import nan_model, ngram_lm, uniform_model
from gabc.evaluate.errors import GateError
from gabc.evaluate.gates import check_scores
from gabc.evaluate.harness import run_tasks
from gabc.evaluate.heldout import score_heldout
from gabc.evaluate.lm import module_lm
from gabc.evaluate.result import EVALUATOR_VERSION, HeldOutScore, ResultKey, RunResult, TaskScore

CONTROLS = "controls.json"
# An n-gram model knows no grammar: published trigrams are within 4 points of chance on BLiMP.
_NGRAM_CEILING = 0.6
_NGRAM_ORDER = 3


@dataclass(frozen=True, slots=True)
class ControlTask:
    """Shares of pairs in [0, 1], and the number of pairs that are not finite."""

    label: str
    acc_strict: float
    acc: float
    tie_rate: float
    non_finite: int


@dataclass(frozen=True, slots=True)
class Control:
    """Figures; `loss` is None where not finite, `refusal` is empty where no gate failed."""

    name: str
    loss: float | None
    tasks: tuple[ControlTask, ...]
    refusal: str


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """All controls under the conditions of the positive one, whose key is `key`."""

    evaluator_version: str
    key: dict[str, Any]
    positive: Control
    negative: tuple[Control, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def run_controls(
    positive: RunResult,
    untrained: nn.Module,
    tokenizer: Tokenizer,
    corpus: Corpus,
    *,
    tasks: Sequence[str] = (),
    data_dir: Path | None = None,
    limit: int | None = None,
) -> ControlRecord:
    """Score the negative controls as `positive`, which passed the gates, was scored.

    They are a uniform model, one whose every logit is NaN, `untrained` and a trigram model.

    Raises:
        GateError: the evaluator would store a score of a model that knows nothing, or finds
            grammar in a trigram model.
        DataError: the data of a task is missing.
    """
    key, width = positive.key, tokenizer.vocab_size
    modules = {"uniform": uniform_model(width), "NaN": nan_model(width), "random init": untrained}
    controls = []
    for name, module in modules.items():
        heldout = score_heldout(module, corpus.heldout, key.context, width)
        scores = run_tasks(module_lm(module, tokenizer), tasks, data_dir, limit)
        controls.append(_control(name, heldout, scores, _refusal(key, width, heldout, scores)))
    heldout = _ngram_heldout(corpus)
    model = NgramModel(corpus.train, _NGRAM_ORDER, corpus.vocab_size)
    scores = run_tasks(ngram_lm(model, tokenizer), tasks, data_dir, limit)
    controls.append(_control("trigram", heldout, scores, _refusal(key, width, heldout, scores)))
    _require_sound(controls)
    return ControlRecord(
        evaluator_version=EVALUATOR_VERSION,
        key=asdict(key),
        positive=_control(f"{key.design} {key.scale}", positive.heldout, positive.tasks, ""),
        negative=tuple(controls),
    )


def check_controls() -> None:
    """Gate 6: the controls have been run for this version of the evaluator.

    Raises:
        GateError: those stored are of another version, or there are none.
    """
    stored = files("gabc.evaluate") / "tasks" / CONTROLS
    version = None
    if stored.is_file():
        version = cast(dict[str, Any], json.loads(stored.read_text("utf-8")))["evaluator_version"]
    if version != EVALUATOR_VERSION:
        raise GateError(
            f"Gate 6: this is version {EVALUATOR_VERSION} of the evaluator, and the controls "
            f"stored with it are of {'none' if version is None else f'version {version}'}. Run "
            f"them with `gabc eval RUN --controls FILE` and store FILE as its tasks/{CONTROLS}."
        )


def _refusal(key: ResultKey, width: int, heldout: HeldOutScore, scores: Sequence[TaskScore]) -> str:
    try:
        check_scores(key, width, heldout, (), scores, recorded_hash="", scored_hash="")
    except GateError as error:
        return str(error)
    return ""


def _control(
    name: str, heldout: HeldOutScore, scores: Sequence[TaskScore], refusal: str
) -> Control:
    tasks = (ControlTask(t.label, t.acc_strict, t.acc, t.tie_rate, t.non_finite) for t in scores)
    loss = heldout.loss if math.isfinite(heldout.loss) else None
    return Control(name, loss, tuple(tasks), refusal)


def _ngram_heldout(corpus: Corpus) -> HeldOutScore:
    baseline = ngram_baseline(corpus, _NGRAM_ORDER)
    text = corpus.heldout
    return HeldOutScore(
        name=text.name,
        sha256=text.sha256,
        tokens=len(text.tokens) - 1,
        bytes=text.bytes,
        loss=baseline.loss,
        bits_per_byte=baseline.bits_per_byte,
        non_finite=0,
    )


def _require_sound(controls: Sequence[Control]) -> None:
    *ignorant, ngram = controls
    failures = [
        f"Gate 6: the negative control `{control.name}` passed every gate."
        for control in ignorant
        if not control.refusal
    ]
    failures += [
        f"Gate 6: the trigram control has {task.acc_strict:.1%} on {task.label}, above "
        f"{_NGRAM_CEILING:.0%}."
        for task in ngram.tasks
        if task.acc_strict > _NGRAM_CEILING
    ]
    if failures:
        raise GateError("The evaluator is not sound. " + " ".join(failures))
