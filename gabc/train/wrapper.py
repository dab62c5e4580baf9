"""The module as transformers' Trainer wants it: tokens in, loss out."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from gabc.train.loss import token_losses


class TrainableModel(PreTrainedModel):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Holds `model`, a module from tokens [B, L] to logits [B, L, V].

    Every target is a real token, so the loss of a micro-batch is the plain mean over it. Trainer
    would otherwise take the keyword arguments of `forward` as a sign that the loss is already
    divided by the number of items, and scale it wrongly.
    """

    accepts_loss_kwargs = False
    main_input_name = "tokens"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(PretrainedConfig())
        self.model = model

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """tokens [B, L + 1] -> {"loss": the mean in nats per token}."""
        return {"loss": token_losses(self.model(tokens[:, :-1]), tokens[:, 1:]).mean()}

    def floating_point_ops(self, *_: object, **__: object) -> int:
        """Trainer's estimate counts parameters of a transformer; a design may be anything."""
        return 0
