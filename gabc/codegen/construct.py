"""Constructors: what a unit's class takes, and how its children are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gabc.codegen.context import Argument, ClassContext
from gabc.codegen.layout import Line
from gabc.codegen.names import local_name
from gabc.codegen.statics import dim_code, literal_code, number_code, size_code
from gabc.dims import Dim
from gabc.graph.instance import Children, Hyper, Instance
from gabc.graph.names import AMBIENT, allocated
from gabc.graph.static import (
    Literal,
    Static,
    StaticFault,
    StaticList,
    UnknownStatic,
    evaluate,
    names,
)
from gabc.syntax import tree
from gabc.syntax.source import Span


@dataclass
class Constructor:
    """A class's `__init__` being written: the static names it needs, as local variables.

    `defaults` are the default expressions of the unit's hyperparameters as far as they are known.
    `numbers` are the static names that are no variables where this is written, with their values.
    """

    context: ClassContext
    defaults: Mapping[str, Static]
    numbers: Mapping[str, int] = field(default_factory=dict)
    needed: dict[str, None] = field(default_factory=dict)
    variables: Mapping[str, str] = field(init=False)
    """What each static name and slot is called here; none hides a function or a class."""

    def __post_init__(self) -> None:
        instance, context = self.context.instance, self.context
        names = (*AMBIENT, *instance.hypers, *instance.dims, *instance.children)
        classes = {cls.name for cls in context.classes.values()}
        self.variables = allocated(names, local_name, context.reserved | classes)

    def resolve(self, name: str) -> str:
        """The variable of a static name; what it is computed from is needed too."""
        if name in self.numbers:
            return str(self.numbers[name])
        if name not in self.needed:
            self.needed[name] = None
            definition = self.context.instance.dims.get(name)
            if definition is None and self._is_computed(name):
                definition = self.defaults[name]
            for other in () if definition is None else names(definition):
                self.resolve(other)
        return self.variables[name]

    def write(self, attributes: Mapping[str, None]) -> tuple[list[Line], tuple[Argument, ...]]:
        """The method and its arguments; `attributes` are the names that other methods read.

        There is no method where it would do nothing.
        """
        parts = self._child_lines() + self._param_lines()
        statics = self._static_lines(attributes)
        arguments = tuple(self._arguments())
        if not (statics or parts or arguments):
            return [], ()
        signature = ", ".join(["self", *(_declared(argument) for argument in arguments)])
        head = [
            Line(f"def __init__({signature}) -> None:", 1),
            Line("super().__init__()", 2),
        ]
        return [*head, *statics, *parts], arguments

    # ---------------------------------------------------------------- static names

    def _static_lines(self, attributes: Mapping[str, None]) -> list[Line]:
        """Hyperparameters and dims in the order of the text: `self.K = K = exact_div(D, H)`."""
        instance = self.context.instance
        local = dict(self.needed)
        for name in attributes:
            self.resolve(name)
        for name in self.needed:
            definition = instance.dims.get(name)
            if definition is None and self._is_computed(name):
                definition = self.defaults[name]
            local.update(dict.fromkeys(() if definition is None else names(definition)))
        lines = []
        for name in (*AMBIENT, *instance.hypers, *instance.dims):
            if name not in self.needed:
                continue
            value = self._definition(name)
            targets = [f"self.{self.context.members[name]}"] if name in attributes else []
            if value is not None and (name in local or not targets):
                targets.append(self.variables[name])
            if targets:
                text = " = ".join([*targets, value or self.variables[name]])
                lines.append(Line(text, 2, self._spans().get(name)))
        return lines

    def _spans(self) -> dict[str, Span]:
        unit = self.context.instance.unit
        return {} if unit is None else dict(_dim_spans(unit.members))

    def _definition(self, name: str) -> str | None:
        """What a name is computed as; `None` if it is an argument as it stands."""
        instance = self.context.instance
        if name in instance.dims:
            return self._size(instance.dims[name])
        if name in instance.hypers and self._is_computed(name):
            default = self.code_of(self.defaults[name], _type_of(instance, name))
            variable = self.variables[name]
            return f"{default} if {variable} is None else {variable}"
        return None

    def _is_computed(self, name: str) -> bool:
        """Whether `None` stands for a default that depends on other names."""
        hyper = self.context.instance.hypers.get(name)
        if hyper is None or name not in self.defaults or _is_literal(self.defaults[name]):
            return False
        # Where the design says `none`, `None` cannot also mean "the default".
        return self.context.instance.env.get(name, 0) is not None

    def code_of(self, static: Static, type_: str) -> str:
        if type_ in ("int", "dim"):
            return self._size(static)
        return number_code(static, self.resolve, self.context.require).text

    def _size(self, static: Static) -> str:
        context = self.context
        return size_code(static, self.resolve, context.require, context.kinds).text

    def _arguments(self) -> list[Argument]:
        """Ambient names, then what has no default, then what has one."""
        instance = self.context.instance
        variables = self.variables
        found = [
            Argument(name, variables[name], "ambient", "int")
            for name in AMBIENT
            if name in self.needed
        ]
        for name, hyper in instance.hypers.items():
            if name in self.needed:
                found.append(self._hyper_argument(name, hyper))
        for name, children in instance.children.items():
            if children.from_caller:
                annotation = "nn.ModuleList" if children.is_array else "nn.Module"
                found.append(Argument(name, variables[name], "slot", annotation))
        return sorted(found, key=lambda argument: argument.default is not None)

    def _hyper_argument(self, name: str, hyper: Hyper) -> Argument:
        instance = self.context.instance
        type_, variable = _annotation(instance, name), self.variables[name]
        default = self.defaults.get(name)
        if default is not None and _is_literal(default):
            text = literal_code(evaluate(default, {}))
            if text == "None" or instance.env.get(name, 0) is None:
                type_ = f"{type_} | None"
            return Argument(name, variable, "hyper", type_, text)
        if self._is_computed(name):
            return Argument(name, variable, "hyper", f"{type_} | None", "None")
        if instance.env.get(name, 0) is None:
            type_ = f"{type_} | None"
        return Argument(name, variable, "hyper", type_)

    # ---------------------------------------------------------------- children and parameters

    def _child_lines(self) -> list[Line]:
        lines = []
        for name, children in self.context.instance.children.items():
            if children.is_shared:
                continue
            target = f"self.{self.context.members[name]}"
            if children.from_caller:
                lines.append(Line(f"{target} = {self.variables[name]}", 2))
            else:
                lines.append(Line(f"{target} = {self.children(children)}", 2, children.span))
        return lines

    def children(self, children: Children) -> str:
        texts = [construct(self, child) for child in children.instances]
        if not children.is_array:
            return texts[0]
        if len(texts) > 1 and len(set(texts)) == 1:
            return f"nn.ModuleList([{texts[0]} for _ in range({len(texts)})])"
        return f"nn.ModuleList([{', '.join(texts)}])"

    def _param_lines(self) -> list[Line]:
        lines = []
        for parameter in self.context.instance.params:
            sizes = ", ".join(self.dim(dim) for dim in parameter.type.dims)
            tensor = _empty(sizes or "()", parameter.type.kind)
            name = self.context.members[parameter.name]
            if parameter.is_buffer:
                text = f'self.register_buffer("{name}", {tensor})'
            else:
                text = f"self.{name} = nn.Parameter({tensor})"
            lines.append(Line(text, 2, parameter.span, str(parameter.type)))
        return lines

    def dim(self, dim: Dim) -> str:
        context = self.context
        return dim_code(dim, self.resolve, context.require, context.kinds).text


def construct(constructor: Constructor, child: Instance) -> str:
    """The expression that makes a child: `RMSNorm(D)`, `nn.Linear(D, H * K, bias=False)`."""
    context = constructor.context
    if child.unit is None:
        return _linear(constructor, child)
    cls = context.classes[child]
    parts: list[str] = []
    for argument in cls.arguments:
        if argument.kind == "ambient":
            name = _ambient(constructor, child, argument.name)
            is_first = not parts and argument.name == "D"
            parts.append(name if is_first else f"{argument.variable}={name}")
        elif argument.kind == "slot":
            slot = child.children[argument.name]
            parts.append(f"{argument.variable}={constructor.children(slot)}")
        else:
            text = _given(constructor, child, argument)
            if text is not None:
                parts.append(f"{argument.variable}={text}")
    return f"{cls.name}({', '.join(parts)})"


def _ambient(constructor: Constructor, child: Instance, name: str) -> str:
    if name in constructor.context.instance.env:
        return constructor.resolve(name)
    return literal_code(child.env[name])


def _given(constructor: Constructor, child: Instance, argument: Argument) -> str | None:
    """The code of a hyperparameter given to a child; `None` where its default serves."""
    hyper = child.hypers[argument.name]
    if hyper.is_default and argument.default is not None:
        return None
    type_ = _type_of(child, argument.name)
    if not hyper.is_default and _holds(constructor, hyper.given, child.env.get(argument.name)):
        return constructor.code_of(hyper.given, type_)
    return literal_code(child.env[argument.name])


def _holds(constructor: Constructor, given: Static, value: object) -> bool:
    """Whether an expression, read in the constructing unit's names, has the value.

    A unit handed through slots is written in the names of another unit.
    """
    try:
        return evaluate(given, constructor.context.instance.env) == value
    except (UnknownStatic, StaticFault):
        return False


def _linear(constructor: Constructor, child: Instance) -> str:
    weight = child.params[0]
    context = constructor.context

    def resolve(name: str) -> str:
        if context.means_the_same(name, child):
            return constructor.resolve(name)
        return literal_code(child.env[name])

    outputs, inputs = (
        dim_code(dim, resolve, context.require, context.kinds).text for dim in weight.type.dims
    )
    bias = "" if len(child.params) > 1 else ", bias=False"
    return f"nn.Linear({inputs}, {outputs}{bias})"


def _empty(sizes: str, kind: str) -> str:
    dtypes = {"int": "torch.int64", "bool": "torch.bool", "complex": "torch.complex64"}
    return f"torch.empty({sizes}{f', dtype={dtypes[kind]}' if kind in dtypes else ''})"


def _declared(argument: Argument) -> str:
    default = "" if argument.default is None else f" = {argument.default}"
    return f"{argument.variable}: {argument.annotation}{default}"


def _dim_spans(members: tuple[tree.Member, ...]) -> Iterator[tuple[str, Span]]:
    for member in members:
        if isinstance(member, tree.Dim):
            yield member.name.id, member.span
        elif isinstance(member, tree.MemberIf):
            yield from _dim_spans(member.then + member.otherwise)


def _declaration(instance: Instance, name: str) -> tree.Hyper:
    assert instance.unit is not None
    return next(hyper for hyper in instance.unit.hypers if hyper.name.id == name)


def _type_of(instance: Instance, name: str) -> str:
    declared = _declaration(instance, name)
    return "list" if declared.is_list else declared.type


def _annotation(instance: Instance, name: str) -> str:
    declared = _declaration(instance, name)
    element = "int" if declared.type == "dim" else declared.type
    return f"list[{element}]" if declared.is_list else element


def _is_literal(static: Static) -> bool:
    match static:
        case Literal():
            return True
        case StaticList(items):
            return not items
    return False
