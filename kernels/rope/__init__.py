"""Rotary position embedding of queries and keys together, alone or after a norm of each head."""

from .op import norm_rope, rope, rope_tables, rotate

__all__ = ["norm_rope", "rope", "rope_tables", "rotate"]
