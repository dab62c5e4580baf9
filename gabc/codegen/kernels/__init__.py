"""Groups of operations as Triton kernels and as plain torch: the file beside a generated module."""
