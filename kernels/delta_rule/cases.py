"""What the two implementations of the delta rule are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cases import Case, Tensors

SHUT = (0.0, -1e5, -torch.inf, -0.1, -30.0)


@dataclass(frozen=True)
class Form:
    """Sizes and options of one call; `gates` are mild, or the extremes of `SHUT`."""

    shape: tuple[int, int, int]  # batch, length, heads
    keys: int
    values: int
    decay: str | None
    read_before: bool
    has_initial: bool
    gates: str = "mild"

    @property
    def name(self) -> str:
        sides = "x".join(map(str, self.shape))
        order = "before" if self.read_before else "after"
        initial = ", initial" if self.has_initial else ""
        gates = "" if self.gates == "mild" else f", {self.gates} gates"
        return f"{sides}, {self.keys}x{self.values}, decay {self.decay}, {order}{initial}{gates}"


# Chunks are of 16 steps up to 8 keys and of 32 above, tiles of 16 keys and values.
FORMS = (
    Form((2, 1, 2), 1, 1, None, False, True),
    Form((1, 37, 1), 20, 13, None, True, False),
    Form((1, 33, 1), 17, 15, "head", False, True),
    Form((1, 21, 2), 6, 18, "head", True, False, "extreme"),
    Form((1, 35, 1), 18, 12, "key", False, True),
    Form((2, 18, 1), 5, 14, "key", True, True, "extreme"),
    Form((1, 16, 2), 7, 13, "key", False, False, "extreme"),
    Form((2, 1, 2), 12, 16, "key", False, True),
    Form((1, 20, 1), 70, 13, "head", False, True),
    Form((1, 0, 2), 3, 2, "head", False, True),
)


def _drawn(form: Form, generator: torch.Generator) -> Tensors:
    """Keys that the state is corrected along have length one; q and do are not contiguous."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    batch, length, heads = form.shape
    given = {
        "q": draw(batch, heads, length, form.keys).transpose(1, 2),
        "l": F.normalize(draw(*form.shape, form.keys), dim=-1),
        "k": 0.3 * draw(*form.shape, form.keys),
        "v": draw(*form.shape, form.values),
        "do": draw(batch, heads, length, form.values).transpose(1, 2),
        "dfinal": draw(batch, heads, form.keys, form.values),
    }
    given["r"] = -draw(*form.shape, 1).sigmoid() * given["l"] + 0.1 * draw(*given["l"].shape)
    if form.has_initial:
        given["initial"] = draw(batch, heads, form.keys, form.values)
    if form.decay is not None:
        gates = draw(*form.shape, *((form.keys,) if form.decay == "key" else ()))
        if form.gates == "extreme":
            chosen = torch.randint(len(SHUT), gates.shape, generator=generator)
            given["g"] = torch.tensor(SHUT, dtype=torch.float64)[chosen]
        else:
            given["g"] = -0.1 * gates.abs()
    return given


def _run(form: Form, by: ModuleType, given: Tensors) -> Tensors:
    operands = [given[name] for name in ("q", "l", "r", "k", "v")]
    g, initial = given.get("g"), given.get("initial")
    o, final, states = by.forward(*operands, g, initial, form.read_before)
    # The state is float32 whatever the operands are, and so is its gradient.
    dfinal = given["dfinal"].to(final.dtype)
    found = by.backward(given["do"], dfinal, *operands, g, initial, states, form.read_before)
    names = ("dq", "dl", "dr", "dk", "dv", "dg", "dinitial")
    results = {"o": o, "final": final, "states": states, **dict(zip(names, found, strict=True))}
    return {name: x for name, x in results.items() if x.numel()}


def cases() -> tuple[Case, ...]:
    return tuple(Case(form.name, partial(_drawn, form), partial(_run, form)) for form in FORMS)
