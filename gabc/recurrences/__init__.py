"""Recurrences: what the step of a `scan` is, told by decomposing it as an affine map of its states.

`solve` decomposes one scan and writes its parallel form, where there is one; `classify` says what
it found of every scan of a design. `gabc.passes` puts the parallel forms in place, `gabc.check`
warns of loops.
"""

from __future__ import annotations
