"""The proof that a design is causal, keeps batch rows apart and does not depend on the length.

A value carries *legs* (which positions it may depend on), *fills* with their zones (where it is a
known constant) and *values* (ints and floats that follow from positions); see `domain`. Rules for
the operations stand with the primitives (`Primitive.dependence`). `prove.prove` is the proof,
`oracle.confirm` the test beside it, `derivation` what the proof rests on, value by value.
"""
