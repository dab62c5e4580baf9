"""The commands, one module each."""

import gc

# A command makes many objects that live until it ends: looking for cycles among them at Python's
# default pace is a tenth of the time of `gabc check`.
gc.set_threshold(50_000, 20, 100)
