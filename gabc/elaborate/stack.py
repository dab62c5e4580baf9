"""A design at a scale: the stack of blocks, with Z threaded from block to block."""

from __future__ import annotations

from dataclasses import dataclass, field

from gabc.diagnostics.model import Diagnostic, Diagnostics, Related
from gabc.diagnostics.suggest import nearest
from gabc.dims import Dim
from gabc.elaborate.bound import Template
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError, replace
from gabc.elaborate.modules import Module, UnitDefinition
from gabc.elaborate.prover import undecided
from gabc.elaborate.rules import RULES
from gabc.elaborate.scope import Session, UnitScope, integers
from gabc.elaborate.shared import check_shared
from gabc.elaborate.units import elaborate_unit
from gabc.graph.instance import Head, Instance, Scale, Stack
from gabc.graph.nodes import Graph, ZRead
from gabc.graph.static import StaticValue, UnknownStatic
from gabc.graph.types import RESIDUAL_STREAM, TensorType
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span

HEAD_OPTIONS = ("tie", "logit_cap", "embed_scale")


def elaborate_stack(
    module: Module,
    scale: Scale,
    diagnostics: Diagnostics,
    sources: dict[str, str],
    reached: set[UnitDefinition] | None = None,
) -> Stack | None:
    """The stack of a file's design, or `None` if a fault was found (and reported).

    Units met with every hyperparameter at its default are added to `reached`.
    Raises `LimitReached`.
    """
    design = module.file.design
    assert design is not None
    root = _root(module, design, diagnostics)
    if root is None:
        return None
    session = Session(diagnostics, scale, RULES)
    if reached is not None:
        session.reached = reached
    errors = len(diagnostics.found)
    blocks = _blocks(session, root, scale)
    head = _head(session, root, design)
    if blocks is None or head is None or diagnostics.has_errors_since(errors):
        return None
    if session.never_evaluated:
        # A fault reported at an earlier scale leaves its obligations open here.
        if not diagnostics.has_errors:
            diagnostics.extend(map(undecided, session.never_evaluated))
        return None
    if not _check_root(blocks[0], design, diagnostics):
        return None
    check_shared(blocks, session)
    _thread_z(blocks, session)
    _unread_writes(session)
    if diagnostics.has_errors_since(errors):
        return None
    return Stack(design.name.id, scale, blocks, head, design.span, sources)


def _root(module: Module, design: tree.Design, diagnostics: Diagnostics) -> UnitDefinition | None:
    """The unit named like the design (language.md 10.28)."""
    found = module.scope.get(design.name.id)
    if isinstance(found, UnitDefinition):
        missing = [h.name.id for h in found.unit.hypers if h.default is None]
        if not missing:
            return found
        diagnostics.add(
            Diagnostic(
                "GAB0107",
                f"the root unit `{design.name.id}` has no default for "
                + ", ".join(f"`{name}`" for name in missing),
                found.unit.name.span,
                help="nobody constructs the root: each of its hyperparameters needs a default",
            )
        )
        return None
    units = [name for name, item in module.scope.items() if isinstance(item, UnitDefinition)]
    near = nearest(design.name.id, units)
    broken = not units and diagnostics.has_errors
    if not broken:
        diagnostics.add(
            Diagnostic(
                "GAB0112",
                f"there is no unit `{design.name.id}` for the design of that name",
                design.name.span,
                help=f"did you mean `{near}`?"
                if near
                else f"add `unit {design.name.id}() {{ ... }}`",
                fixes=replace(design.name.span, near),
            )
        )
    return None


def _blocks(session: Session, root: UnitDefinition, scale: Scale) -> tuple[Instance, ...] | None:
    """One instance per layer; the same one for all if nothing depends on `layer`."""
    blocks: list[Instance] = []
    for layer in range(scale.n_layers):
        if blocks and not session.mentions_layer:
            return tuple(blocks[:1] * scale.n_layers)
        session.begin_block(layer)
        try:
            block = elaborate_unit(session, Template(root, {}, None, root.unit.name.span))
        except Refused as refused:
            session.diagnostics.add(refused.diagnostic)
            return None
        except SilentError:
            return None  # a circle, reported where it closes
        if block.graph is None:
            return None
        blocks.append(block)
    return tuple(blocks)


def _head(session: Session, root: UnitDefinition, design: tree.Design) -> Head | None:
    """The options after `gab Name with`."""
    scope = UnitScope(session, root.module, root.unit, design.span)
    assert session.scale is not None
    scope.env.update({"D": session.scale.D, "n_layers": session.scale.n_layers})
    evaluator = Evaluator(scope, place="an option of the design")
    options: dict[str, StaticValue] = {}
    for keyword in design.options:
        name = keyword.name
        try:
            if name.id not in HEAD_OPTIONS:
                near = nearest(name.id, HEAD_OPTIONS)
                raise evaluator.refuse(
                    "GAB0106",
                    f"a design has no option `{name.id}`",
                    name.span,
                    help=f"did you mean `{near}`?"
                    if near
                    else f"the options are {', '.join(HEAD_OPTIONS)}",
                    fixes=replace(name.span, near),
                )
            if name.id in options:
                raise evaluator.refuse(
                    "GAB0104", f"the option `{name.id}` is given twice", name.span
                )
            options[name.id] = _option(evaluator, keyword)
        except Refused as refused:
            session.diagnostics.add(refused.diagnostic)
            return None
        except SilentError:
            return None
    tie = options.get("tie", True)
    cap, embed = options.get("logit_cap"), options.get("embed_scale")
    assert isinstance(tie, bool)
    return Head(
        tie,
        float(cap) if isinstance(cap, (int, float)) else None,
        float(embed) if isinstance(embed, (int, float)) else None,
    )


