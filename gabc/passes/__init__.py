"""Rewrites of a stack's graphs: each a pure function from stack to stack with the same meaning."""

from __future__ import annotations

from gabc.graph.instance import Stack
from gabc.passes.attention import recognise_attention
from gabc.passes.recurrences import parallelise
from gabc.passes.windows import lift_windows


def optimise(stack: Stack) -> Stack:
    """All rewrites, in order: what is compiled unless the plain form is asked for."""
    return parallelise(lift_windows(recognise_attention(stack)))
