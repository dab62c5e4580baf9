"""The methods of a unit's class: `forward` and `init_parameters`."""

from __future__ import annotations

from dataclasses import dataclass

from gabc.codegen.body import Body
from gabc.codegen.context import ClassContext
from gabc.codegen.layout import INDENT, WIDTH, Line
from gabc.codegen.names import indexed, local_name
from gabc.codegen.operations import write_nodes
from gabc.codegen.uses import uses_of
from gabc.graph.instance import Instance, Parameter
from gabc.graph.names import allocated, attribute_names
from gabc.graph.nodes import Graph, Node, Value
from gabc.graph.pycode import Precedence
from gabc.graph.static import Static
from gabc.graph.types import B, L


@dataclass(frozen=True, slots=True)
class Forward:
    lines: list[Line]
    losses: tuple[str, ...]


def forward_lines(context: ClassContext, graph: Graph) -> Forward:
    """`def forward(self, X, v_first) -> ...` with its body.

    Returns the results, then the Z entries written, then the auxiliary losses.
    """
    body = Body(context, uses_of(graph, context.has_losses))
    sizes = ("B", "L", *(call_dim.name for call_dim in graph.call_dims))
    shared = frozenset(module.argument for module in context.shared)
    body.locals = allocated(sizes, local_name, context.reserved | shared)
    body.keep = shared.union(body.locals.values())
    arguments = []
    for value in graph.inputs:
        arguments.append(f"{body.take(value, value.name)}: Tensor")
    bases = [read.key.partition("[")[0] for read in graph.z_reads]
    for read, base in zip(graph.z_reads, bases, strict=True):
        # Layers that read `skip[0]` and `skip[1]` can be of one class if both call it `skip`.
        name = base if bases.count(base) == 1 else read.key
        optional = " | None" if read.optional else ""
        arguments.append(f"{body.take(read.value, name)}: Tensor{optional}")
        if read.optional:
            body.absent.add(read.value)
    inputs = [body.names[value].text for value in graph.inputs]

    write_nodes(body, graph.nodes)
    _write_return(body, graph)
    arguments += [f"{module.argument}: nn.Module" for module in context.shared]
    count = len(graph.results) + len(graph.z_writes) + len(body.losses)
    result = "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"
    head = Line(f"def forward({', '.join(['self', *arguments])}) -> {result}:", 1)
    return Forward([head, *_shape_lines(body, graph, inputs), *body.lines], tuple(body.losses))


def _write_return(body: Body, graph: Graph) -> None:
    values = [*graph.results, *(write.value for write in graph.z_writes)]
    for name, loss in graph.losses:
        body.losses.setdefault(name, []).append(loss)
    parts: list[list[Value]] = [[value] for value in values]
    parts += body.losses.values()
    span = values[0].span
    for write in graph.z_writes:
        if write.value in body.pending:
            body.settle(write.value, write.key.partition("[")[0])
    while True:
        codes = [_summed(body, part) for part in parts]
        text = f"return {', '.join(codes)}"
        waiting = [value for part in parts for value in part if value in body.pending]
        if not waiting or len(INDENT) * body.level + len(text) <= WIDTH:
            break
        body.settle(max(waiting, key=lambda value: len(body.code(value).text)))
    body.emit(text, span)


def _summed(body: Body, values: list[Value]) -> str:
    if len(values) == 1:
        return body.code(values[0]).text
    return " + ".join(body.code(value).within(Precedence.ADD) for value in values)


def _shape_lines(body: Body, graph: Graph, inputs: list[str]) -> list[Line]:
    """`B, L, _ = X.shape` for the sizes of the call that the body needs."""
    wanted = [name for name in body.locals if name in body.sizes]
    sources: dict[int, dict[int, str]] = {}
    for name in wanted:
        argument, axis = _source(body, graph, name)
        sources.setdefault(argument, {})[axis] = body.locals[name]
    lines = []
    for argument, axes in sources.items():
        rank, text = graph.inputs[argument].type.rank, inputs[argument]
        if len(axes) == 1:
            ((axis, name),) = axes.items()
            lines.append(Line(f"{name} = {text}.shape[{axis}]", 2))
        elif all(axis >= 0 for axis in axes):
            targets = [axes.get(axis, "_") for axis in range(rank)]
            lines.append(Line(f"{', '.join(targets)} = {text}.shape", 2))
        else:
            lines += [Line(f"{name} = {text}.shape[{a}]", 2) for a, name in axes.items()]
    return lines


