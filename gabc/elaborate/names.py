"""Names with a meaning of their own, which nothing in a file may take."""

from __future__ import annotations

from gabc.diagnostics.model import Diagnostic
from gabc.elaborate.renaming import renamed
from gabc.graph.static import FUNCTIONS
from gabc.ops import PRIMITIVES
from gabc.syntax import tree

RESERVED_NAMES = frozenset({"B", "L", "D", "layer", "n_layers", "t", "Z"})
"""Names that cannot be rebound (language.md 10.23); `t` only inside a scan."""

AMBIENT = ("D", "layer", "n_layers")
"""Static names that every unit sees."""
BATCH_AND_LENGTH = ("B", "L")
"""Sizes that stand in shapes only."""

BUILT_IN_UNITS = ("Linear", "Sequential")
FORMS = ("route", "grad")
"""Functions that are no primitive: they call units, or take apart what computed their argument."""
STATIC_CALLS = (*FUNCTIONS, "len")

BUILT_IN = frozenset(
    (
        *(name for name, primitive in PRIMITIVES.items() if not primitive.internal),
        *BUILT_IN_UNITS,
        *FORMS,
        *STATIC_CALLS,
        *("range", "enumerate", "zip"),
    )
)
"""The functions and units of the language: a name that hid one would mislead its readers."""


def hides_built_in(name: tree.Name, within: tree.Node | None = None) -> Diagnostic:
    """The refusal of a definition that hides a built-in; it is used `within` this."""
    kind = "unit" if name.id in BUILT_IN_UNITS else "function"
    return Diagnostic(
        "GAB0105",
        f"`{name.id}` is a built-in {kind}, and nothing may hide it",
        name.span,
        help=f"choose another name, such as `{name.id}_`",
        fixes=() if within is None else renamed(name, within),
    )
