"""A design as one readable PyTorch module."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field

from gabc.codegen.helpers import import_lines, library, pasted
from gabc.codegen.kernels.file import ALIAS
from gabc.codegen.layout import Printed, printed
from gabc.codegen.model import MODEL_NAMES, ModelClass
from gabc.codegen.names import MODULE_GLOBALS, local_name
from gabc.codegen.source_map import SourceMap, source_map_of
from gabc.codegen.units import ClassTable, default_expressions
from gabc.graph.instance import Stack
from gabc.graph.names import unused

VOCAB_SIZE = 32_000


@dataclass(frozen=True, slots=True)
class Module:
    """A generated module: its text, the map back to the design, and the names of its classes.

    `model` is the class of the whole design; `classes` are those of its units, in the file's order.
    """

    text: str
    source_map: SourceMap
    model: str
    classes: tuple[str, ...]
    kernels: str = ""
    """The text of the file beside it, which it imports by the name of `kernels_name`."""


@dataclass
class _Required:
    """The helper functions that the text calls."""

    names: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> str:
        if name not in library().helpers:
            raise KeyError(f"gabc.runtime.functional has no {name}")
        self.names.add(name)
        return name


def emit(stack: Stack, *, standalone: bool, vocab_size: int = VOCAB_SIZE) -> Module:
    """Write the module of a design.

    The text imports torch and `gabc`, or with `standalone` torch alone, the functions it needs
    being pasted. It is the same for every hash seed, and as `ruff format` leaves it.
    """
    require = _Required()
    reserved = frozenset(library().helpers)
    if is_fused(stack):
        if standalone:
            raise ValueError("a standalone module has no kernels: emit it before it is fused")
        reserved |= {ALIAS}
    model_name = unused(local_name(stack.name), MODULE_GLOBALS | MODEL_NAMES | reserved)
    taken = {model_name, *MODULE_GLOBALS, *MODEL_NAMES, *reserved}
    table = ClassTable(require, reserved, taken, default_expressions(stack))
    for block in stack.blocks:
        table.add(block, suffix="Block" if block.name == stack.name else "")
    model = ModelClass(stack, model_name, vocab_size, table.of, require)
    classes = [*table.lines.values(), model.lines()]
    body: list[Printed] = []
    for lines in classes:
        body += [Printed("", None), Printed("", None), *printed(lines)]
    kernels = table.kernels.text(stack.name)
    beside = kernels_name(stack) if kernels else ""
    rows = [*_head(stack, body, require.names, standalone, beside), *body]
    text = "\n".join(row.text for row in rows) + "\n"
    return Module(text, source_map_of(rows), model_name, tuple(table.lines), kernels)


def is_fused(stack: Stack) -> bool:
    """Whether `gabc.passes.fusion.fuse` has made groups in it."""
    instances = (instance for block in stack.blocks for _, instance in block.walk())
    graphs = (instance.graph for instance in instances if instance.graph is not None)
    return any(node.op == "fused" for graph in graphs for node in graph.nodes)


def kernels_name(stack: Stack) -> str:
    """The Python module with a design's kernels."""
    return f"{stack.name.lower()}_kernels"


def _head(
    stack: Stack, body: list[Printed], names: set[str], standalone: bool, kernels: str
) -> list[Printed]:
    """Docstring, imports and pasted helpers."""
    imports, helpers = pasted(names) if standalone else ([], [])
    code = "\n".join([*(row.text for row in body), *helpers])
    texts = [*_docstring(stack), "", "from __future__ import annotations", ""]
    builtin = {"import math"} if re.search(r"\bmath\.", code) else set()
    builtin |= {statement for statement in imports if "torch" not in statement.split()[1]}
    builtin -= {"from __future__ import annotations"}
    texts += _sorted_imports(builtin)
    texts.append("import torch")
    if re.search(r"\bF\.", code):
        texts.append("import torch.nn.functional as F")
    texts.append("from torch import Tensor, nn")
    texts += [statement for statement in imports if statement.startswith("from torch.")]
    if not standalone and (names or kernels):
        beside = [f"import {kernels} as {ALIAS}"] if kernels else []
        texts += ["", *beside, *import_lines(names, is_fused=bool(kernels))]
    for helper in helpers:
        texts += ["", "", *helper.splitlines()]
    return [Printed(text, None) for text in texts]


def _sorted_imports(statements: set[str]) -> list[str]:
    """Standard-library imports, `import x` before `from x import y`, and a blank line."""
    ordered = sorted(statements, key=lambda text: (text.startswith("from"), text))
    return [*ordered, ""] if ordered else []


def _docstring(stack: Stack) -> list[str]:
    scale = stack.scale
    files = ", ".join(sorted(stack.sources)) or stack.span.source.path
    about = (
        f"Compiled by gabc from {files} at scale {scale.name} "
        f"(D = {scale.D}, {len(stack.blocks)} blocks)."
    )
    rows = textwrap.wrap(about, 99)
    return [f'"""{stack.name}.', "", *rows, '"""']
