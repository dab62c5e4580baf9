"""Bounds on what is read: a design is a page or two, and checking one must always end, fast."""

MAX_FILE_BYTES = 1_000_000
MAX_TOKENS = 20_000
MAX_INTEGER = 10**12
# Characters of a name, and of a string or a number as written.
MAX_NAME = 100
MAX_LITERAL = 1_000
# Units, functions, tests and imports of a file.
MAX_DEFINITIONS = 500
# Brackets and braces inside each other.
MAX_NESTING = 64
# Nodes inside each other; every walk of the tree is recursive, and a long sum is a deep tree.
MAX_TREE_DEPTH = 256
