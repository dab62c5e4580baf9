"""gabc compiles GAB designs, causal blocks of language models, to PyTorch.

`check` and `compile` are pure: they print nothing, read neither clock nor network, and do not raise
for a fault of the design. Nothing is imported before it is used, and neither of them needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gabc.api import Compiled as Compiled
    from gabc.api import NoDesignError as NoDesignError
    from gabc.api import check as check
    from gabc.api import compile as compile
    from gabc.check.report import Report as Report

__version__ = "0.1.0"
__all__ = ["Compiled", "NoDesignError", "Report", "__version__", "check", "compile"]

_API = ("Compiled", "NoDesignError", "Report", "compile")


def __getattr__(name: str) -> object:
    if name in _API:
        from gabc import api

        return getattr(api, name)
    if name == "check":
        from importlib import import_module

        return import_module("gabc.check")  # the package can be called
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
