"""The recurrence h_t = a_t h_{t-1} + b_t of single elements, real or complex."""

from .op import linear_scan

__all__ = ["linear_scan"]
