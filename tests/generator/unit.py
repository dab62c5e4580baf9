"""A unit being written: its members, its signature, and how its values end in its results."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from .body import Body, Type, floats

STREAM = floats("B", "L", "D")


HOSTILE = (
    *("keys", "keys_", "half", "half_", "type", "type_", "items", "_x", "_x_", "__x"),
    *("c1_c1", "c1_c2", "c2_c1", "c1_2", "self", "exact_div", "time_steps"),
)
"""Names of members that torch, Python or the generated text has another use for, or makes."""


@dataclass
class Unit:
    """A unit being written. `required` are hyperparameters without a default."""

    name: str
    width: int
    hypers: list[str] = field(default_factory=list)
    dims: list[str] = field(default_factory=list)
    z: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    """What a constructor call may say, each `name=value`; `!name=value` what it must."""
    heads: tuple[str, str] | None = None
    groups: str | None = None
    sizes: Sequence[str] = ()
    _count: int = 0
    _hostile: list[str] = field(default_factory=lambda: list(HOSTILE))

    def _member(self, rng: random.Random, prefix: str) -> str:
        self._count += 1
        if self._hostile and rng.random() < 0.2:
            return self._hostile.pop(rng.randrange(len(self._hostile)))
        return f"{prefix}{self._count}"

    def param(self, rng: random.Random, dims: tuple[str, ...], like: str = "small") -> str:
        name = self._member(rng, "p")
        last = dims[-1]
        inits = {
            "small": ["normal(0.0, 0.3)", "uniform(-0.4, 0.4)", "kaiming() * 0.5"],
            "ones": ["ones()", "1.0", "1.0 + 0.1 * normal()", "uniform(0.5, 1.5)"],
            "any": [
                "zeros()",
                "0.5",
                "trunc_normal(0.2)",
                "normal(0.0, 0.02) / sqrt(n_layers)",
                f"arange({last}) / {last} - 0.5",
                "kaiming(fan_in=D)",
            ],
        }[like]
        if len(dims) >= 2 and like != "ones":
            inits = [*inits, "xavier()", "xavier(0.5) + 0.1", "orthogonal()"]
        if len(dims) == 2 and dims[0] == dims[1]:
            inits.append(f"eye({last}) * 0.5")
        word = "buffer" if rng.random() < 0.1 else "param"
        self.parts.append(f"{word} {name}: [{', '.join(dims)}] = {rng.choice(inits)}")
        return name

    def child(self, rng: random.Random, text: str, can_share: bool = False) -> str:
        name = self._member(rng, "c")
        shared = "shared " if rng.random() < 0.08 and can_share else ""
        self.parts.append(f"{shared}{name} = {text}")
        return name


@dataclass(frozen=True)
class Written:
    """A finished unit, as others call it."""

    unit: Unit
    kind: str
    """`stream`, `pair` (two arguments, two results), `last` (`[..., D]`), `heads`."""
    text: str
    needs_z: tuple[str, ...] = ()
    makes_z: tuple[str, ...] = ()


def signature(kind: str, body: Body) -> tuple[str, list[Type]]:
    """The arguments of `forward`, put in scope, and the types of its results."""
    header, arguments, results = {
        "pair": ("X, Y: [B, L, D]", {"X": STREAM, "Y": STREAM}, [STREAM, STREAM]),
        "last": ("x: [..., D]", {"x": floats("...", "D")}, [floats("...", "D")]),
        "heads": (
            "x: [B, L, P, Q]",
            {"x": floats("B", "L", "P", "Q")},
            [floats("B", "L", "P", "Q")],
        ),
    }.get(kind, ("X", {"X": STREAM}, [STREAM]))
    for name, type_ in arguments.items():
        body.give(name, type_)
        body.unused[name] = None
        body.arguments.add(name)
    body.unsized = frozenset({"P", "Q"})
    return header, results


def finish(body: Body, results: Sequence[Type], scale: str = "") -> None:
    """Fold every unused value into the results, and return them, the first times `scale`."""
    body.rng = random.Random(len(body.lines))
    totals: list[str] = []
    for result in results:
        exact = [n for n, held in body.values.items() if held.type == result]
        waiting = [n for n in exact if n in body.unused]
        totals.append(body.use((waiting or exact)[-1]))
    target = results[0]
    extra = [text for name in list(body.unused) if (text := folded(body, name, target)) is not None]
    first = " + 0.5 * ".join([totals[0], *extra])
    if scale:
        first = f"X + {scale} * ({first})"
    body.statement(f"return {', '.join([first, *totals[1:]])}")


def folded(body: Body, name: str, target: Type) -> str | None:
    """A value as something that broadcasts to the target."""
    body.use(name)
    type_ = body.type(name)
    text = name
    if type_.kind != "float":
        text, type_ = f"float({text})", Type("float", type_.dims)
    if type_.dims == target.dims:
        return f"tanh({text})"
    text = f"tanh({text})"
    if target.dims[0] == "...":
        return (
            None
            if type_.dims[:1] == ("...",) and type_.rank > target.rank
            else (f"mean({text}, axis=-1, keep=true)" if type_.rank else text)
        )
    # Time and batch are brought to the front, every other axis is summed away.
    dims = list(type_.dims)
    closed = [a for a, dim in enumerate(dims) if dim in ("B", "L")]
    if len({dims[a] for a in closed}) < len(closed):
        return None
    for axis in reversed(range(len(dims))):
        if axis not in closed:
            text = f"mean({text}, axis={axis})"
            del dims[axis]
    spare = ", None" * (target.rank - 2)
    match dims:
        case ["B", "L"]:
            return f"{text}[:, :{spare}]"
        case ["L", "B"]:
            return f'rearrange({text}, "l b -> b l")[:, :{spare}]'
        case ["L"]:
            return f"{text}[:{spare}]"
        case ["B"]:
            return f"{text}[:, None{spare}]"
    return text