def _option(evaluator: Evaluator, keyword: tree.Keyword) -> StaticValue:
    try:
        value = evaluator.value_of(keyword.value)
    except UnknownStatic as unknown:
        raise evaluator.refuse(
            "GAB0109",
            f"`{unknown}` has no value for the design as a whole",
            keyword.value.span,
            help="`D` and `n_layers` are in scope here",
        ) from unknown
    is_bool = isinstance(value, bool)
    if keyword.name.id == "tie":
        if is_bool:
            return value
        raise evaluator.refuse("GAB0109", "`tie` is true or false", keyword.value.span)
    if isinstance(value, (int, float)) and not is_bool and value > 0:
        return value
    raise evaluator.refuse(
        "GAB0109", f"`{keyword.name.id}` is a number above 0", keyword.value.span
    )


def _check_root(block: Instance, design: tree.Design, diagnostics: Diagnostics) -> bool:
    """A block is [B, L, D] -> [B, L, D]."""
    graph = block.graph
    assert graph is not None
    assert block.unit is not None
    for values, what in ((graph.inputs, "takes"), (graph.results, "returns")):
        types = [value.type for value in values]
        span = block.unit.forward.span if what == "takes" else _return_span(block.unit)
        if len(types) == 1 and _at_scale(types[0], block) == _at_scale(RESIDUAL_STREAM, block):
            continue
        shown = ", ".join(str(type_) for type_ in types) or "nothing"
        diagnostics.add(
            Diagnostic(
                "GAB0206",
                f"the design's root unit {what} one tensor [B, L, D], and `{design.name.id}` "
                f"{what} {shown}",
                span,
                expected="[B, L, D]",
                actual=shown,
            )
        )
        return False
    return True


def _return_span(unit: tree.Unit) -> Span:
    returns = [s for s in unit.forward.body if isinstance(s, tree.Return)]
    return returns[-1].span if returns else unit.forward.span


def _at_scale(type_: TensorType, block: Instance) -> TensorType:
    """A type with every configuration dim replaced by its number: what layers have in common."""
    sizes = {name: Dim.const(size) for name, size in integers(block.env).items()}
    return type_.with_dims(tuple(dim.substitute(sizes) for dim in type_.dims))


# ---------------------------------------------------------------- Z from block to block


@dataclass(frozen=True, slots=True)
class _Entry:
    type: TensorType
    layer: int
    span: Span


@dataclass(eq=False)
class _Thread:
    session: Session
    present: dict[str, _Entry] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    """Keys whose change of type was reported: reads of them are no news."""

    def read(self, block: Instance, layer: int, read: ZRead) -> None:
        entry = self.present.get(read.key)
        if entry is None:
            if not read.optional:
                self.session.diagnostics.add(self._missing(layer, read))
            return
        wanted = _at_scale(read.value.type, block)
        if wanted != entry.type and read.key not in self.changed:
            self.session.diagnostics.add(
                Diagnostic(
                    "GAB0303",
                    f"`Z.{read.key}` is read as {wanted} at layer {layer}, and was written as "
                    f"{entry.type} at layer {entry.layer}",
                    read.value.span,
                    expected=str(wanted),
                    actual=str(entry.type),
                    related=(Related(entry.span, "written here"),),
                )
            )

    def _missing(self, layer: int, read: ZRead) -> Diagnostic:
        path = " -> ".join(read.path)
        near = nearest(read.key, [*self.present, *self.session.z_written])
        if near:
            help = f"did you mean `Z.{near}`?"
        elif layer == 0:
            help = (
                f"write `Z.{read.key}` before it is read, or declare the read optional "
                f"(`reads {read.key}: [...]?`) and give a default: `Z.{read.key} ?? default`"
            )
        else:
            help = "a block writes it at another layer only"
        return Diagnostic(
            "GAB0301",
            f"nothing writes `Z.{read.key}` before {path} reads it at layer {layer}",
            read.value.span,
            help=help,
            facts=(("key", read.key), ("path", path), ("layer", str(layer))),
        )

    def write(self, block: Instance, layer: int, graph: Graph) -> None:
        for write in graph.z_writes:
            type_ = _at_scale(write.value.type, block)
            entry = self.present.get(write.key)
            if entry is not None and entry.type != type_ and write.key not in self.changed:
                self.changed.add(write.key)
                self.session.diagnostics.add(
                    Diagnostic(
                        "GAB0303",
                        f"`Z.{write.key}` is {type_} at layer {layer}, and was {entry.type} at "
                        f"layer {entry.layer}",
                        write.value.span,
                        expected=str(entry.type),
                        actual=str(type_),
                        related=(Related(entry.span, "first written here"),),
                    )
                )
            self.present[write.key] = _Entry(type_, layer, write.value.span)


def _thread_z(blocks: tuple[Instance, ...], session: Session) -> None:
    """Follow Z through the stack, layer by layer."""
    thread = _Thread(session)
    for layer, block in enumerate(blocks):
        assert block.graph is not None
        for read in block.graph.z_reads:
            thread.read(block, layer, read)
        thread.write(block, layer, block.graph)


def _unread_writes(session: Session) -> None:
    for key, span in session.z_written.items():
        if key not in session.z_read and key not in session.z_renamed:
            session.diagnostics.add(
                Diagnostic(
                    "GAB0307",
                    f"`Z.{key}` is written and never read",
                    span,
                    help="drop the write, or read it in a later unit or block",
                )
            )
