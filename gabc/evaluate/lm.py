"""The module as lm-eval wants it: an `LM` that scores text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lm_eval.api.instance import Instance  # type: ignore[import-untyped]
from lm_eval.api.model import LM  # type: ignore[import-untyped]
from torch import nn

from gabc.data.tokenizer import Tokenizer
from gabc.evaluate.scoring import Answer, Request, answer

Score = Callable[[Sequence[Request]], list[Answer]]


class ScoringLM(LM):  # type: ignore[misc]  # lm-eval is untyped
    """Answers lm-eval's requests for log-probabilities with `score`.

    An empty context becomes the document mark. Nothing is truncated.
    """

    def __init__(self, tokenizer: Tokenizer, score: Score) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._score = score

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        pairs = [self._request(*instance.args) for instance in requests]
        return [(found.log_probability, found.is_greedy) for found in self._score(pairs)]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        pairs = [self._request("", *instance.args) for instance in requests]
        return [found.log_probability for found in self._score(pairs)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("this evaluator scores text; tasks that generate are not run")

    def _request(self, context: str, continuation: str) -> Request:
        """The continuation's tokens as they are inside the whole text; its spaces belong to it."""
        if not context:
            mark = (self._tokenizer.eos_id,)
            return Request(mark, tuple(self._tokenizer.encode(continuation)))
        stripped = context.rstrip()
        before = self._tokenizer.encode(stripped)
        whole = self._tokenizer.encode(context + continuation)
        return Request(tuple(before), tuple(whole[len(before) :]))


def module_lm(module: nn.Module, tokenizer: Tokenizer) -> ScoringLM:
    """An LM over a module `forward(tokens [B, L]) -> logits [B, L, V]`."""
    return ScoringLM(tokenizer, lambda requests: answer(module, requests, tokenizer.vocab_size))
