"""The proof that a design is causal, keeps batch rows apart and does not depend on the length.

`prove.prove` is the proof, `derivation` what it rests on, value by value, `repair` offers fixes.
The test beside it is `gabc.runtime.oracle.confirm`.
"""
