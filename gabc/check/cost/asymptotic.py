"""How a polynomial grows with the length of the sequence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from gabc.dims import Dim
from gabc.dims.poly import Application, Atom
from gabc.ops.cost import LOG_LENGTH

_WRITTEN = re.compile(
    r"O\(\s*(?:(?P<one>1)|(?:L(?:\s*(?:\^|\*\*)\s*(?P<power>\d+))?(?P<linear>))?"
    r"\s*\*?\s*(?:log(?:\^(?P<logs>\d+))?\s*\(?L\)?(?P<log>))?)\s*\)"
)
(_LOG,) = LOG_LENGTH.symbols()


@dataclass(frozen=True, slots=True, order=True)
class Asymptotic:
    """`L^power log(L)^logs` up to a constant factor; what grows more slowly is smaller."""

    power: Fraction = Fraction(0)
    logs: int = 0

    @staticmethod
    def of(dim: Dim) -> Asymptotic:
        """The class of a polynomial in L; all other sizes count as constants.

        Terms that cancel must have cancelled already: the largest term decides. Zero is `O(1)`.
        """
        classes = [_of_monomial(factors) for factors, _ in dim.terms]
        return max(classes, default=Asymptotic())

    @staticmethod
    def parse(text: str) -> Asymptotic:
        """`O(1)`, `O(log L)`, `O(L)`, `O(L log L)`, `O(L^2)`, ... Raises `ValueError`."""
        match = _WRITTEN.fullmatch(text.strip())
        if match is None or match[0].replace(" ", "") == "O()":
            raise ValueError(
                f"`{text}` is no class of growth: write O(1), O(log L), O(L), O(L log L) or O(L^2)"
            )
        power = Fraction(match["power"] or 1) if match["linear"] is not None else Fraction(0)
        logs = int(match["logs"] or 1) if match["log"] is not None else 0
        return Asymptotic(power, logs)

    def __mul__(self, other: Asymptotic) -> Asymptotic:
        return Asymptotic(self.power + other.power, self.logs + other.logs)

    def __pow__(self, exponent: int) -> Asymptotic:
        return Asymptotic(self.power * exponent, self.logs * exponent)

    def __str__(self) -> str:
        length = {Fraction(0): "", Fraction(1): "L"}.get(self.power, f"L^{self.power}")
        logarithm = {0: "", 1: "log L"}.get(self.logs, f"log^{self.logs} L")
        return f"O({f'{length} {logarithm}'.strip() or '1'})"


def _of_monomial(factors: tuple[tuple[Atom, int], ...]) -> Asymptotic:
    result = Asymptotic()
    for atom, exponent in factors:
        result = result * _of_atom(atom) ** exponent
    return result


def _of_atom(atom: Atom) -> Asymptotic:
    if isinstance(atom, Application):
        return _of_application(atom)
    return {"L": Asymptotic(Fraction(1)), _LOG: Asymptotic(Fraction(0), 1)}.get(atom, Asymptotic())


def _of_application(atom: Application) -> Asymptotic:
    """Exact growth, not a bound: a divisor may hold an application, too."""
    parts = [Asymptotic.of(arg) for arg in atom.args]
    match atom.fn:
        case "min" | "mod":
            # A remainder stays below its divisor, and never exceeds what is divided.
            return min(parts)
        case "floordiv" | "div":
            return max(parts[0] * parts[1] ** -1, Asymptotic())
        case "floor" | "ceil" | "round":
            return max(parts[0], Asymptotic())
        case _:
            return max(parts)
