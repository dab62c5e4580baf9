"""The module as transformers' Trainer wants it: tokens in, loss out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from gabc.train.loss import token_losses


class TrainableModel(PreTrainedModel):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Holds `model`, a module from tokens [B, L] to logits [B, L, V].

    A model with auxiliary losses takes `return_losses=True` and then returns (logits, losses by
    name). Their sum is added to the loss of the targets.

    Every target is a real token, so the loss of a micro-batch is the plain mean over it. Trainer
    would otherwise take the keyword arguments of `forward` as a sign that the loss is already
    divided by the number of items, and scale it wrongly.
    """

    accepts_loss_kwargs = False
    main_input_name = "tokens"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(PretrainedConfig())
        self.model = model
        self._has_losses = "return_losses" in inspect.signature(model.forward).parameters

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor | Mapping[str, torch.Tensor]]:
        """tokens [B, L + 1] -> {"loss": what to minimise, "auxiliary": its added parts by name}.

        The rest of "loss" is the mean in nats per token.
        """
        if not self._has_losses:
            return {"loss": token_losses(self.model(tokens[:, :-1]), tokens[:, 1:]).mean()}
        logits, losses = self.model(tokens[:, :-1], return_losses=True)
        auxiliary = {name: loss.float() for name, loss in losses.items()}
        loss = token_losses(logits, tokens[:, 1:]).mean()
        for added in auxiliary.values():
            loss = loss + added
        return {"loss": loss, "auxiliary": auxiliary}

    def floating_point_ops(self, *_: object, **__: object) -> int:
        """Trainer's estimate counts parameters of a transformer; a design may be anything."""
        return 0
