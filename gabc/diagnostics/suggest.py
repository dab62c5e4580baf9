"""Did you mean ...?"""

from __future__ import annotations

from collections.abc import Iterable

# Names of the same thing elsewhere: other languages, PyTorch, plain English.
_SYNONYMS = (
    frozenset(("attend", "attention", "sdpa", "scaled_dot_product_attention")),
    frozenset(("axis", "dim")),
    frozenset(("concat", "cat", "concatenate")),
    frozenset(("fn", "def", "func", "function")),
    frozenset(("forward", "call", "__call__", "apply")),
    frozenset(("gab", "design", "model")),
    frozenset(("int", "integer", "long")),
    frozenset(("keep", "keepdim", "keepdims")),
    frozenset(("none", "null", "nil")),
    frozenset(("param", "parameter")),
    frozenset(("positions", "arange", "position_ids")),
    frozenset(("require", "assert")),
    frozenset(("str", "string")),
    frozenset(("bool", "boolean")),
    frozenset(("unit", "class", "module", "layer", "gau")),
)
# Bounds on one search: candidates, and letters compared with letters.
_MAX_CANDIDATES = 2_000
_MAX_COMPARED = 30_000
_SYNONYM_SETS: dict[str, list[frozenset[str]]] = {}
for _group in _SYNONYMS:
    for _word in _group:
        _SYNONYM_SETS.setdefault(_word, []).append(_group)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was probably meant to be, or None.

    Compared without case and underscores by the Damerau-Levenshtein distance (insert, delete,
    replace, swap neighbours); up to one edit in every three letters counts as a slip. Synonyms are
    found whatever their spelling. Ties go to the candidate that comes first in the alphabet.
    The search is bounded: among thousands of names, or very long ones, some are not compared.
    """
    pool = set(candidates)
    if len(pool) > _MAX_CANDIDATES:
        return None
    compared = 0
    folded = _fold(word)
    allowed = max(1, len(folded) // 3) if len(folded) > 1 else 0
    best: tuple[int, int, str] | None = None
    for candidate in sorted(pool):
        if candidate == word:
            continue
        other = _fold(candidate)
        if folded == other:
            distance = 0
        elif any(candidate.lower() in group for group in _SYNONYM_SETS.get(word.lower(), ())):
            distance = 1
        elif abs(len(folded) - len(other)) > allowed:
            continue
        elif len(set(folded) ^ set(other)) > 2 * allowed:
            continue  # an edit brings in one letter at most, and removes one
        elif compared > _MAX_COMPARED:
            continue
        else:
            compared += len(folded) * len(other)
            distance = _distance(folded, other)
            # A short word is all slip when every letter of it may change.
            if distance > allowed or distance >= min(len(folded), len(other)):
                continue
        key = (distance, _common_prefix(folded, other) * -1, candidate)
        if best is None or key < best:
            best = key
    return best[2] if best else None


def _fold(word: str) -> str:
    return word.replace("_", "").lower()


def _common_prefix(a: str, b: str) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def _distance(a: str, b: str) -> int:
    """Optimal string alignment: edits and swaps of neighbours, no letter edited twice."""
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        before, previous = previous, current
    return previous[-1]
