"""Independent references for the seeds, written from their papers and not from the `.gab` files.

Every `reference_<seed>.py` has two public functions:

- `shapes(width)`: full parameter name -> shape, for one block of width D;
- `block(x, parameters)`: one block, x [B, L, D] -> [B, L, D], in the dtype of its arguments.

Parameter names are those of the GAB designs in `examples/` (unit path joined by dots).
"""
