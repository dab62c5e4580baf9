"""How each unit of a design goes on with a sequence it has seen the start of: by which state."""

from gabc.check.streaming.classes import DecodeClass, decode_classes, stack_class, units_below
from gabc.check.streaming.layout import Layout
from gabc.check.streaming.plan import (
    Consumer,
    NodeKind,
    NodePlan,
    StackPlan,
    UnitPlan,
)
from gabc.check.streaming.planner import plan_stack

__all__ = [
    "Consumer",
    "DecodeClass",
    "Layout",
    "NodeKind",
    "NodePlan",
    "StackPlan",
    "UnitPlan",
    "decode_classes",
    "plan_stack",
    "stack_class",
    "units_below",
]
