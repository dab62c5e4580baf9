"""Every diagnostic code that exists. A code is stable and never reused.

Families: 00xx syntax, 01xx names, 02xx shapes, 03xx Z, 04xx causality and batch, 05xx parameters
and initialisation, 06xx kernels and numerics, 07xx cost and limits, 09xx internal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """`title` names the fault in a few words; `severity` is `error` or `warning`."""

    code: str
    title: str
    phase: str
    severity: str = "error"


_PHASES = {
    "00": "syntax",
    "01": "names",
    "02": "shapes",
    "03": "z",
    "04": "causality",
    "05": "parameters",
    "06": "numerics",
    "07": "limits",
    "09": "internal",
}


def _codes(*entries: tuple[str, str] | tuple[str, str, str]) -> dict[str, Code]:
    table = {}
    for code, title, *severity in entries:
        assert code not in table, code
        table[code] = Code(code, title, _PHASES[code[3:5]], *severity)
    return table


CATALOGUE = _codes(
    # ---- syntax (parser)
    ("GAB0001", "unexpected text"),
    ("GAB0002", "unclosed bracket or brace"),
    ("GAB0003", "bad character or literal"),
    ("GAB0004", "misspelt keyword"),
    ("GAB0005", "member out of order"),
    ("GAB0006", "statement after return"),
    ("GAB0007", "positional argument after a keyword argument"),
    ("GAB0008", "line begins with an operator"),
    ("GAB0009", "forward without a body, or not ending in return"),
    ("GAB0010", "reserved word used as a name"),
    ("GAB0011", "written as in Python"),
    # ---- names
    ("GAB0101", "unknown name"),
    ("GAB0102", "unknown module"),
    ("GAB0103", "module has no such name"),
    ("GAB0104", "name defined twice"),
    ("GAB0105", "name cannot be rebound"),
    ("GAB0106", "unknown argument"),
    ("GAB0107", "missing argument"),
    ("GAB0108", "too many arguments"),
    ("GAB0109", "value of the wrong kind"),
    ("GAB0110", "not callable"),
    ("GAB0111", "units contain each other"),
    ("GAB0112", "no unit named like the design"),
    ("GAB0113", "value never used", "warning"),
    ("GAB0114", "condition is not static"),
    ("GAB0115", "cannot be used here"),
    ("GAB0116", "import never used", "warning"),
    ("GAB0117", "hyperparameter or dim never used", "warning"),
    ("GAB0118", "test states nothing", "warning"),
    ("GAB0119", "file defines nothing", "warning"),
    # ---- shapes
    ("GAB0201", "dims differ"),
    ("GAB0202", "ranks differ"),
    ("GAB0203", "dim does not divide"),
    ("GAB0204", "bad axis"),
    ("GAB0205", "bad pattern"),
    ("GAB0206", "result has the wrong shape"),
    ("GAB0207", "B or L used as a number"),
    ("GAB0208", "requirement fails"),
    ("GAB0209", "dim below one"),
    ("GAB0210", "bad index"),
    # ---- Z
    ("GAB0301", "Z key never written"),
    ("GAB0302", "Z key not declared"),
    ("GAB0303", "Z key written with another type"),
    ("GAB0304", "optional Z key read without a default"),
    ("GAB0305", "Z used where it does not exist"),
    ("GAB0306", "Z key written twice in one statement"),
    ("GAB0307", "Z key written and never read", "warning"),
    ("GAB0308", "declared write never made"),
    ("GAB0309", "declared read never made", "warning"),
    # ---- causality, length, batch
    ("GAB0401", "reads later positions"),
    ("GAB0402", "depends on the length of the sequence"),
    ("GAB0403", "mixes rows of the batch"),
    ("GAB0404", "Z entry without a time axis depends on the sequence"),
    ("GAB0405", "may read later positions, though no run showed it"),
    ("GAB0406", "not proved, only tested", "warning"),
    ("GAB0407", "neither proved nor refuted", "warning"),
    # ---- parameters
    ("GAB0501", "bad initialiser"),
    ("GAB0502", "parameter never used", "warning"),
    ("GAB0503", "parameter sized by a dim of the call"),
    ("GAB0504", "factor is constant", "warning"),
    ("GAB0505", "shared unit differs by layer"),
    # ---- limits
    ("GAB0701", "limit exceeded"),
    ("GAB0710", "contract does not hold"),
    ("GAB0711", "contract cannot be read"),
    ("GAB0720", "recurrence is a loop over time", "warning"),
)
