"""Hand-written kernels, called by generated modules.

Only generated code and the tools that run it import this package: it needs torch, while checking
and compiling a design do not. Triton is imported by the first call on a CUDA tensor, never before;
the file of a design's generated kernels imports it when it is loaded.

Each kernel is a folder: `reference.py` says what it computes in plain torch, `triton.py` is the
fused form, `op.py` registers the operators, of which the device chooses the implementation.
`cases.py` lists what the two are compared on, `specimens.py` what is compiled without a GPU.
Import a kernel from its folder: `from gabc.kernels.rope import rope`.
"""
