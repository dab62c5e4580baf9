"""`decide`: what a design promises beside `gab`, held against its proofs and its costs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from gabc.check.causality.verdict import Proofs, Property, Verdict
from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Related
from gabc.diagnostics.suggest import nearest
from gabc.dims import Dim
from gabc.elaborate.scales import VOCAB_SIZE
from gabc.graph.instance import Instance, Scale, Stack
from gabc.graph.types import ONE
from gabc.syntax import tree
from gabc.syntax.source import Span

if TYPE_CHECKING:
    from gabc.check.cost import Amounts, Asymptotic, Costs

PROOFS = ("causal", "batch_independent", "length_invariant")
GROWING = ("time", "state")
QUANTITIES = (*PROOFS, *GROWING, "params")

_SYNONYMS = {
    "batch_independence": "batch_independent",
    "batch_invariant": "batch_independent",
    "causality": "causal",
    "flops": "time",
    "length_independence": "length_invariant",
    "length_independent": "length_invariant",
    "memory": "state",
    "parameters": "params",
}
"""What these are called elsewhere; by letters `length_independent` is near `batch_independent`."""

_COMPARED = re.compile(r"(\w+)\s*(<=|>=|==|!=|<|>)\s*(.+)", re.DOTALL)
_WITHIN = re.compile(r"(\w+)\s+within\s+(\d+(?:\.\d+)?)\s*%", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_BOUNDS: dict[str, Callable[[Asymptotic, Asymptotic], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}
_FORMS = {
    **dict.fromkeys(PROOFS, "require {}"),
    **dict.fromkeys(GROWING, "require {} <= O(L)"),
    "params": "require params within 20%",
}


def decide(stack: Stack, proofs: Proofs, contracts: Sequence[tree.Contract]) -> list[Diagnostic]:
    """What does not hold of a design at the stack's scale, in the order of the contracts.

    `time` is the forward pass over one sequence of L tokens, `state` what a decoder keeps of it in
    bytes, `params` all trained numbers with a vocabulary of 32,000. They are those of the compiled
    form: attention that is written out with a window costs what `attend` does. A property that the
    proof refutes has its own error already, so that its contract adds none.
    """
    decider = _Decider(stack, proofs)
    found = (decider.contract(contract) for contract in contracts)
    return [diagnostic for diagnostic in found if diagnostic is not None]


def reference_parameters(scale: Scale) -> int:
    """The parameters of the GPT that a scale is named after: with 32,000 tokens and a tied head.

    12 D^2 weights and 6 D gains and biases in each block: the sizes in genesys.md's table.
    """
    width = scale.D
    block = 12 * width**2 + 6 * width
    return VOCAB_SIZE * width + width + scale.n_layers * block


@dataclass
class _Decider:
    stack: Stack
    proofs: Proofs

    @cached_property
    def compiled(self) -> Stack:
        # Most designs promise `causal` only: what costs need is loaded when it is asked for.
        from gabc.passes import optimise

        return optimise(self.stack)

    @cached_property
    def costs(self) -> Costs:
        from gabc.check.cost import cost

        return cost(self.compiled)

    def contract(self, contract: tree.Contract) -> Diagnostic | None:
        text = contract.text.strip()
        within, compared = _WITHIN.fullmatch(text), _COMPARED.fullmatch(text)
        match = within or compared
        name = text if match is None else match[1]
        if name not in QUANTITIES:
            return _unknown(contract, name)
        if name in PROOFS:
            return _unreadable(contract, name) if match else self._proof(contract, name)
        if within is not None and name == "params":
            return self._within(contract, float(within[2]))
        if compared is None:
            return _unreadable(contract, name)
        if compared[3].startswith("O"):
            return self._growth(contract, name, compared[2], compared[3])
        if _NUMBER.fullmatch(compared[3]) is None or compared[2] not in _COMPARISONS:
            return _unreadable(contract, name)
        return self._number(contract, name, compared[2], compared[3])

    # ---------------------------------------------------------------- proofs

    def _proof(self, contract: tree.Contract, name: str) -> Diagnostic | None:
        proved: Property = {
            "causal": self.proofs.causality,
            "batch_independent": self.proofs.batch,
            "length_invariant": self.proofs.length,
        }[name]
        if proved.verdict in (Verdict.PROVED, Verdict.REFUTED):
            return None
        return self._refuted(
            contract,
            f"`{self.stack.name}` is not proved {name.replace('_', ' ')}",
            expected="proved",
            actual=str(proved.verdict),
            help=f"`gabc show --causality` says where the proof loses track; or drop `require "
            f"{name}`, and the design is tested instead",
        )

    # ---------------------------------------------------------------- growth

    def _growth(
        self, contract: tree.Contract, name: str, comparison: str, written: str
    ) -> Diagnostic | None:
        if name not in GROWING or comparison not in _BOUNDS:
            return _unreadable(contract, name)
        try:
            from gabc.check.cost import Asymptotic

            bound = Asymptotic.parse(re.sub(r"L\s*\*\s*L\b", "L ** 2", written))
        except ValueError:
            return _unreadable(contract, name)
        found = _class(name, self.costs.total)
        if _BOUNDS[comparison](found, bound):
            return None
        what = "the time of a forward pass" if name == "time" else "the state of a decoder"
        return self._refuted(
            contract,
            f"{what} grows as {found}, and the contract is `{contract.text}`",
            expected=f"{comparison} {bound}",
            actual=str(found),
            related=tuple(self._responsible(name, found)) if found >= bound else (),
            help=_growth_help(name, found, bound),
        )

    def _responsible(self, name: str, found: Asymptotic) -> Iterator[Related]:
        """The units whose own work grows as fast as the whole, each where it is constructed."""
        instances = dict(_instances(self.compiled))
        seen: set[Span] = set()
        for unit in self.costs.units:
            if _class(name, unit.own) != found or unit.path not in instances:
                continue
            span = instances[unit.path].span
            if span not in seen:
                seen.add(span)
                yield Related(span, f"`{unit.path}` ({unit.unit}) grows as {found}")

    # ---------------------------------------------------------------- numbers

    def _number(
        self, contract: tree.Contract, name: str, comparison: str, written: str
    ) -> Diagnostic | None:
        limit = float(written)
        if name == "time":
            return _unreadable(contract, name)
        dim = self.costs.parameters if name == "params" else self.costs.total.state
        number = dim.as_int()
        if number is None:
            found = _class(name, self.costs.total)
            return self._refuted(
                contract,
                f"the state of a decoder grows as {found}, which no number of bytes bounds",
                expected=f"{comparison} {limit:,.0f} bytes",
                actual=str(found),
                related=tuple(self._responsible(name, found)),
            )
        if _COMPARISONS[comparison](number, limit):
            return None
        what = "parameters" if name == "params" else "bytes of state"
        return self._refuted(
            contract,
            f"`{self.stack.name}` has {number:,} {what} at {self.stack.scale.name}, and the "
            f"contract is `{contract.text}`",
            expected=f"{comparison} {limit:,.0f}",
            actual=f"{number:,}",
            related=tuple(self._largest(name)) if number > limit else (),
        )

    def _within(self, contract: tree.Contract, percent: float) -> Diagnostic | None:
        scale = self.stack.scale
        number, reference = self.costs.parameters.as_int(), reference_parameters(scale)
        assert number is not None, "a stack has no parameters sized by the sequence"
        if abs(number - reference) * 100 <= percent * reference:
            return None
        off = 100 * (number - reference) / reference
        return self._refuted(
            contract,
            f"`{self.stack.name}` has {number:,} parameters at {scale.name}, {abs(off):.1f}% "
            f"{'more' if off > 0 else 'fewer'} than the reference of {reference:,}",
            expected=f"{reference * (1 - percent / 100):,.0f} to "
            f"{reference * (1 + percent / 100):,.0f}",
            actual=f"{number:,}",
            related=tuple(self._largest("params")) if off > 0 else (),
            help=f"the reference is a GPT of this scale with {VOCAB_SIZE:,} tokens; widen or "
            "narrow the units",
        )

    def _largest(self, name: str) -> Iterator[Related]:
        """The largest child of the block, which is where to save."""
        instances = dict(_instances(self.compiled))
        sizes: dict[str, int] = {}
        for unit in self.costs.units:
            _, _, below = unit.path.partition(".")
            amount = unit.parameters if name == "params" else unit.amounts.state
            number = amount.as_int()
            if number and below and unit.path in instances:
                sizes[unit.path] = number * unit.copies
        if sizes:
            path = max(sizes, key=lambda path: (sizes[path], -len(path)))
            what = "parameters" if name == "params" else "bytes"
            yield Related(instances[path].span, f"`{path}` has {sizes[path]:,} {what} in all")

    def _refuted(
        self,
        contract: tree.Contract,
        message: str,
        *,
        expected: str,
        actual: str,
        help: str = "",
        related: tuple[Related, ...] = (),
    ) -> Diagnostic:
        return Diagnostic(
            "GAB0710",
            message,
            contract.span,
            help=help,
            expected=expected,
            actual=actual,
            related=related,
            facts=(("scale", self.stack.scale.name),),
        )


def _class(name: str, amounts: Amounts) -> Asymptotic:
    """Of one sequence; FLOPs that a window makes unnecessary do not count."""
    dim: Dim = amounts.needed if name == "time" else amounts.state
    from gabc.check.cost import Asymptotic

    return Asymptotic.of(dim.substitute({"B": ONE}))


def _growth_help(name: str, found: Asymptotic, bound: Asymptotic) -> str:
    if found < bound:
        return f"it is better than promised: write `require {name} <= {_written(found)}`"
    if name == "time":
        return (
            "a window bounds attention (`attend(q, k, v, window=...)`); a recurrence written as "
            f"`scan` is linear; or promise `time <= {_written(found)}`"
        )
    return (
        "a window bounds what attention keeps, a recurrence keeps one state; or promise `state <= "
        f"{_written(found)}`"
    )


def _written(growth: Asymptotic) -> str:
    """A class as a contract spells it."""
    text = str(growth)
    return text.replace("^", " ** ").replace("L log L", "L * log(L)").replace("O(log L", "O(log(L)")


def _instances(stack: Stack) -> Iterator[tuple[str, Instance]]:
    """Every instance by the path that its costs have: runs of equal blocks stand for one."""
    first = 0
    for _, group in groupby(stack.blocks, key=id):
        run = list(group)
        last = first + len(run) - 1
        label = f"blocks.{first}" if first == last else f"blocks.{first}-{last}"
        if len(run) == len(stack.blocks):
            label = "blocks"
        for path, instance in run[0].walk():
            yield (f"{label}.{path}" if path else label), instance
        first = last + 1


def _unknown(contract: tree.Contract, name: str) -> Diagnostic:
    near = _SYNONYMS.get(name) or nearest(name, QUANTITIES)
    start = contract.span.text.find(name)
    span = Span(
        contract.span.source, contract.span.start + start, contract.span.start + start + len(name)
    )
    fixes = (Fix(f"write `{near}`", (Edit(span, near),), Applicability.MAYBE),) if near else ()
    return Diagnostic(
        "GAB0711",
        f"`{name}` is nothing that a contract can be about",
        contract.span,
        help=f"did you mean `{near}`?" if near else f"contracts are about {', '.join(QUANTITIES)}",
        fixes=fixes,
    )


def _unreadable(contract: tree.Contract, name: str) -> Diagnostic:
    help = f"write `{_FORMS[name].format(name)}`"
    if name in GROWING:
        help += ", or O(1), O(log(L)), O(L * log(L)), O(L ** 2); with `<=`, `<` or `==`"
    elif name == "params":
        help += " or `require params <= 5000000`"
    return Diagnostic(
        "GAB0711", f"the contract `{contract.text}` cannot be read", contract.span, help=help
    )
