"""What generated kernels share: operands as rows, launches, and registration as torch operators.

`gabc compile --backend torch` writes plain torch; `--backend triton` writes, beside the module, a
file with two Triton kernels for every group of operations, and the same group in plain torch,
forward and backward: the meaning, the implementation on a CPU, and in float64 on any device.

A group works on rows of one width, the last axis; the other axes are the rows. Floats are computed
in float32 and rounded once, to the dtype that torch promotes the operands of a result to.
"""

from . import tile
from .operators import register
from .spec import Fused, Operand, Result

__all__ = ["Fused", "Operand", "Result", "register", "tile"]
