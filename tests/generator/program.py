"""A whole design: units, functions, hyperparameters, children, Z, and what the root returns."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .body import Body, floats
from .layers import GENERAL
from .pointwise import POINTWISE, Production, inline
from .scans import MIXING
from .unit import STREAM, Unit, Written, finish, signature

Keep = Callable[[str], bool]
"""Whether a part of the program, by its path, is generated: what shrinking decides."""


WIDTHS = (8, 12, 16)


@dataclass(frozen=True)
class Program:
    """The text of a design, the width it is meant for, and the paths of its removable parts."""

    text: str
    width: int
    layers: int
    parts: tuple[str, ...]


def generate(seed: int, size: int = 8, keep: Keep = lambda path: True) -> Program:
    """The program of a seed. `size` is the number of statements tried in each unit."""
    return _Generator(seed, size, keep).program()


@dataclass
class _Generator:
    seed: int
    size: int
    keep: Keep
    functions: list[tuple[str, str]] = field(default_factory=list)
    """Name and text of pointwise functions of two tensors."""
    units: list[Written] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def rng(self, path: str) -> random.Random:
        return random.Random(f"{self.seed}/{path}")

    def kept(self, path: str) -> bool:
        self.parts.append(path)
        return self.keep(path)

    def program(self) -> Program:
        rng = self.rng("program")
        width, layers = rng.choice(WIDTHS), rng.choice([1, 2, 2, 3])
        for place in range(rng.randint(0, 2)):
            if self.kept(f"fn{place}"):
                self.functions.append(self._function(place))
        kinds = ["stream", "stream", "pair", "last", "heads"]
        for place in range(rng.randint(0, 3)):
            if self.kept(f"unit{place}"):
                kind = self.rng(f"kind{place}").choice(kinds)
                self.units.append(self._unit(f"Unit{place}", kind, width))
        root = self._unit("Root", "root", width)
        texts = [text for _, text in self.functions] + [unit.text for unit in self.units]
        head = "gab Root"
        if rng.random() < 0.3:
            head += rng.choice(
                [" with tie=false", " with logit_cap=20.0", " with embed_scale=sqrt(D), tie=false"]
            )
        return Program(
            "\n\n".join([head, *texts, root.text]) + "\n", width, layers, tuple(self.parts)
        )

    # ---------------------------------------------------------------- functions

    def _function(self, place: int) -> tuple[str, str]:
        rng = self.rng(f"fn{place}")
        name = f"mix{place}"
        body = Body(rng, None, None, indent=1, prefix="f")
        typed = rng.random() < 0.4
        type_ = floats("B", "L", "D")
        for argument in ("a", "b"):
            body.give(argument, type_)
            body.unused[argument] = None
            body.arguments.add(argument)
        for _ in range(rng.randint(1, 4)):
            rng.choice(POINTWISE)(body)
        results = [n for n in body.unused if body.type(n).kind == "float"] or ["a"]
        masks = [n for n in body.unused if body.type(n).kind == "bool"]
        total = " + ".join([*results, *(f"float({n})" for n in masks)])
        default = rng.choice(["", ", c=0.5", ", c: float[] = 0.5"][:2])
        factor = "" if not default else " * c"
        annotation = ": [B, L, D]" if typed else ""
        lines = [f"fn {name}(a{annotation}, b{annotation}{default}) {{", *body.lines]
        lines += [f"    return tanh({total}){factor}", "}"]
        return name, "\n".join(lines)

    # ---------------------------------------------------------------- units

    def _unit(self, name: str, kind: str, width: int) -> Written:
        rng = self.rng(name)
        unit = Unit(name, width)
        self._declare(rng, unit, width)
        body = Body(rng, unit, "L")
        header, results = signature(kind, body)
        reads: list[str] = []
        writes: list[str] = []
        if kind in ("root", "stream"):
            self._read_z(rng, unit, body, kind, reads, name)
        steps: Sequence[Production] = (*GENERAL, *MIXING, *MIXING)
        if kind == "last":
            steps = tuple(p for p in GENERAL if p.__name__ in _ANY_RANK)
        for place in range(rng.randint(self.size // 2, self.size) if self.size else 0):
            path = f"{name}.{place}"
            if not self.kept(path):
                continue
            body.rng = self.rng(path)
            body._count = 100 * (place + 1)
            unit._count = 100 * (place + 1)
            choice = body.rng.random()
            if choice < 0.12 and kind != "last" and self._call(body, unit):
                continue
            if choice < 0.18 and self.functions and kind != "last" and self._use_function(body):
                continue
            if choice < 0.26 and kind != "last" and self._control(body, unit):
                continue
            for _ in range(4):
                body.guarded.clear()
                if body.rng.choice(steps)(body):
                    break
        body.rng = self.rng(f"{name}.end")
        unit._count = 9000
        if kind == "root":
            for place, other in enumerate(self.units):
                if self.kept(f"{name}.call{place}"):
                    self._call(body, unit, other)
        if kind in ("root", "stream"):
            self._write_z(body, unit, kind, writes, name)
        scale = ""
        if kind == "root":
            # Features must differ, for the norm before the head divides by their deviation.
            scale = unit.param(body.rng, ("D",), "ones")
        finish(body, results, scale)
        hypers = f"({', '.join(unit.hypers)})"
        lines = [f"unit {name}{hypers} {{"]
        lines += [f"    {line}" for line in [*unit.dims, *unit.z, *unit.parts]]
        lines += ["", f"    forward({header}) {{", *body.lines, "    }", "}"]
        return Written(unit, kind, "\n".join(lines), tuple(reads), tuple(writes))

    def _declare(self, rng: random.Random, unit: Unit, width: int) -> None:
        """Hyperparameters and dims: heads that divide D, and even sizes."""
        heads = rng.choice([h for h in (1, 2, 4) if width % (2 * h) == 0])
        groups = rng.choice([g for g in (1, 2, 4) if heads % g == 0])
        if rng.random() < 0.8:
            unit.hypers.append(f"heads: int = {heads}")
            unit.arguments += [
                f"heads={h}" for h in (1, 2, 4) if width % (2 * h) == 0 and h % groups == 0
            ]
            unit.dims += ["dim H = heads", "dim K = D / H"]
            unit.heads = ("H", "K")
            if rng.random() < 0.5:
                unit.hypers.append(
                    f"groups: int = {groups}" if rng.random() < 0.5 else "groups: int = heads"
                )
                unit.dims.append("dim G = groups")
                unit.groups = "G"
        sizes = []
        if rng.random() < 0.7:
            default = rng.choice(["4", "2", "6", "D / 2", "2 * D", "ceil_to(D / 3, 4)"])
            unit.hypers.append(f"n: {rng.choice(['dim', 'int'])} = {default}")
            unit.dims.append("dim N = n")
            unit.arguments += ["n=2", "n=4", "n=D / 2", "n=D"]
            sizes.append("N")
        if not sizes or rng.random() < 0.4:
            unit.dims.append(
                f"dim M = {rng.choice(['4', '2 * D', 'D / 2', 'max(4, D / 4)', 'min(D, 6)'])}"
            )
            sizes.append("M")
        if rng.random() < 0.3:
            unit.hypers.append(f"gain: float = {rng.choice(['0.5', '1.5', '1e-2', '2.0'])}")
            unit.arguments += ["gain=0.25", "gain=1.0 / n_layers", "gain=2"]
        if rng.random() < 0.2:
            unit.hypers.append(f"flag: bool = {rng.choice(['true', 'false'])}")
            unit.arguments += ["flag=true", "flag=false"]
        if rng.random() < 0.15:
            unit.hypers.append("rates: list[float] = [0.1, 0.5, 0.9]")
            unit.arguments.append("rates=[0.3]")
        unit.sizes = sizes
        narrow = ["D", *sizes, *(["K"] if unit.heads else [])]
        unit.dims += [f"require min({dim}, 2) == 2" for dim in narrow]
        streams = [c for c in self.units if c.kind == "stream" and not c.needs_z]
        if streams and rng.random() < 0.3:
            filling = rng.choice(streams)
            unit.hypers.append(f"slot: unit = {self._construct(rng, filling, plain=True)}")
            unit.arguments += [
                f"slot={self._construct(rng, other, plain=True)}" for other in streams
            ]

    def _construct(self, rng: random.Random, child: Written, plain: bool = False) -> str:
        options: dict[str, str] = {}
        for argument in child.unit.arguments:
            name = argument.partition("=")[0]
            if rng.random() < 0.3 and not (plain and name == "slot"):
                options[name] = argument
        return f"{child.unit.name}({', '.join(options.values())})"

    # ---------------------------------------------------------------- calls, loops, conditions

    def _call(self, body: Body, unit: Unit, child: Written | None = None) -> bool:
        rng = body.rng
        if child is None:
            if not self.units:
                return False
            child = rng.choice(self.units)
        if unit.name == child.unit.name or (
            any("slot" in h for h in unit.hypers) and rng.random() < 0.3
        ):
            x = body.pick(lambda t: t == STREAM)
            if x is None or not any(h.startswith("slot") for h in unit.hypers):
                return False
            body.bind(f"slot({x})", STREAM, 3.0)
            return True
        if child.kind == "heads":
            return self._call_heads(body, unit, child)
        x = body.pick(lambda t: t == STREAM)
        if x is None:
            return False
        name = unit.child(rng, self._construct(rng, child))
        if child.kind == "pair":
            y = body.pick(lambda t: t == STREAM) or x
            body.bind_several(f"{name}({x}, {inline(body, y)})", [STREAM, STREAM], [3.0, 3.0])
        elif child.kind == "stream" and rng.random() < 0.25:
            array = unit.child(rng, f"{self._construct(rng, child)} * {rng.randint(1, 3)}")
            result = body.bind_raw(f"{name}({x})", STREAM, 2.0)
            head, index = rng.choice(
                [
                    (f"for e in {array} {{", "e"),
                    (f"for place, e in enumerate({array}) {{", "e"),
                ]
            )
            body.statement(head)
            body.indent += 1
            factor = " * (place + 1)" if "place" in head else ""
            body.statement(f"{result} = {result} + 0.1 * {index}({result}){factor}")
            body.indent -= 1
            body.statement("}")
        else:
            body.bind(f"{name}({inline(body, x)})", STREAM, 3.0)
        return True

    def _call_heads(self, body: Body, unit: Unit, child: Written) -> bool:
        x = body.pick(
            lambda t: (
                t.kind == "float"
                and t.dims[:2] == ("B", "L")
                and t.rank == 4
                and "L" not in t.dims[2:]
            )
        )
        if x is None:
            return False
        name = unit.child(body.rng, self._construct(body.rng, child))
        body.bind(f"{name}({x})", body.type(x), 3.0)
        return True

    def _use_function(self, body: Body) -> bool:
        name, text = body.rng.choice(self.functions)
        x = body.pick(lambda t: t == STREAM)
        if x is None:
            return False
        y = body.pick(lambda t: t == STREAM) or x
        arguments = [inline(body, x), inline(body, y)]
        if "c=" in text.partition("{")[0] and body.rng.random() < 0.5:
            arguments.append(body.rng.choice(["c=2.0", "c=layer + 1", "c=1.0 / n_layers"]))
        body.bind(f"{name}({', '.join(arguments)})", STREAM, 2.0)
        return True

    def _control(self, body: Body, unit: Unit) -> bool:
        """A static condition, a loop over numbers, or a conditional expression."""
        rng = body.rng
        x = body.pick(lambda t: t.kind == "float")
        if x is None:
            return False
        type_, size = body.type(x), body.size(x)
        conditions = ["layer % 2 == 0", "layer == 0", "layer < n_layers - 1", "D > 10"]
        if any(h.startswith("flag") for h in unit.hypers):
            conditions.append("flag")
        if unit.heads:
            conditions.append("heads > 1")
        condition = rng.choice(conditions)
        match rng.randrange(4):
            case 0:
                number = rng.choice(["0.5", "-1.0", "layer", "D / n_layers"])
                scale = f"({number} if {condition} else 0.1)"
                body.bind(f"tanh({x} * {scale})", type_)
            case 1:
                name = body.bind_raw(f"{x} * 0.5", type_, size)
                body.statement(f"if {condition} {{")
                body.statement(f"    {name} = sin({name})")
                body.statement("} else {" if rng.random() < 0.7 else "}")
                if body.lines[-1].endswith("{"):
                    body.statement(f"    {name} = {name} - 0.25 * {inline(body, name)}")
                    body.statement("}")
                body.unused[name] = None
            case 2:
                name = body.bind_raw(f"tanh({x})", type_)
                items = rng.choice(["range(3)", "range(layer + 1)", "[0.1, 0.7]", "range(1, 5, 2)"])
                if any(h.startswith("rates") for h in unit.hypers) and rng.random() < 0.7:
                    items = "rates"
                body.statement(f"for i in {items} {{")
                body.statement(f"    {name} = {name} * 0.9 + 0.1 * tanh(i * {name})")
                body.statement("}")
                body.unused[name] = None
            case _:
                numbers = ["layer", "n_layers", "D", "2 ** layer", "sqrt(D)", "1.0 / (layer + 1)"]
                numbers += unit.sizes
                if any(h.startswith("gain") for h in unit.hypers):
                    numbers += ["gain"] * 3
                number = rng.choice(numbers)
                body.bind(
                    rng.choice(
                        [f"sin({number} * {x})", f"{x} / (1 + {number})", f"tanh({x} - {number})"]
                    ),
                    type_,
                    size + 1.0,
                )
        return True

    # ---------------------------------------------------------------- Z

    def _read_z(
        self, rng: random.Random, unit: Unit, body: Body, kind: str, reads: list[str], name: str
    ) -> None:
        chance = rng.random()
        if chance < 0.25 and self.kept(f"{name}.read"):
            unit.z.append("reads memo: [B, L, D]?")
            x = body.pick(lambda t: t == STREAM, fresh_first=False) or "X"
            body.bind(f"Z.memo ?? {x}", STREAM, 2.0)
        elif chance < 0.4 and kind == "root" and self.kept(f"{name}.keyed"):
            unit.z += ["reads past[int]: [B, L, D]", "writes past[int]: [B, L, D]"]
            held = body.bind_raw("tanh(X)", STREAM)
            body.statement("if layer > 0 {")
            body.statement(f"    {held} = {held} + 0.5 * Z.past[layer - 1]")
            body.statement("}")
            body.statement(f"Z.past[layer] = {held}")

    def _write_z(self, body: Body, unit: Unit, kind: str, writes: list[str], name: str) -> None:
        del kind
        if body.rng.random() < 0.3 and self.kept(f"{name}.write"):
            x = body.pick(lambda t: t == STREAM)
            if x is not None:
                unit.z.append("writes memo: [B, L, D]")
                body.statement(f"Z.memo = {inline(body, x)}")
                writes.append("memo")
                if body.rng.random() < 0.4:
                    unit.z.insert(0, "reads note: [B, L, D]?")
                    body.bind(f"(Z.note ?? {x}) * 0.5", STREAM, 2.0)


_ANY_RANK = {"unary", "binary", "norm", "linear", "condition", "softmax", "halves"}
