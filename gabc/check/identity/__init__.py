"""Whether two designs are the same function: canonical form and structural hash.

The functional fingerprint, which runs a design, is `gabc.runtime.fingerprint`.
"""

from gabc.check.identity.canonical import Canonical, canonical, canonical_unit, structural_hash
from gabc.check.identity.difference import Difference, UnitChange, compare

__all__ = [
    "Canonical",
    "Difference",
    "UnitChange",
    "canonical",
    "canonical_unit",
    "compare",
    "structural_hash",
]
