"""Loss on held-out text."""

from __future__ import annotations

import math

import torch
from torch import nn

from gabc.data.corpus import HeldOutText
from gabc.evaluate.result import HeldOutScore
from gabc.evaluate.scoring import stream_losses


def score_heldout(
    module: nn.Module, text: HeldOutText, context: int, vocab_size: int
) -> HeldOutScore:
    """Every token of `text` is scored once, in windows of the training context.

    Bits per byte are the nats of all tokens, document marks included, over ln 2 and the bytes of
    the text, so that tokenizers can be compared.
    """
    losses = stream_losses(module, text.tokens, context, vocab_size).double()
    nats = float(losses.sum())
    return HeldOutScore(
        name=text.name,
        sha256=text.sha256,
        tokens=len(losses),
        bytes=text.bytes,
        loss=nats / len(losses),
        bits_per_byte=nats / math.log(2) / text.bytes,
        non_finite=int((~torch.isfinite(losses)).sum()),
    )
