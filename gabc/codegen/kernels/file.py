"""All kernels of a design: the text of the file beside its module."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from gabc.codegen.helpers import import_lines
from gabc.codegen.kernels.operands import HELPERS
from gabc.codegen.kernels.write import Section, SectionWriter, section_of
from gabc.graph.names import unused
from gabc.graph.nodes import Node

ALIAS = "kernels"
"""What the module calls the file."""


@dataclass
class KernelTable:
    """The kernels that the classes written so far call; groups of one text are one kernel."""

    helpers: set[str] = field(default_factory=set)
    _names: dict[str, str] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)

    def add(self, node: Node, unit: str) -> str:
        """The function for a `fused` node of a unit, as the module calls it."""
        section = section_of(node, unit)
        name = str(node.args["name"])
        plain = self._written(section, name, name)
        if plain not in self._names:
            self._names[plain] = unused(name, self._names.values())
            chosen = self._names[plain]
            digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
            self._texts[chosen] = self._written(section, chosen, f"{chosen}_{digest}")
        return f"{ALIAS}.{self._names[plain]}"

    def text(self, design: str) -> str:
        """The file; empty if there are no kernels."""
        if not self._texts:
            return ""
        body = "\n\n\n".join(text.rstrip() for text in self._texts.values())
        return "\n".join(_head(design, body, self.helpers)) + "\n\n\n" + body + "\n"

    def _written(self, section: Section, name: str, registered: str) -> str:
        rows = SectionWriter(section, name, registered, self._require).write()
        return "\n".join(row.text for row in rows)

    def _require(self, name: str) -> str:
        if name not in HELPERS:
            raise AssertionError(f"{name} is no name that a kernel's file keeps free")
        self.helpers.add(name)
        return name


def _head(design: str, body: str, helpers: set[str]) -> list[str]:
    lines = [
        f'"""Fused operations of {design}, each in plain torch and as Triton kernels."""',
        "",
        "from __future__ import annotations",
        "",
        "import torch" if re.search(r"\btorch\.", body) else "",
        "import torch.nn.functional as F" if re.search(r"\bF\.", body) else "",
        "import triton",
        "import triton.language as tl",
        "from torch import Tensor",
        "-",
        "from gabc.kernels.generated import Fused, Operand, Result, register, tile",
        *(import_lines(helpers) if helpers else []),
    ]
    head = lines[:4] + [line for line in lines[4:] if line]
    return ["" if line == "-" else line for line in head]
