"""The names that a design's members have in a torch module: the author's where torch allows it.

Pure functions of the elaborated design, so that whatever names a parameter agrees with whatever
reads it.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gabc.graph.instance import Instance, Parameter, Stack

AMBIENT = ("D", "layer", "n_layers")
"""Static names that every unit knows."""

_MODULE_ATTRIBUTES = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu
    cuda double dump_patches eval extra_repr float forward get_buffer get_extra_state
    get_parameter get_submodule half init_parameters ipu items keys load_state_dict modules mtia
    named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type update
    values xpu zero_grad smart_apply
"""

MODULE_ATTRIBUTES = frozenset(_MODULE_ATTRIBUTES.split())
"""What `nn.Module` and `nn.ModuleDict` have (a test compares with torch), `init_parameters`, and
what transformers adds to every module once it has loaded a model."""


def attribute_names(instance: Instance) -> dict[str, str]:
    """The attribute of each parameter, child and static name of a unit; no two are the same."""
    params = (param.name for param in instance.params)
    names = (*AMBIENT, *instance.hypers, *instance.dims, *params, *instance.children)
    return allocated(names, _attribute)


def shared_keys(stack: Stack) -> dict[str, str]:
    """The key in the model's `shared` of each module that blocks share, by its path in a block.

    The path is one of attributes: `attn.lift`, `experts.0`.
    """
    paths: dict[str, None] = {}
    for block in dict.fromkeys(stack.blocks):
        paths.update(dict.fromkeys(_shared_paths(block, "")))
    return allocated(paths, lambda path: path.replace(".", "_"), MODULE_ATTRIBUTES)


@dataclass(frozen=True, slots=True)
class StackParameter:
    """A parameter or buffer of a stack.

    `name` is made of the author's names: `blocks.0.attn.wq.weight`, `shared.mixer/attn.wq.weight`
    if blocks share `mixer.attn`. `attribute` is its name in the torch module.
    """

    name: str
    attribute: str
    instance: Instance
    parameter: Parameter


def stack_parameters(stack: Stack) -> Iterator[StackParameter]:
    """Every parameter and buffer of the blocks; what blocks share comes once for each of them."""
    keys = shared_keys(stack)
    for layer, block in enumerate(stack.blocks):
        yield from _parameters(block, _Place(f"blocks.{layer}", f"blocks.{layer}", "", ""), keys)


def allocated(
    names: Iterable[str], escaped: Callable[[str], str], taken: Iterable[str] = ()
) -> dict[str, str]:
    """A different identifier for each name, none of them `taken`.

    A name that `escaped` leaves alone keeps itself, wherever it stands among the others.
    """
    names, used = tuple(dict.fromkeys(names)), set(taken)
    result = {name: name for name in names if escaped(name) == name and name not in used}
    used.update(result)
    for name in names:
        if name not in result:
            result[name] = unused(escaped(name), used)
            used.add(result[name])
    return result


def unused(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is not taken."""
    used = set(taken)
    if name not in used:
        return name
    number = 2
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"


def _attribute(name: str) -> str:
    if name.startswith("_"):
        # `_x` may be torch's own; two underscores in front would be mangled.
        return f"_{name.lstrip('_')}_"
    return f"{name}_" if keyword.iskeyword(name) or name in MODULE_ATTRIBUTES else name


def _shared_paths(instance: Instance, path: str) -> Iterator[str]:
    for _, part, child, is_shared in _below(instance):
        here = _joined(path, part)
        if is_shared:
            yield here
        yield from _shared_paths(child, here)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an instance is: in the stack and in the block, in the author's names and in torch's."""

    name: str
    attribute: str
    name_inside: str
    attribute_inside: str


def _parameters(
    instance: Instance, place: _Place, keys: Mapping[str, str]
) -> Iterator[StackParameter]:
    names = attribute_names(instance)
    for parameter in instance.params:
        name, attribute = parameter.name, names[parameter.name]
        yield StackParameter(
            f"{place.name}.{name}", f"{place.attribute}.{attribute}", instance, parameter
        )
    for name, attribute, child, is_shared in _below(instance):
        inside = _joined(place.name_inside, name), _joined(place.attribute_inside, attribute)
        here = f"{place.name}.{name}", f"{place.attribute}.{attribute}"
        if is_shared:
            here = f"shared.{inside[0].replace('.', '/')}", f"shared.{keys[inside[1]]}"
        yield from _parameters(child, _Place(*here, *inside), keys)


def _below(instance: Instance) -> Iterator[tuple[str, str, Instance, bool]]:
    """Each child: its name, its attribute, itself, and whether blocks share it."""
    names = attribute_names(instance)
    for name, children in instance.children.items():
        for index, child in enumerate(children.instances):
            suffix = f".{index}" if children.is_array else ""
            yield f"{name}{suffix}", f"{names[name]}{suffix}", child, children.is_shared


def _joined(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part
