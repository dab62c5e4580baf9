"""Generated text as a Python module whose tracebacks show its lines and those of the design."""

from __future__ import annotations

import functools
import hashlib
import linecache
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

import torch
from torch import nn

from gabc.codegen.emit import Module
from gabc.codegen.kernels.file import ALIAS
from gabc.codegen.source_map import annotate


def load(module: Module) -> type[nn.Module]:
    """Execute the text of a module and return the class of its model.

    The Python module is registered in `sys.modules` under a name made from a hash of the text: the
    same text is executed once. An exception in `forward` gets the lines of the design as notes.
    """
    name = _name(module.model, module.text + module.kernels)
    if name not in sys.modules:
        with _kernels(module):
            result = _executed(module.text, name)
        setattr(result, _LOADED, _annotating(result, module, f"<{name}>"))
    return cast("type[nn.Module]", getattr(sys.modules[name], _LOADED))


_LOADED = "__gabc_model__"


def _name(what: str, text: str) -> str:
    return f"gabc.compiled.{what}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@contextmanager
def _kernels(module: Module) -> Iterator[None]:
    """The kernels of a module, while it is executed under the name by which it imports them."""
    if not module.kernels:
        yield
        return
    written = re.search(rf"^import (\w+) as {ALIAS}$", module.text, re.MULTILINE)
    assert written is not None
    name = _name(written[1], module.kernels)
    if name not in sys.modules:
        _executed(module.kernels, name)
    before = sys.modules.get(written[1])
    sys.modules[written[1]] = sys.modules[name]
    try:
        yield
    finally:
        del sys.modules[written[1]]
        if before is not None:
            sys.modules[written[1]] = before


def _executed(text: str, name: str) -> ModuleType:
    file = f"<{name}>"
    # Without a modification time the cache keeps the lines, though there is no such file.
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    result = ModuleType(name)
    result.__file__ = file
    sys.modules[name] = result  # dataclasses and pickling look a class's module up by its name
    try:
        exec(compile(text, file, "exec"), result.__dict__)
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
