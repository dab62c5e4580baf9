"""Conditions without which no score is stored.

Numbered as in the project's evaluation rules. LAMBADA's part of gate 2 belongs to a task that this
version does not have; gate 6 is in `control_record`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

from gabc.evaluate.errors import GateError
from gabc.evaluate.result import HeldOutScore, ResultKey, TaskScore

# Trainer and evaluator both work in float32; another device or kernel moves the mean this much.
PROOF_TOLERANCE = 1e-3
LARGEST_TIE_RATE = 0.02
# Nats per token below which natural text is not predicted at these sizes: 1.5 for BPE, and the
# same per byte of text (GPT-2's tokens have about 4.3 bytes).
_FLOORS = {"gpt2": 1.5, "byte": 0.35}


def check_proof(recorded_loss: float, our_loss: float) -> None:
    """Gate 1: the loss on the saved training batch, in eval mode, is the one the record states.

    Raises:
        GateError: it differs by more than float32 on another device explains.
    """
    if not abs(recorded_loss - our_loss) <= PROOF_TOLERANCE:  # also false for NaN
        raise GateError(
            f"Gate 1: the loss on the saved training batch, in eval mode, is {our_loss:.5f}, and "
            f"was {recorded_loss:.5f} when the checkpoint was written. The model that was built is "
            "not the one that was trained; build it with the compiler version and design that the "
            "checkpoint records."
        )


def check_scores(
    key: ResultKey,
    vocab_size: int,
    heldout: HeldOutScore,
    extra: Sequence[HeldOutScore],
    tasks: Sequence[TaskScore],
    recorded_hash: str,
    scored_hash: str,
) -> None:
    """Gates 2 to 5 and 7.

    Raises:
        GateError: one or more failed; the message names each, with its numbers.
    """
    failures = [
        *_loss_failures(key.tokenizer, vocab_size, heldout),
        *(failure for text in extra for failure in _non_finite(text)),
        *(failure for task in tasks for failure in _task_failures(task)),
    ]
    if scored_hash != recorded_hash:
        failures.append(
            f"Gate 5: the weights scored have the hash {scored_hash[:12]}, and the checkpoint "
            f"records {recorded_hash[:12]}."
        )
    failures += [
        f"Gate 7: the result's key has no {field.name}."
        for field in fields(key)
        if getattr(key, field.name) in ("", None)
    ]
    if failures:
        raise GateError("No score is stored. " + " ".join(failures))


def _loss_failures(tokenizer: str, vocab_size: int, heldout: HeldOutScore) -> list[str]:
    if found := _non_finite(heldout):
        return found
    ceiling = math.log(vocab_size) - 1
    if heldout.loss > ceiling:
        return [
            f"Gate 2: the held-out loss is {heldout.loss:.3f} nats per token, above "
            f"ln({vocab_size}) - 1 = {ceiling:.3f}: the model has learnt next to nothing. "
            "Train it for longer."
        ]
    floor = _FLOORS[tokenizer]
    if heldout.loss < floor:
        return [
            f"Gate 3: the held-out loss is {heldout.loss:.3f} nats per token, below {floor}: the "
            "design sees the future, or the text is not natural language."
        ]
    return []


def _non_finite(text: HeldOutScore) -> list[str]:
    if not text.non_finite:
        return []
    return [f"Gate 4: {text.non_finite} of {text.tokens} losses on {text.name} are not finite."]


def _task_failures(task: TaskScore) -> list[str]:
    failures = []
    if task.non_finite:
        failures.append(
            f"Gate 4: {task.non_finite} of {task.pairs} pairs of {task.name} have a "
            "log-probability that is not finite."
        )
    if task.tie_rate > LARGEST_TIE_RATE:
        failures.append(
            f"Gate 4: {task.tie_rate:.1%} of the pairs of {task.name} are ties, above "
            f"{LARGEST_TIE_RATE:.0%}."
        )
    return failures
