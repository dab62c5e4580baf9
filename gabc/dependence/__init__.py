"""What a value depends on: legs and zones over time and batch, and how operations move them.

A value carries *legs* (which positions it may depend on), *fills* with their zones (where it is a
known constant) and *values* (ints and floats that follow from positions); see `domain`. The rules
of the operations stand with the primitives (`Primitive.dependence`), and `gabc.check.causality`
proves with them.
"""
