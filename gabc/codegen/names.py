"""Names in generated modules: the author's where Python and torch allow it."""

from __future__ import annotations

import builtins
import keyword

MODULE_GLOBALS = frozenset({"F", "Init", "Tensor", "init", "math", "nn", "self", "torch"})
"""Names that generated code itself needs."""

_RESERVED = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | MODULE_GLOBALS


def local_name(name: str) -> str:
    """A local variable for a value called `name`; `skip[3]` gives `skip_3`."""
    name = name.replace("[", "_").replace("]", "").replace("-", "minus_")
    if name.startswith("__"):  # Python would mangle it
        name = f"_{name.lstrip('_')}"
    return f"{name}_" if name in _RESERVED else name


def indexed(path: str) -> str:
    """The path of a module or parameter as Python: `experts.0.weight` is `experts[0].weight`."""
    first, *rest = path.split(".")
    return first + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest)
