"""The text of one group: plain torch forward and backward, two Triton kernels, registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gabc.codegen.kernels.operands import HELPERS, RESERVED, Frame, Operand, frame_of
from gabc.codegen.kernels.statements import INLINE_WIDTH, Statements, uses
from gabc.codegen.layout import WIDTH, Line, Printed, place, printed
from gabc.codegen.names import local_name
from gabc.graph.names import unused
from gabc.graph.nodes import Node, Value
from gabc.passes.derive import Backward, backward_of


@dataclass(frozen=True, slots=True)
class Section:
    """A group's frame and derivative, under whatever name the file decides on."""

    frame: Frame
    backward: Backward | None
    unit: str


def section_of(node: Node, unit: str) -> Section:
    """A `fused` node of a unit, with its derivative."""
    assert node.region is not None
    frame = frame_of(node, node.region)
    varying = [operand.value for operand in frame.operands if operand.varies]
    backward = backward_of(frame.nodes, frame.results, varying) if varying else None
    return Section(frame, backward, unit)


@dataclass
class SectionWriter:
    """Writes a section under a `name`; `registered` is the name of its operator."""

    section: Section
    name: str
    registered: str
    require: Callable[[str], str]
    lines: list[Line] = field(default_factory=list)

    def write(self) -> list[Printed]:
        self._head()
        self._reference()
        if self.section.backward is not None:
            self._reference_backward(self.section.backward)
        self._forward_kernel()
        if self.section.backward is not None:
            self._backward_kernel(self.section.backward)
        self._registration()
        return list(printed(self.lines))

    # ---------------------------------------------------------------- plain torch

    def _head(self) -> None:
        """The lines of the design as comments."""
        spans = {(n.span.source.path, n.span.line): n.span for n in self.section.frame.nodes}
        for key in sorted(spans):
            span = spans[key]
            text = span.source.line(span.line).strip()
            self._prose(f"# {place(span)}, {self.section.unit}: {text}"[:100].rstrip())
        self._blank()

    def _reference(self) -> None:
        frame = self.section.frame
        parameters = [*self._tensors(), *self._numbers()]
        result = _returns(len(frame.results))
        self._code(f"def {self.name}_reference({', '.join(parameters)}) -> {result}:", 0)
        statements = self._statements(1, is_triton=False)
        statements.write(frame.nodes, frame.results)
        statements.returned(frame.results)
        self._append(statements)
        self._blank()

    def _reference_backward(self, backward: Backward) -> None:
        frame = self.section.frame
        taken = self._taken()
        gradients = self._gradient_names(backward, taken)
        parameters = [f"{name}: Tensor" for name in gradients.values()]
        parameters += [*self._tensors(), *self._numbers()]
        result = _returns(len(backward.found))
        self._code(f"def {self.name}_reference_backward({', '.join(parameters)}) -> {result}:", 0)
        statements = self._statements(1, is_triton=False)
        for value, name in gradients.items():
            statements.name(value, name)
        wanted = [backward.found[o.value] for o in frame.operands if o.varies]
        statements.write(backward.nodes, wanted)
        statements.returned(wanted)
        self._append(statements)
        self._blank()

    # ---------------------------------------------------------------- Triton

    def _forward_kernel(self) -> None:
        frame = self.section.frame
        taken = self._taken()
        results = {value: _free(value.name or "y", taken) for value in frame.results}
        parameters = [p for operand in frame.operands for p in operand.parameters]
        parameters += [f"{name}_ptr" for name in results.values()]
        self._signature("forward", [*parameters, *frame.numbers.values(), "rows"])
        self._prose("row = tile.rows(tl.program_id(0).to(tl.int64) * ROWS, ROWS)", 1)
        self._frame(block=1)
        statements = self._statements(1, is_triton=True)
        counts = uses(frame.nodes, frame.results)
        self._masks(1)
        self._loads(1, [operand for operand in frame.operands if counts[operand.value]])
        statements.write(frame.nodes, frame.results)
        self._append(statements)
        for (value, name), single in zip(results.items(), frame.singles, strict=True):
            self._store(1, name, statements.codes[value].text, single)
        self._blank()

    def _backward_kernel(self, backward: Backward) -> None:
        frame = self.section.frame
        taken = self._taken()
        given = self._gradient_names(backward, taken)
        varying = [operand for operand in frame.operands if operand.varies]
        found = {o: _free(f"d{o.name}", taken) for o in varying}
        wanted = [backward.found[operand.value] for operand in varying]
        counts = uses(backward.nodes, wanted)
        gradients = [
            Operand(value, name, "full", single, varies=False)
            for (value, name), single in zip(given.items(), frame.singles, strict=True)
        ]
        read = [operand for operand in frame.operands if counts[operand.value]]
        parameters = [p for operand in (*gradients, *read) for p in operand.parameters]
        parameters += [f"{name}_ptr" for name in found.values()]
        self._signature("backward", [*parameters, *frame.numbers.values(), "rows", "slab", "parts"])
        sums = {o: name for o, name in found.items() if o.rows in ("vector", "shared")}
        level = 2 if sums else 1
        self._prose("first, part = tl.program_id(0).to(tl.int64) * slab, tl.program_id(1)", 1)
        self._frame(block=2)
        for operand, name in sums.items():
            columns = "1" if operand.single else "BLOCK"
            self._prose(f"{name} = tl.zeros((ROWS, {columns}), dtype=tl.float32)", 1)
        if sums:
            self._prose("for start in range(0, slab, ROWS):", 1)
            self._prose("row = tile.rows(first + start, ROWS) * parts + part", 2)
        else:
            self._prose("row = tile.rows(first, ROWS) * parts + part", 1)
        statements = self._statements(level, is_triton=True)
        loads = [*(g for g in gradients if counts[g.value]), *read]
        self._masks(level)
        self._loads(level, loads)
        for value, name in given.items():
            statements.name(value, name)
        for name in found.values():
            statements.taken.add(name)
        statements.write(backward.nodes, wanted)
        self._gradients(level, found, backward, statements)
        if sums:
            self._partial_sums(sums)
        self._blank()

    def _gradients(
        self, level: int, found: dict[Operand, str], backward: Backward, statements: Statements
    ) -> None:
        """What a tile contributes: stored, or added to the program's sum."""
        for value in backward.found.values():
            if value in statements.pending and len(statements.codes[value].text) > INLINE_WIDTH:
                statements.settle(value)
        self._append(statements)
        for operand, name in found.items():
            code = statements.codes[backward.found[operand.value]]
            if operand.rows in ("vector", "shared"):
                mask = "in_rows" if operand.single else "mask"
                # A row past the end may hold an infinity.
                self._code(f"{name} += tl.where({mask}, {code.text}, 0.0)", level)
            else:
                self._store(level, name, code.text, operand.single)

    def _partial_sums(self, sums: dict[Operand, str]) -> None:
        """One line of sums for each program and part."""
        self._prose("line = tl.program_id(0).to(tl.int64) * parts + part", 1)
        for operand, name in sums.items():
            if operand.single:
                self._code(f"tl.store({name}_ptr + line, tl.sum({name}))", 1)
            else:
                total = f"tl.sum({name}, axis=0, keep_dims=True)"
                self._code(f"tile.store({name}_ptr + line * WIDTH + column, {total}, in_width)", 1)

    def _signature(self, kind: str, parameters: Sequence[str]) -> None:
        """The parameters one on a line; sizes that a call decides are not compiled in."""
        sizes = [
            name
            for name in parameters
            if name in ("rows", "slab", "parts") or name.endswith(("_inner", "_period"))
        ]
        self._decorator([f'"{name}"' for name in sizes])
        self._prose(f"def {self.name}_{kind}_kernel(")
        for name in parameters:
            self._prose(f"{name}: tl.tensor,", 1)
        for name in ("WIDTH", "ROWS", "BLOCK"):
            self._prose(f"{name}: tl.constexpr,", 1)
        self._prose(") -> None:")

    def _decorator(self, sizes: Sequence[str]) -> None:
        listed = f"do_not_specialize=[{', '.join(sizes)}]"
        if len(f"@triton.jit({listed})") <= WIDTH:
            self._prose(f"@triton.jit({listed})")
            return
        self._prose("@triton.jit(")
        if len(listed) + 4 <= WIDTH:
            self._prose(listed, 1)
        else:
            self._prose("do_not_specialize=[", 1)
            for size in sizes:
                self._prose(f"{size},", 2)
            self._prose("]", 1)
        self._prose(")")

    def _frame(self, block: int) -> None:
        """Columns of a program, and numbers in float32: Inductor passes floats as float64."""
        self._prose(f"column = tile.columns(tl.program_id({block}), BLOCK)", 1)
        self._prose("in_width = column < WIDTH", 1)
        for name in self.section.frame.numbers.values():
            self._prose(f"{name} = tl.cast({name}, tl.float32)", 1)

    def _masks(self, level: int) -> None:
        self._prose("in_rows = row < rows", level)
        self._prose("mask = in_rows & in_width", level)

    def _loads(self, level: int, operands: Iterable[Operand]) -> None:
        for operand in operands:
            note = str(operand.value.type)
            self._code(f"{operand.name} = {operand.load}", level, note)

    def _store(self, level: int, name: str, code: str, single: bool) -> None:
        pointers, mask = f"{name}_ptr + row * WIDTH + column", "mask"
        if single:
            pointers, mask = f"{name}_ptr + row", "in_rows"
        self._code(f"tile.store({pointers}, {code}, {mask})", level)

    # ---------------------------------------------------------------- registration

    def _registration(self) -> None:
        frame, backward = self.section.frame, self.section.backward
        self._prose(f"{self.name} = register(")
        self._prose("Fused(", 1)
        self._code(f'name="{self.registered}",', 2)
        self._items("operands", [self._operand(operand) for operand in frame.operands])
        self._items("results", [self._result(place) for place in range(len(frame.results))])
        for part in ("reference", "reference_backward", "forward_kernel", "backward_kernel"):
            has_one = backward is not None or "backward" not in part
            self._prose(f"{part}={f'{self.name}_{part}' if has_one else 'None'},", 2)
        if frame.numbers:
            listed = ", ".join(f'"{name}"' for name in frame.numbers.values())
            comma = "," if len(frame.numbers) == 1 else ""
            self._prose(f"numbers=({listed}{comma}),", 2)
        if frame.whole_rows:
            self._prose("whole_rows=True,", 2)
        self._prose(")", 1)
        self._prose(")")

    def _items(self, field_: str, items: list[str]) -> None:
        whole = f"{field_}=({items[0]},),"
        if len(items) == 1 and len(whole) + 8 <= WIDTH:
            self._prose(whole, 2)
            return
        self._prose(f"{field_}=(", 2)
        for item in items:
            self._prose(f"{item},", 3)
        self._prose("),", 2)

    def _operand(self, operand: Operand) -> str:
        parts = [f'"{operand.name}"']
        parts += [] if operand.rows == "full" else [f'rows="{operand.rows}"']
        parts += ["single=True"] if operand.single else []
        parts += ["is_mask=True"] if operand.is_mask else []
        parts += [] if operand.varies else ["varies=False"]
        backward = self.section.backward
        if backward is not None:
            wanted = [backward.found[o.value] for o in self.section.frame.operands if o.varies]
            if not uses(backward.nodes, wanted)[operand.value]:
                parts.append("in_backward=False")
        return f"Operand({', '.join(parts)})"

    def _result(self, place_: int) -> str:
        frame = self.section.frame
        of, is_wide = _sources(frame, frame.results[place_])
        comma = "," if len(of) == 1 else ""
        parts = [f"of=({', '.join(map(str, of))}{comma})"]
        parts += ["single=True"] if frame.singles[place_] else []
        parts += ["wide=True"] if is_wide else []
        return f"Result({', '.join(parts)})"

    # ---------------------------------------------------------------- helpers

    def _tensors(self) -> list[str]:
        return [f"{operand.name}: Tensor" for operand in self.section.frame.operands]

    def _numbers(self) -> list[str]:
        return [f"{name}: float" for name in self.section.frame.numbers.values()]

    def _taken(self) -> set[str]:
        frame = self.section.frame
        own = (*(operand.name for operand in frame.operands), *frame.numbers.values())
        return {*RESERVED, *HELPERS, *own}

    def _gradient_names(self, backward: Backward, taken: set[str]) -> dict[Value, str]:
        return {value: _free(value.name, taken) for value in backward.given}

    def _statements(self, level: int, is_triton: bool) -> Statements:
        frame = self.section.frame
        wide = next((operand.name for operand in frame.operands if not operand.single), "x")
        width = "WIDTH" if is_triton else f"{wide}.shape[-1]"
        numbers = frame.numbers
        statements = Statements(level, width, numbers, self.require, is_triton, self._taken())
        for operand in frame.operands:
            statements.name(operand.value, operand.name)
        return statements

    def _append(self, statements: Statements) -> None:
        self.lines += statements.lines

    def _code(self, text: str, level: int, note: str = "") -> None:
        self.lines.append(Line(text, level, None, note))

    def _prose(self, text: str, level: int = 0) -> None:
        self.lines.append(Line(text, level, is_prose=True))

    def _blank(self) -> None:
        self.lines += [Line(""), Line("")]


def _free(name: str, taken: set[str]) -> str:
    found = unused(local_name(name), taken)
    taken.add(found)
    return found


def _returns(count: int) -> str:
    return "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"


def _sources(frame: Frame, result: Value) -> tuple[list[int], bool]:
    """The places of the float operands that a result is made of; whether `f32` is on the way."""
    needed, is_wide = {result}, False
    for node in reversed(frame.nodes):
        if node.output in needed:
            # A norm has the dtype of what it normalises, whatever that of its weight.
            of = node.args["x"] if node.op in ("rms_norm", "layer_norm") else None
            operands = [of] if isinstance(of, Value) else node.operands()
            needed.update(value for value in operands if value.type.kind == "float")
            is_wide = is_wide or node.op == "f32"
    return [i for i, o in enumerate(frame.operands) if o.value in needed], is_wide
