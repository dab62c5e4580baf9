"""Whether two designs are the same function: canonical form, structural hash, fingerprint."""

from gabc.check.identity.canonical import Canonical, canonical, canonical_unit, structural_hash
from gabc.check.identity.difference import Difference, UnitChange, compare
from gabc.check.identity.fingerprint import fingerprint

__all__ = [
    "Canonical",
    "Difference",
    "UnitChange",
    "canonical",
    "canonical_unit",
    "compare",
    "fingerprint",
    "structural_hash",
]
