"""The recurrence m_t = max(m_{t-1} + f_t, i_t) of single elements."""

from .op import max_plus_scan

__all__ = ["max_plus_scan"]
