"""What a design costs: parameters, FLOPs, memory, state, launches, and an estimate of time."""

from gabc.check.cost.amounts import Amounts, per_token, value_at
from gabc.check.cost.asymptotic import Asymptotic
from gabc.check.cost.costs import Costs, UnitCost, cost
from gabc.check.cost.devices import DEVICES, Device, StepTime, step_time

__all__ = [
    "DEVICES",
    "Amounts",
    "Asymptotic",
    "Costs",
    "Device",
    "StepTime",
    "UnitCost",
    "cost",
    "per_token",
    "step_time",
    "value_at",
]
