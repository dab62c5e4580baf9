"""The delta rule with decay (DeltaNet, Gated DeltaNet, KDA, RWKV-7) in chunks."""

from .op import delta_rule, delta_rule_state

__all__ = ["delta_rule", "delta_rule_state"]
