"""Names in generated modules: the author's where Python and torch allow it."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable

_MODULE_ATTRIBUTES = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu
    cuda double dump_patches eval extra_repr float forward get_buffer get_extra_state
    get_parameter get_submodule half init_parameters ipu items keys load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook
    requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty train
    training type update values xpu zero_grad
"""

MODULE_ATTRIBUTES = frozenset(_MODULE_ATTRIBUTES.split())
"""What `nn.Module` and `nn.ModuleDict` have (a test compares with torch), and `init_parameters`."""

MODULE_GLOBALS = frozenset({"F", "Init", "Tensor", "init", "math", "nn", "self", "torch"})
"""Names that generated code itself needs."""

_RESERVED = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | MODULE_GLOBALS


def attribute_name(name: str) -> str:
    """The attribute of an `nn.Module` for a child or parameter called `name` in the design."""
    taken = keyword.iskeyword(name) or name in MODULE_ATTRIBUTES
    return f"{name}_" if taken or name.startswith("_") else name


def local_name(name: str) -> str:
    """A local variable for a value called `name`; `skip[3]` gives `skip_3`."""
    name = name.replace("[", "_").replace("]", "").replace("-", "minus_")
    return f"{name}_" if name in _RESERVED else name


def unused(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is not taken."""
    used = set(taken)
    if name not in used:
        return name
    number = 2
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"


def indexed(path: str) -> str:
    """The path of a module or parameter as Python: `experts.0.weight` is `experts[0].weight`."""
    first, *rest = path.split(".")
    return first + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest)
