"""Random designs about time: compositions of every operation along it, leaking ones among them."""

from __future__ import annotations

from causality_body import Program
from causality_productions import PRODUCTIONS


def program(seed: int) -> str:
    """A design, the same for the same seed. Some are refused by the elaborator."""
    p = Program(seed)
    productions = [production for production, _ in PRODUCTIONS]
    weights = [weight for _, weight in PRODUCTIONS]
    for production in p.rng.choices(productions, weights, k=p.rng.randint(1, 4)):
        production(p)
    return p.text()