def _source(body: Body, graph: Graph, name: str) -> tuple[int, int]:
    """The input and the axis whose size a name of the call is."""
    for call_dim in graph.call_dims:
        if call_dim.name == name:
            return call_dim.argument, call_dim.axis
    dim = B if name == "B" else L
    for argument, value in enumerate(graph.inputs):
        if dim in value.type.dims:
            return argument, value.type.dims.index(dim)
    raise AssertionError(f"no input of {body.context.instance.name} has the axis {name}")


# ------------------------------------------------------------------------------- parameters


@dataclass(frozen=True, slots=True)
class Initialised:
    """A parameter that a class initialises: its own, or that of a `Linear` it constructs."""

    path: str
    parameter: Parameter
    owner: Instance


def initialised(context: ClassContext) -> list[Initialised]:
    """Every parameter and buffer that the class initialises, in order."""
    instance = context.instance
    found: list[Initialised] = []
    for name, children in instance.children.items():
        if children.from_caller or children.is_shared:
            continue
        for index, child in enumerate(children.instances):
            path = context.members[name]
            if children.is_array:
                path = f"{path}.{index}"
            found += constructed(child, path)
    for parameter in instance.params:
        found.append(Initialised(context.members[parameter.name], parameter, instance))
    return found


def constructed(instance: Instance, path: str) -> list[Initialised]:
    """The parameters of a `Linear`; for a unit those of the `Linear`s put into its slots."""
    if instance.unit is None:
        return [Initialised(f"{path}.{p.name}", p, instance) for p in instance.params]
    found = []
    names = attribute_names(instance)
    for name, children in instance.children.items():
        if children.from_caller:
            for child in children.instances:
                found += constructed(child, f"{path}.{names[name]}")
    return found


def initialiser_lines(context: ClassContext) -> list[Line]:
    """`def init_parameters(self, init: Init)`; nothing for a class that has no parameters."""
    lines: list[Line] = []
    for entry in initialised(context):
        lines += initial_value(context, entry)
    if not lines:
        return []
    head = [Line("@torch.no_grad()", 1), Line("def init_parameters(self, init: Init) -> None:", 1)]
    context.require("Init")
    return [*head, *lines]


def initial_value(context: ClassContext, entry: Initialised) -> list[Line]:
    """`self.wq.weight.copy_(init.kaiming("wq.weight", (H * K, D)))`."""
    graph = entry.parameter.init
    body = Body(
        context, uses_of(graph, context.has_losses), initialised=entry.path, owner=entry.owner
    )
    target, result = indexed(f"self.{entry.path}"), graph.results[0]
    *before, last = graph.nodes
    constant = _constant(body, last)
    if constant is not None and last.output is result:
        call = "zero_()" if constant == "0.0" else f"fill_({constant})"
        body.emit(f"{target}.{call}", entry.parameter.span)
        return body.lines
    if last.op == "spread" and last.output is result:  # `copy_` broadcasts
        value = last.args["value"]
        assert isinstance(value, Value)
        write_nodes(body, tuple(before))
        code = body.use(value)
    else:
        write_nodes(body, graph.nodes)
        code = body.use(result)
    body.emit(f"{target}.copy_({code.text})", entry.parameter.span)
    return body.lines


def _constant(body: Body, node: Node) -> str | None:
    """The number that an operation fills the parameter with, if that is all it does."""
    if node.op in ("zeros", "ones"):
        return "0.0" if node.op == "zeros" else "1.0"
    value = node.args.get("value")
    if node.op == "spread" and isinstance(value, Static):
        return body.static(value).text
    return None
