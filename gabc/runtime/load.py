"""Generated text as a Python module whose tracebacks show its lines and those of the design."""

from __future__ import annotations

import functools
import hashlib
import linecache
import sys
from types import ModuleType
from typing import cast

import torch
from torch import nn

from gabc.codegen.emit import Module
from gabc.codegen.source_map import annotate


def load(module: Module) -> type[nn.Module]:
    """Execute the text of a module and return the class of its model.

    The Python module is registered in `sys.modules` under a name made from a hash of the text: the
    same text is executed once. An exception in `forward` gets the lines of the design as notes.
    """
    digest = hashlib.sha256(module.text.encode()).hexdigest()[:16]
    name = f"gabc.compiled.{module.model}_{digest}"
    if name not in sys.modules:
        sys.modules[name] = _executed(module, name)
    return cast("type[nn.Module]", getattr(sys.modules[name], _LOADED))


_LOADED = "__gabc_model__"


def _executed(module: Module, name: str) -> ModuleType:
    file = f"<{name}>"
    # Without a modification time the cache keeps the lines, though there is no such file.
    linecache.cache[file] = (len(module.text), None, module.text.splitlines(keepends=True), file)
    result = ModuleType(name)
    result.__file__ = file
    sys.modules[name] = result  # dataclasses and pickling look a class's module up by its name
    try:
        exec(compile(module.text, file, "exec"), result.__dict__)
        setattr(result, _LOADED, _annotating(result, module, file))
    except BaseException:
        del sys.modules[name]
        raise
    return result


def _annotating(loaded: ModuleType, module: Module, file: str) -> type[nn.Module]:
    """The model's class, whose `forward` says which lines of the design failed."""
    base = cast("type[nn.Module]", getattr(loaded, module.model))

    @functools.wraps(base.forward)
    def forward(self: nn.Module, *args: object, **kwargs: object) -> object:
        if torch.compiler.is_compiling():
            return base.forward(self, *args, **kwargs)
        try:
            return base.forward(self, *args, **kwargs)
        except Exception as exception:
            annotate(exception, file, module.source_map)
            raise

    attributes = {"forward": forward, "__module__": base.__module__, "__doc__": base.__doc__}
    return cast("type[nn.Module]", type(base.__name__, (base,), attributes))
