"""The baseline to beat: an interpolated n-gram model with modified Kneser-Ney smoothing.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1998),
equations 18 to 26: three discounts per order from the counts of counts, and continuation counts in
place of counts below the highest order. The lowest order is interpolated with the uniform
distribution. Everything is sorting and looking up in numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gabc.data.corpus import Corpus, Tokens

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Where a count of counts is zero (a vocabulary of a few hundred bytes has no rare unigrams) the
# estimate of the discounts is undefined, and one absolute discount stands for all three.
_ABSOLUTE_DISCOUNT = 0.75


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline's score: trained and scored on the tokens that the two hashes name.

    `loss` is in nats per token, `bits_per_byte` over the bytes of the same text.
    """

    name: str
    loss: float
    bits_per_byte: float
    tokenizer_hash: str
    train_sha256: str
    heldout_sha256: str


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one length: `keys` sorted, discounted counts, and what each context keeps.

    `context_total` and `context_backoff` are indexed by the number of the (n-1)-gram; a total of
    zero marks a context that nothing followed.
    """

    keys: Ints
    discounted: Floats
    context_total: Floats
    context_backoff: Floats


class NgramModel:
    """P(token | the `order` - 1 tokens before it), estimated from one stream of tokens."""

    def __init__(self, tokens: Tokens, order: int, size: int) -> None:
        """Count `tokens` [n], which are below `size`; needs n > `order`."""
        if len(tokens) <= order:
            raise ValueError(f"{len(tokens)} tokens are too few for n-grams of length {order}")
        self._size = size
        stream = tokens.astype(np.int64)
        grams = [np.zeros(len(stream) + 1, dtype=np.int64)]
        tables: list[tuple[Ints, Ints, Ints]] = []
        for length in range(1, order + 1):
            starts = len(stream) - length + 1
            key = grams[-1][:starts] * size + stream[length - 1 :]
            keys, first, number, count = np.unique(
                key, return_index=True, return_inverse=True, return_counts=True
            )
            tables.append((keys, first, count))
            grams.append(number)
        self._orders: list[_Order] = []
        contexts = 1
        for length in range(1, order + 1):
            keys, _, count = tables[length - 1]
            if length < order:
                longer_first = tables[length][1]
                suffix = grams[length][longer_first + 1]
                count = np.bincount(suffix, minlength=len(keys))
            self._orders.append(_smooth(keys, count, keys // size, contexts))
            contexts = len(keys)

    def log_probabilities(self, tokens: Tokens) -> Floats:
        """Natural log-probability [n - 1] of each of `tokens` [n] but the first, in context."""
        stream = tokens.astype(np.int64)
        probability = np.full(len(stream), 1.0 / self._size)
        number = np.zeros(len(stream) + 1, dtype=np.int64)
        for length, table in enumerate(self._orders, start=1):
            starts = len(stream) - length + 1
            if starts < 1:
                break
            context = number[:starts]
            known = context >= 0
            known[known] = table.context_total[context[known]] > 0
            key = np.where(known, context * self._size + stream[length - 1 :], -1)
            found = np.minimum(np.searchsorted(table.keys, key), len(table.keys) - 1)
            hit = table.keys[found] == key
            here = probability[length - 1 :]
            at = np.where(known, context, 0)
            direct = np.where(hit, table.discounted[found], 0.0) / np.where(
                known, table.context_total[at], 1.0
            )
            here[:] = np.where(known, direct + table.context_backoff[at] * here, here)
            number = np.where(hit, found, -1)
        log_probability: Floats = np.log(probability[1:])
        return log_probability


def _smooth(keys: Ints, count: Ints, context: Ints, contexts: int) -> _Order:
    discount = np.concatenate([[0.0], _discounts(count)])[np.minimum(count, 3)]
    total = np.bincount(context, weights=count, minlength=contexts).astype(np.float64)
    taken = np.bincount(context, weights=discount, minlength=contexts).astype(np.float64)
    backoff = np.divide(taken, total, out=np.zeros(contexts), where=total > 0)
    return _Order(keys, count - discount, total, backoff)


def _discounts(count: Ints) -> Floats:
    """The discounts of a count of one, of two, and of three or more."""
    n1, n2, n3, n4 = (int((count == k).sum()) for k in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return np.full(3, _ABSOLUTE_DISCOUNT)
    y = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.clip(np.array(estimates), 0.0, [1.0, 2.0, 3.0])


def ngram_baseline(corpus: Corpus, order: int = 3) -> Baseline:
    """Train on the corpus's training text and score exactly the tokens a model is scored on."""
    model = NgramModel(corpus.train, order, corpus.vocab_size)
    nats = -float(model.log_probabilities(corpus.heldout.tokens).sum())
    names = {1: "unigram", 2: "bigram", 3: "trigram"}
    return Baseline(
        name=f"{names.get(order, f'{order}-gram')} (Kneser-Ney)",
        loss=nats / (len(corpus.heldout.tokens) - 1),
        bits_per_byte=nats / math.log(2) / corpus.heldout.bytes,
        tokenizer_hash=corpus.tokenizer_hash,
        train_sha256=corpus.train_sha256,
        heldout_sha256=corpus.heldout.sha256,
    )


def baselines(corpus: Corpus) -> tuple[Baseline, ...]:
    """The trigram baseline; for bytes, where three tokens are half a word, a 6-gram one as well."""
    orders = (3, 6) if corpus.tokenizer == "byte" else (3,)
    return tuple(ngram_baseline(corpus, order) for order in orders)
