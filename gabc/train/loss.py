"""Next-token losses, the same function for training, for the proof and for the evaluation."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log softmax at the targets, in nats: logits [B, L, V], targets [B, L] -> float32 [B, L]."""
    flat = functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="none"
    )
    return flat.view_as(targets)


def eval_loss(module: nn.Module, tokens: torch.Tensor) -> float:
    """Mean nats per token on `tokens` [B, L + 1], in eval mode, without autocast or gradients."""
    device = next(module.parameters()).device
    tokens = tokens.to(device)
    was_training = module.training
    module.eval()
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        losses = token_losses(module(tokens[:, :-1]), tokens[:, 1:])
    module.train(was_training)
    return float(losses.double().mean())
