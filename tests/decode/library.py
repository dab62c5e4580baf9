"""A small design around every unit of the standard library."""

from __future__ import annotations

import re
from pathlib import Path

STDLIB = Path(__file__).parent.parent.parent / "stdlib_gaus"

_UNIT = re.compile(r"^unit (\w+)\(", re.MULTILINE)

_ARGUMENTS = {
    "BlockLinear": "width=D, heads=4",
    "DataDependentShift": "mixes=3, rank=4",
    "ForgetBounds": "width=D",
    "GatedAttention": "heads=2, kv_heads=1",
    "GriffinRecurrentBlock": "width=D",
    "GroupedRMSNorm": "groups=4",
    "HeadLayerNorm": "heads=4, width=D / 4",
    "HyperConnection": "inner=Norm()",
    "ImplicitFilter": "width=D",
    "LongSkip": "inner=Norm()",
    "ManifoldHyperConnection": "inner=Norm()",
    "LowRank": "out=D, rank=4",
    "Mamba2Mixer": "head_dim=8, state_size=4",
    "MultiHeadAttention": "window=5",
    "PartialRotation": "rotary=2",
    "SphereStep": "inner=Norm()",
    "SoftcapAttention": "window=5",
    "RWKV5TimeMix": "heads=4",
    "RWKV7TimeMix": "heads=4",
    "YaRN": "factor=4.0, original=512",
    "TTTLinear": "heads=4, mini_batch=4",
    "TTTMLP": "heads=4, mini_batch=4",
}

# Options that change what is kept: a full cache, fewer keys than queries, other products of states.
_MORE = {
    "MultiHeadAttention": ("kv_heads=2, head_dim=8", "bias=true, clip=0.5, rope=RoPE(period=4)"),
    "SoftcapAttention": ("heads=4",),
    "GatedDeltaNet": ("key_heads=2, reflect=true",),
    "GriffinRecurrentBlock": ("width=D, whole_start=true",),
    "MLSTM": ("norm_bias=false",),
}

_HEADS = 'rearrange(X, "b l (h k) -> b l h k", h=4)'
_FLAT = '"b l h k -> b l (h k)"'
_BODIES = {
    "DataDependentShift": "return X + sum(inner(X), axis=2)",
    "ForgetBounds": "return X + inner()[layer] * X",
    "HeadLayerNorm": f"return X + rearrange(inner({_HEADS}), {_FLAT})",
    "HyperConnection": 'return sum(inner(repeat(X, "b l d -> b l n d", n=4)), axis=2)',
    "ManifoldHyperConnection": 'return sum(inner(repeat(X, "b l d -> b l n d", n=4)), axis=2)',
    "ImplicitFilter": "return X + long_conv(X, inner(positions()))",
    "Llama3RoPE": f"return X + rearrange(inner({_HEADS}), {_FLAT})",
    "PartialRotation": f"return X + rearrange(inner({_HEADS}), {_FLAT})",
    "YaRN": f"return X + rearrange(inner({_HEADS}), {_FLAT})",
    "NoPosition": f"return X + rearrange(inner({_HEADS}), {_FLAT})",
    "RoPE": f"return X + rearrange(inner({_HEADS}), {_FLAT})",
    "ZambaSharedBlock": "return X + inner(X, 0.5 * X)",
}


def _designs() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(STDLIB.glob("*.gab")):
        for name in _UNIT.findall(file.read_text(encoding="utf-8")):
            found[f"{file.stem}.{name}"] = _design(file.stem, name, _ARGUMENTS.get(name, ""))
            for arguments in _MORE.get(name, ()):
                found[f"{file.stem}.{name}({arguments})"] = _design(file.stem, name, arguments)
    return found


def _design(module: str, unit: str, arguments: str) -> str:
    body = _BODIES.get(unit, "return X + inner(norm(X))")
    norm = "norm  = Norm()\n    " if "norm(" in body else ""
    imports = f"from std.{module} import {unit}\n"
    if "RoPE(" in arguments:
        imports += "from std.position import RoPE\n"
    return (
        f"gab One\n\n{imports}\n"
        "unit Norm() {\n    forward(X) {\n        return rms_norm(X)\n    }\n}\n\n"
        f"unit One() {{\n    {norm}inner = {unit}({arguments})\n"
        f"    forward(X) {{\n        {body}\n    }}\n}}\n"
    )


DESIGNS = _designs()
"""By `module.Unit`; every unit that the library has, some of them with other arguments, too."""
