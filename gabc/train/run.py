"""Train a model on a corpus, from the start or from a checkpoint."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from gabc.data.corpus import Corpus
from gabc.data.packing import PackedSequences
from gabc.train.checkpoint import (
    WEIGHTS,
    hash_files,
    open_checkpoint,
    publish,
    save_proof_tokens,
)
from gabc.train.errors import CheckpointError, TrainingError
from gabc.train.history import HISTORY, HistoryWriter
from gabc.train.identity import ModelIdentity
from gabc.train.loss import eval_loss
from gabc.train.progress import ProgressBar
from gabc.train.record import CheckpointRecord, DataRecord, Progress, Proof
from gabc.train.settings import TrainingSettings
from gabc.train.trainer import STAGING, CheckpointingTrainer, SequenceDataset
from gabc.train.weights import count_parameters, load_weights, tensors_sha256
from gabc.train.wrapper import TrainableModel


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run: its last checkpoint and what that checkpoint records."""

    checkpoint: Path
    history: Path
    record: CheckpointRecord


def train(
    model: nn.Module,
    identity: ModelIdentity,
    corpus: Corpus,
    settings: TrainingSettings,
    run_folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> TrainedRun:
    """Train `model` (tokens [B, L] -> logits [B, L, V]) in place.

    Runs in float32 on a CPU and in bfloat16 autocast on a GPU. `run_folder` receives
    `history.jsonl` and `checkpoint-N` folders. With `resume` the newest checkpoint there is
    continued, and its losses are bitwise those of a run that never stopped (on one device type).
    A progress bar is drawn where `console` (default: standard error) is a terminal.

    Raises:
        TrainingError: the folder already holds a run, the loss is not a number, or the machine
            is one this version cannot use.
        CheckpointError: `resume` finds no sound checkpoint, or one of another design, data or
            settings.
        DataError: the text is shorter than one sequence.
    """
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    data = data_record(corpus)
    start = _resume_from(run_folder, identity, data, settings) if resume else None
    if start is None and run_folder.exists() and any(run_folder.iterdir()):
        raise TrainingError(
            f"{run_folder} already holds a run. Resume it, or choose another folder."
        )
    if start is not None and start.record.progress.step >= settings.steps:
        load_weights(model, start.checkpoint / WEIGHTS)
        return start
    run_folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run_folder / STAGING, ignore_errors=True)

    sequences = PackedSequences(corpus.train, settings.context, settings.seed)
    from_step = start.record.progress.step if start is not None else 0
    history = HistoryWriter(run_folder / HISTORY, settings.batch_tokens, from_step)
    saver = _Saver(model, identity, data, settings, run_folder, sequences, history)
    bar = ProgressBar(console or Console(stderr=True), history)
    trainer = CheckpointingTrainer(
        TrainableModel(model),
        SequenceDataset(sequences, settings.steps * settings.sequences_per_step),
        _arguments(settings, run_folder),
        settings,
        run_folder,
        saver.save,
        history.note_unsound,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(history)
    trainer.add_callback(bar)
    try:
        trainer.train(resume_from_checkpoint=str(start.checkpoint) if start is not None else None)
    finally:
        bar.close()
        shutil.rmtree(run_folder / STAGING, ignore_errors=True)
    assert saver.saved is not None  # the last step is always saved
    return saver.saved


@dataclass(slots=True)
class _Saver:
    """Completes a staged checkpoint with its proof and its record, and publishes it."""

    model: nn.Module
    identity: ModelIdentity
    data: DataRecord
    settings: TrainingSettings
    run_folder: Path
    sequences: PackedSequences
    history: HistoryWriter
    saved: TrainedRun | None = None

    def save(self, staged: Path, step: int) -> None:
        first = (step - 1) * self.settings.sequences_per_step
        indices = range(first, first + self.settings.micro_batch)
        tokens = torch.stack([torch.from_numpy(self.sequences[index]) for index in indices])
        save_proof_tokens(tokens, staged)
        assert self.history.last is not None  # each step is recorded before it is saved
        record = CheckpointRecord(
            identity=self.identity,
            data=self.data,
            settings=self.settings,
            progress=Progress(
                step=step,
                tokens=step * self.settings.batch_tokens,
                loss=self.history.last.loss,
                tokens_per_second=self.history.tokens_per_second,
                parameters=count_parameters(self.model),
                device=_device_name(),
            ),
            proof=Proof(eval_loss(self.model, tokens), self.settings.micro_batch),
            tensors_sha256=tensors_sha256(self.model),
            files=hash_files(staged),
        )
        place = publish(staged, record, self.run_folder, self.settings.keep)
        self.saved = TrainedRun(place, self.run_folder / HISTORY, record)


def data_record(corpus: Corpus) -> DataRecord:
    """What a checkpoint says of the corpus it was trained on."""
    return DataRecord(
        corpus=corpus.name,
        tokenizer=corpus.tokenizer,
        tokenizer_hash=corpus.tokenizer_hash,
        train_sha256=corpus.train_sha256,
        train_tokens=len(corpus.train),
        heldout_sha256=corpus.heldout.sha256,
        split_rule=corpus.split_rule,
        train_limit=corpus.train_limit,
        heldout_limit=corpus.heldout_limit,
    )


def _resume_from(
    run_folder: Path, identity: ModelIdentity, data: DataRecord, settings: TrainingSettings
) -> TrainedRun:
    checkpoint = open_checkpoint(run_folder)
    record = checkpoint.record
    pairs = (("design", record.identity, identity), ("data", record.data, data))
    for what, before, now in (*pairs, ("settings", record.settings, settings)):
        for field in before.__dataclass_fields__:
            if getattr(before, field) != getattr(now, field):
                raise CheckpointError(
                    f"{checkpoint.folder} cannot be resumed: its {what} differs in `{field}`. "
                    "Resume with what it was trained with, or start a new run."
                )
    return TrainedRun(checkpoint.folder, run_folder / HISTORY, record)


def _arguments(settings: TrainingSettings, run_folder: Path) -> TrainingArguments:
    gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(run_folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.accumulation,
        max_grad_norm=settings.clip_norm,
        seed=settings.seed,
        use_cpu=not gpu,
        bf16=gpu,
        dataloader_pin_memory=gpu,
        torch_compile=settings.torch_compile,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1 or arguments.world_size > 1:
        raise TrainingError(
            f"This version trains on one device, and {max(arguments.n_gpu, arguments.world_size)} "
            "are in use. Set CUDA_VISIBLE_DEVICES to one, and start one process."
        )
    return arguments


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
