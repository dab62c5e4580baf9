"""Bounds on what is read: a design is a page or two, and checking one must always end, fast."""

MAX_FILE_BYTES = 1_000_000
MAX_TOKENS = 100_000
MAX_INTEGER = 10**12
# Brackets and braces inside each other.
MAX_NESTING = 64
# Nodes inside each other; every walk of the tree is recursive, and a long sum is a deep tree.
MAX_TREE_DEPTH = 256
# Parts that do not parse and are explained; a text with more of them is hardly a design.
MAX_SYNTAX_ERRORS = 200
