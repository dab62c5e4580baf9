"""Score a trained checkpoint, after proof that it is the trained checkpoint that is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from gabc.data.corpus import Corpus
from gabc.data.errors import DataError
from gabc.data.tokenizer import Tokenizer
from gabc.evaluate.control_record import check_controls
from gabc.evaluate.gates import check_proof, check_scores
from gabc.evaluate.harness import run_tasks
from gabc.evaluate.heldout import score_heldout
from gabc.evaluate.lm import module_lm
from gabc.evaluate.result import (
    EVALUATOR_VERSION,
    ResultKey,
    RunResult,
    TaskScore,
    TrainingSummary,
)
from gabc.train.checkpoint import Checkpoint, open_checkpoint
from gabc.train.errors import CheckpointError
from gabc.train.history import HISTORY, read_history
from gabc.train.identity import Build
from gabc.train.loss import eval_loss
from gabc.train.record import CheckpointRecord
from gabc.train.settings import TrainingSettings
from gabc.train.weights import load_weights, tensors_sha256

_CURVE_POINTS = 400


def evaluate(
    checkpoint: Path,
    build: Build,
    tokenizer: Tokenizer,
    corpus: Corpus,
    *,
    tasks: Sequence[str] = (),
    data_dir: Path | None = None,
    limit: int | None = None,
    design_hash: str | None = None,
    device: str | None = None,
    is_control: bool = False,
) -> RunResult:
    """Held-out loss and `tasks` of a checkpoint (or of a run's newest), in float32.

    `build` makes the untrained model of an identity. `design_hash`, where given, is the design the
    caller expects. `limit` keeps the first pairs of each subtask. `device` is a torch device; the
    default is a GPU where there is one. `is_control` scores the positive control, before the
    controls of this version of the evaluator are stored.

    Raises:
        CheckpointError: the checkpoint is damaged, or of another design.
        DataError: the tokenizer or the held-out text is another than in training, or a task's data
            is missing.
        GateError: the scores cannot be trusted; none is returned.
    """
    if not is_control:
        check_controls()
    opened = open_checkpoint(checkpoint)
    record = opened.record
    _check_expectations(opened, tokenizer, corpus, design_hash)
    module = _load(opened, build).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    proof_loss = eval_loss(module, opened.proof_tokens())
    check_proof(record.proof.loss, proof_loss)

    width, context = tokenizer.vocab_size, record.settings.context
    heldout = score_heldout(module, corpus.heldout, context, width)
    extra = tuple(score_heldout(module, text, context, width) for text in corpus.extra)
    scores = run_tasks(module_lm(module, tokenizer), tasks, data_dir, limit)
    key = _key(opened, tokenizer, corpus, scores)
    check_scores(
        key,
        width,
        heldout,
        extra,
        scores,
        recorded_hash=record.tensors_sha256,
        scored_hash=tensors_sha256(module),
    )
    return RunResult(
        key=key,
        training=_summary(record, opened.folder.parent / HISTORY),
        heldout=heldout,
        extra_heldout=extra,
        tasks=scores,
        proof_loss=(record.proof.loss, proof_loss),
    )


def _check_expectations(
    opened: Checkpoint, tokenizer: Tokenizer, corpus: Corpus, design_hash: str | None
) -> None:
    record = opened.record
    if design_hash is not None and design_hash != record.identity.design_hash:
        raise CheckpointError(
            f"{opened.folder} is of another design: it holds {record.identity.design} with the "
            f"hash {record.identity.design_hash[:12]}, and {design_hash[:12]} was asked for."
        )
    if tokenizer.content_hash != record.data.tokenizer_hash:
        raise DataError(
            f"{opened.folder} was trained with the tokenizer {record.data.tokenizer} "
            f"({record.data.tokenizer_hash[:12]}), and {tokenizer.name} "
            f"({tokenizer.content_hash[:12]}) was given. Evaluate with the one it was trained with."
        )
    if corpus.heldout.sha256 != record.data.heldout_sha256:
        raise DataError(
            f"{opened.folder} was trained on {record.data.corpus}, and what {corpus.name} holds "
            "out here is not what was held out then; the model may have been trained on it. Set "
            "DATA_DIR as it was, or name the text of the training with --data. To score another "
            "text beside it, name that with --extra."
        )


def _load(opened: Checkpoint, build: Build) -> nn.Module:
    """The built model with the checkpoint's weights in it, whose hash is the recorded one."""
    module = build(opened.record.identity)
    load_weights(module, opened.weights)
    if tensors_sha256(module) != opened.record.tensors_sha256:
        raise CheckpointError(
            f"{opened.folder}: the tensors in the model after loading are not the trained ones. "
            "The model built from its design has tensors the checkpoint does not know."
        )
    return module


def _key(
    opened: Checkpoint, tokenizer: Tokenizer, corpus: Corpus, tasks: Sequence[TaskScore]
) -> ResultKey:
    identity = opened.record.identity
    return ResultKey(
        design=identity.design,
        design_hash=identity.design_hash,
        scale=identity.scale,
        seed=identity.seed,
        compiler_version=identity.compiler_version,
        evaluator_version=EVALUATOR_VERSION,
        weights_sha256=opened.weights_sha256,
        tokenizer=tokenizer.name,
        tokenizer_hash=tokenizer.content_hash,
        prefix_token=tokenizer.eos_id,
        train_sha256=opened.record.data.train_sha256,
        heldout_sha256=corpus.heldout.sha256,
        context=opened.record.settings.context,
        extra=tuple((text.name, text.sha256) for text in corpus.extra),
        tasks=tuple((task.label, task.data_sha256) for task in tasks),
    )


def _summary(record: CheckpointRecord, history: Path) -> TrainingSummary:
    settings = record.settings
    return TrainingSummary(
        corpus=record.data.corpus,
        split_rule=record.data.split_rule,
        parameters=record.progress.parameters,
        steps=record.progress.step,
        tokens=record.progress.tokens,
        tokens_per_second=record.progress.tokens_per_second,
        device=record.progress.device,
        settings={name: getattr(settings, name) for name in TrainingSettings.__dataclass_fields__},
        history=_curve(history, record.progress.step),
    )


def _curve(path: Path, last_step: int) -> tuple[tuple[int, float], ...]:
    """The loss history up to `last_step`, as at most 400 means of neighbouring steps."""
    steps = [step for step in read_history(path) if step.step <= last_step]
    stride = max(1, -(-len(steps) // _CURVE_POINTS))
    groups = [steps[start : start + stride] for start in range(0, len(steps), stride)]
    return tuple((g[-1].tokens, sum(s.loss for s in g) / len(g)) for g in groups)
