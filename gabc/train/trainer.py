"""transformers' Trainer with gabc's checkpoints, schedule and order of the data."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainingArguments

from gabc.data.packing import PackedSequences
from gabc.train.checkpoint import WEIGHTS
from gabc.train.history import AUXILIARY
from gabc.train.settings import TrainingSettings
from gabc.train.weights import load_weights, save_weights
from gabc.train.wrapper import TrainableModel

STAGING = ".staging"


class SequenceDataset(Dataset[dict[str, torch.Tensor]]):
    """The sequences of a whole run in their order, so that resuming means starting further on."""

    def __init__(self, sequences: PackedSequences, length: int) -> None:
        self._sequences = sequences
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"tokens": torch.from_numpy(self._sequences[index])}


class CheckpointingTrainer(Trainer):
    """Writes each checkpoint into a staging folder and hands it to `publish`, which moves it.

    What it logs of a step has the auxiliary losses too, as means over the step's micro-batches.
    Before that, `note_unsound` is told which parameters have a gradient that is not finite, if any.
    """

    def __init__(
        self,
        model: TrainableModel,
        dataset: SequenceDataset,
        arguments: TrainingArguments,
        settings: TrainingSettings,
        run_folder: Path,
        publish: Callable[[Path, int], None],
        note_unsound: Callable[[tuple[str, ...]], None],
    ) -> None:
        optimizer = _optimizer(model, settings)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=_stack,
            optimizers=(optimizer, schedule),
        )
        self._module = model.model
        self._sequences = dataset
        self._staging = run_folder / STAGING
        self._publish = publish
        self._note_unsound = note_unsound
        self._auxiliary: defaultdict[str, list[torch.Tensor]] = defaultdict(list)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        for name, value in outputs.get("auxiliary", {}).items():
            self._auxiliary[name].append(value.detach())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for name, values in self._auxiliary.items():
            logs[AUXILIARY + name] = float(torch.stack(values).mean())
        self._auxiliary.clear()
        super().log(logs, start_time)

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor | float:
        """Clipping by a norm that is NaN makes every gradient NaN: whose it was is noted before."""
        gradients = {n: p.grad for n, p in self._module.named_parameters() if p.grad is not None}
        if not nn.utils.get_total_norm(gradients.values()).isfinite():
            self._note_unsound(tuple(n for n, g in gradients.items() if not g.isfinite().all()))
        norm: torch.Tensor | float = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        return norm

    def _get_train_sampler(self, train_dataset: object = None) -> SequentialSampler:
        return SequentialSampler(self._sequences)

    def _get_output_dir(self, trial: object) -> str:
        return str(self._staging)

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        assert output_dir is not None
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self._module, folder / WEIGHTS)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        super()._save_checkpoint(model, trial)
        step = self.state.global_step
        self._publish(self._staging / f"checkpoint-{step}", step)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        load_weights(self._module, Path(resume_from_checkpoint) / WEIGHTS)


def learning_rate_factor(step: int, settings: TrainingSettings) -> float:
    """The share of the peak learning rate at `step`, counted from 0.

    Linear from 1 / `warmup_steps` to 1, then half a cosine that reaches `final_fraction` at the
    last step.
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    last = max(1, settings.steps - settings.warmup_steps)
    done = min(1.0, (step + 1 - settings.warmup_steps) / last)
    share = 0.5 * (1 + math.cos(math.pi * done))
    return settings.final_fraction + (1 - settings.final_fraction) * share


def decayed_parameters(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that weight decay acts on: weights of `nn.Linear` and `nn.Embedding`.

    Whatever a design declares itself (gains per head, decay rates, mixing coefficients, filters,
    initial states) keeps its scale, whatever its shape.
    """
    return frozenset(
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    )


def _optimizer(model: nn.Module, settings: TrainingSettings) -> AdamW:
    """AdamW that decays `decayed_parameters` and no other."""
    names = decayed_parameters(model)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if name in names]
    kept = [p for name, p in trained if name not in names]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2))


def _stack(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {"tokens": torch.stack([item["tokens"] for item in items])}
