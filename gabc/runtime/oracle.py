"""The dynamic test beside the proof: fresh futures, prefixes and rows, in float64.

The reference interpreter runs the blocks on random streams. What changes although it must not is a
leak; that nothing changes proves nothing, which is why a refuted design stays refuted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gabc.check.causality.explain import NOT_PROVED, Blame, blames, diagnostic_of, words
from gabc.check.causality.verdict import Proofs, Property, Subject, Verdict, Witness
from gabc.diagnostics.model import Diagnostic
from gabc.graph.instance import Stack

if TYPE_CHECKING:
    from torch import Tensor

    from gabc.runtime.reference import ReferenceModel

LENGTHS = (1, 7, 100, 257)
ROWS = 3
TOLERANCE = 1e-9
"""Relative to the size of an element: prefixes are summed in another order than the whole."""

SPARSE = 64
"""From this length on fewer prefixes and rows are tried: the short lengths have all of them."""

MAGNITUDES = (1.0, 0.1, 8.0)
"""Of the stream. Gates and softmaxes that saturate at one may be open at another."""


def confirm(
    proofs: Proofs, stack: Stack, *, lengths: Sequence[int] = LENGTHS, seed: int = 0
) -> Proofs:
    """Look for a witness of what is refuted, and test what is neither proved nor refuted.

    A refuted property gets a `witness`, or its diagnostic the code GAB0405 (acausal by structure)
    if no run shows it. An unknown one becomes `tested`, with the warning GAB0406, or refuted. The
    diagnostics keep their order. `stack` may be the design at another scale than that of `proofs`,
    where it has the same faults.
    """
    if proofs.are_proved:
        return proofs
    oracle = Oracle(stack, seed=seed)
    runs: dict[Subject, Callable[[Sequence[int]], Witness | None]] = {
        Subject.CAUSALITY: oracle.future,
        Subject.LENGTH: oracle.prefix,
        Subject.BATCH: oracle.rows,
    }
    before = {
        Subject.CAUSALITY: proofs.causality,
        Subject.LENGTH: proofs.length,
        Subject.BATCH: proofs.batch,
    }
    after = {subject: _judged(before[subject], lengths, run) for subject, run in runs.items()}
    scale = stack.scale.name
    return replace(
        proofs,
        causality=after[Subject.CAUSALITY],
        length=after[Subject.LENGTH],
        batch=after[Subject.BATCH],
        diagnostics=tuple(
            _confirmed(blame, before, after, scale) for blame in blames(proofs.faults)
        ),
    )


def _judged(
    found: Property, lengths: Sequence[int], run: Callable[[Sequence[int]], Witness | None]
) -> Property:
    if found.verdict is Verdict.PROVED:
        return found
    witness = run(lengths)
    if witness is not None:
        return Property(Verdict.REFUTED, found.holds_at, witness)
    tested = Verdict.TESTED if found.verdict is Verdict.UNKNOWN else Verdict.REFUTED
    return Property(tested, found.holds_at)


def _confirmed(
    blame: Blame,
    before: Mapping[Subject, Property],
    after: Mapping[Subject, Property],
    scale: str,
) -> Diagnostic:
    """The diagnostic of one fault after the runs. A witness counts for every fault of its kind."""
    static, subject = diagnostic_of(blame), blame.fault.subject
    code, message, _ = words(blame)
    if blame.is_open:
        # What the proof lost may leak in any way that is open; what is refuted has other faults.
        open = [s for s in (subject, *before) if before[s].verdict is Verdict.UNKNOWN]
        shown = next((s for s in open if after[s].witness is not None), None)
        if shown is not None:
            return _shown(
                static,
                _CODES[shown],
                f"{message}, and a run shows that {_LEAKS[shown]}",
                after[shown],
                shown,
                scale,
            )
        if subject not in open:
            return static
        message = f"{NOT_PROVED[subject]}, and no run contradicts it: {message}"
        return replace(static, code="GAB0406", message=message)
    if after[subject].witness is not None:
        return _shown(static, code, message, after[subject], subject, scale)
    if code not in _CODES.values():
        return static
    message = f"{message}; no run showed it, but a gate or a threshold can hide it"
    return replace(static, code="GAB0405", message=message)


_CODES = {Subject.CAUSALITY: "GAB0401", Subject.LENGTH: "GAB0402", Subject.BATCH: "GAB0403"}
_LEAKS = {
    Subject.CAUSALITY: "later positions are read",
    Subject.LENGTH: "the result depends on the length",
    Subject.BATCH: "rows of the batch mix",
}


def _shown(
    static: Diagnostic, code: str, message: str, found: Property, subject: Subject, scale: str
) -> Diagnostic:
    """An error, with what was seen in a run."""
    assert found.witness is not None
    told = f"{_told(found.witness, subject)}, in float64 at {scale}"
    return replace(static, code=code, message=message, facts=(*static.facts, ("witness", told)))


def _told(witness: Witness, subject: Subject) -> str:
    """What a run showed: `y[2] changed when X[3] did, of 7 positions`."""
    reads, position = witness.reads, witness.position
    match subject:
        case Subject.CAUSALITY:
            return f"y[{reads}] changed when X[{position}] did, of {witness.length} positions"
        case Subject.LENGTH:
            cut = witness.length - position
            return (
                f"y[{reads}] changed when the last {cut} of {witness.length} positions were cut off"
            )
        case Subject.BATCH:
            return f"y of row {reads} changed when other rows of the batch did"


@dataclass(eq=False)
class Oracle:
    """Runs the blocks of a design on random streams. Needs torch.

    `noise` is the standard deviation added to every parameter, so that none is at a special value.
    """

    stack: Stack
    seed: int = 0
    noise: float = 0.1
    magnitudes: Sequence[float] = MAGNITUDES

    def __post_init__(self) -> None:
        import torch

        from gabc.runtime.model import build
        from gabc.runtime.reference import ReferenceModel

        generator = torch.Generator().manual_seed(self.seed)
        model = build(self.stack, vocab_size=2, seed=self.seed, optimised=False).double()
        state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            standard = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            state[name] = state[name] + self.noise * standard
        self._model: ReferenceModel = ReferenceModel(self.stack, state)
        self._generator = generator
        self._runs: dict[tuple[int, float], tuple[Tensor, Tensor]] = {}

    def run(self, stream: Tensor) -> Tensor:
        """The stream after each block, side by side: [B, L, n_layers * D].

        After each, since a second block can undo what the first has done (a reversal).
        """
        import torch

        z: dict[str, Tensor] = {}
        after: list[Tensor] = []
        with torch.no_grad():
            for layer in range(len(self.stack.blocks)):
                stream, z = self._model.block(layer, stream, z)
                after.append(stream)
        return torch.cat(after, dim=-1)

    def fresh(self, length: int, rows: int = ROWS, magnitude: float = 1.0) -> Tensor:
        """A random stream [rows, length, D]."""
        import torch

        shape = (rows, length, self.stack.scale.D)
        return magnitude * torch.randn(shape, generator=self._generator, dtype=torch.float64)

    def streams(self, lengths: Sequence[int]) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Random streams with their results, and the magnitude that they were drawn with.

        The three tests share them: a run of a long sequence is what costs.
        """
        for length in lengths:
            for magnitude in self.magnitudes:
                if (length, magnitude) not in self._runs:
                    stream = self.fresh(length, magnitude=magnitude)
                    self._runs[length, magnitude] = stream, self.run(stream)
                yield *self._runs[length, magnitude], magnitude

    def future(self, lengths: Sequence[int] = LENGTHS) -> Witness | None:
        """A position whose result changes when later positions do.

        All cuts are rows of one run; what that finds is confirmed by a run of its own, since rows
        may mix.
        """
        import torch

        for stream, result, magnitude in self.streams(lengths):
            length = stream.shape[1]
            cuts = _cuts(length)
            variants: list[Tensor] = []
            for last in cuts:
                changed = stream.clone()
                changed[:, last + 1 :] = self.fresh(length - last - 1, magnitude=magnitude)
                variants.append(changed)
            if not variants:
                continue
            together = self.run(torch.cat(variants)).chunk(len(cuts))
            for last, changed, seen in zip(cuts, variants, together, strict=True):
                past = result[:, : last + 1]
                if _first_change(past, seen[:, : last + 1]) is None:
                    continue
                reads = _first_change(past, self.run(changed)[:, : last + 1])
                if reads is not None:
                    return self._pair(stream, changed, result, reads, last)
        return None

    def _pair(
        self, stream: Tensor, changed: Tensor, result: Tensor, reads: int, last: int
    ) -> Witness:
        """One later position that alone changes the result; the first changed one if none does."""
        length = stream.shape[1]
        for position in range(last + 1, length):
            single = stream.clone()
            single[:, position] = changed[:, position]
            found = _first_change(result[:, : last + 1], self.run(single)[:, : last + 1])
            if found is not None:
                return Witness(found, position, length)
        return Witness(reads, last + 1, length)

    def prefix(self, lengths: Sequence[int] = LENGTHS) -> Witness | None:
        """A position whose result changes when the sequence ends earlier, behind it."""
        for stream, result, _ in self.streams(lengths):
            length = stream.shape[1]
            for last in _cuts(length) if length < SPARSE else _borders(length):
                short = self.run(stream[:, : last + 1])
                reads = _first_change(result[:, : last + 1], short)
                if reads is not None:
                    return Witness(reads, last + 1, length)
        return None

    def rows(self, lengths: Sequence[int] = LENGTHS) -> Witness | None:
        """A row whose result changes when other rows do, or when they are left out."""
        for stream, result, magnitude in self.streams(lengths):
            length = stream.shape[1]
            for row in range(ROWS if length < SPARSE else 1):
                if row == 1:
                    seen = self.run(stream[row : row + 1])
                else:
                    changed = self.fresh(length, magnitude=magnitude)
                    changed[row] = stream[row]
                    seen = self.run(changed)[row : row + 1]
                if _first_change(result[row : row + 1], seen) is not None:
                    return Witness(row, (row + 1) % ROWS, length)
        return None


def _cuts(length: int) -> list[int]:
    """Last positions of a past: at both ends, in the middle, and about block borders."""
    wanted = (0, 1, 2, 3, length // 3, length // 2, length - 3, length - 2)
    return sorted({cut for cut in wanted if 0 <= cut < length - 1})


def _borders(length: int) -> list[int]:
    """Of a long sequence: a prefix takes a run of its own."""
    return [1, length // 2, length - 3, length - 2]


def _first_change(before: Tensor, after: Tensor) -> int | None:
    """The first position of [B, L, D] that differs; not-a-number equals itself only."""
    import torch

    same = torch.isclose(before, after, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    changed = (~same).any(dim=0).any(dim=-1).nonzero()
    return int(changed[0]) if len(changed) else None
