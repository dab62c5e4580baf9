"""Rewrites of a design's text: some keep its meaning, others change it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gabc.ops import PRIMITIVES

ROOT = Path(__file__).parent.parent
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")

_MODULE = re.compile(r"^from std\.(\w+) import .*$", re.M)
_WORDS = """gab unit fn forward from import dim param buffer reads writes state scan return if else
for in and or not true false none require test loss shared chunk with as B L D layer n_layers t Z X
int float bool str string list None Linear Sequential range enumerate zip len score b h i j keep
init bias causal"""
_FIXED = {
    *_WORDS.split(),
    *PRIMITIVES,
    *(parameter.name for primitive in PRIMITIVES.values() for parameter in primitive.parameters),
    "sqrt", "exp", "log", "min", "max", "ceil_to", "floor", "ceil", "round", "abs", "cos", "sin",
}  # fmt: skip


def flat(name: str) -> str:
    """A seed with the library units it is made of, in one file without comments."""
    text = (ROOT / "examples" / f"{name}.gab").read_text(encoding="utf-8")
    done: dict[str, str] = {}

    def gather(source: str) -> None:
        for module in _MODULE.findall(source):
            if module not in done:
                library = (ROOT / "stdlib_gaus" / f"{module}.gab").read_text(encoding="utf-8")
                gather(library)
                done[module] = library

    gather(text)
    own, *rest = text.split("\nunit ", 1)
    parts = [_MODULE.sub("", own), *(_MODULE.sub("", part) for part in done.values())]
    return reached(without_comments("\n".join([*parts, *(f"unit {part}" for part in rest)])))


_DEFINITION = re.compile(r"^(?:unit|fn) (\w+)", re.M)


def reached(text: str) -> str:
    """The text without the units and functions that the design does not come to."""
    head, *parts = re.split(r"^(?=unit |fn )", text, flags=re.M)
    named = {_DEFINITION.match(part)[1]: part for part in parts}  # type: ignore[index]
    design = re.search(r"gab (\w+)", head)
    assert design is not None
    kept, waiting = set(), [design[1]]
    while waiting:
        name = waiting.pop()
        if name in named and name not in kept:
            kept.add(name)
            waiting += re.findall(r"\w+", named[name])
    return head + "".join(part for name, part in named.items() if name in kept)


def without_comments(text: str) -> str:
    return re.sub(r"#.*", "", text)


def outside_strings(text: str, change: Callable[[str], str]) -> str:
    """The text with everything but its string literals changed."""
    parts = re.split(r'("[^"]*")', text)
    return "".join(part if part.startswith('"') else change(part) for part in parts)


def renamed(text: str, prefix: str = "q_") -> str:
    """Every name of the author's own changed, but for single letters, which size patterns."""
    design = re.search(r"gab (\w+)", text)
    assert design is not None

    def change(part: str) -> str:
        return re.sub(
            r"(?<![\w.])([A-Za-z_]\w+)|(?<=Z\.)(\w+)",
            lambda m: m[0] if m[0] in _FIXED else prefix + m[0],
            part,
        )

    return outside_strings(text, change)


_STATEMENT = re.compile(r"^( {8})(\w+(?:, \w+)*) = (.+)$")


def reordered(text: str, seed: int) -> str:
    """Neighbouring assignments of a forward swapped at random where neither needs the other."""
    rng = random.Random(seed)
    lines = text.split("\n")
    for _ in range(3):
        for place in range(len(lines) - 1):
            if _may_swap(lines[place], lines[place + 1]) and rng.random() < 0.7:
                lines[place], lines[place + 1] = lines[place + 1], lines[place]
    return "\n".join(lines)


def _may_swap(first: str, second: str) -> bool:
    one, two = _STATEMENT.match(first), _STATEMENT.match(second)
    if one is None or two is None or "Z." in first + second or "{" in first + second:
        return False
    if any(line.count("(") != line.count(")") for line in (first, second)):
        return False
    names = [set(re.findall(r"\w+", match[2])) for match in (one, two)]
    used = [set(re.findall(r"\w+", match[3])) for match in (one, two)]
    return not (names[0] & (names[1] | used[1]) or names[1] & used[0])


def members_reordered(text: str) -> str:
    """Runs of children in a unit turned around; their order is the order of members, no more."""
    lines = text.split("\n")
    child = re.compile(r"^    \w+ += \w+\(.*\)$")
    place = 0
    while place < len(lines):
        end = place
        while end < len(lines) and child.match(lines[end]):
            end += 1
        lines[place:end] = lines[place:end][::-1]
        place = max(end, place + 1)
    return "\n".join(lines)


def commuted(text: str) -> str:
    """`X = X + f(X)` and `return X + f(X)` the other way round, products of two names, too."""
    text = re.sub(r"(X = |return )X \+ (\w+\(.+\))$", r"\1\2 + X", text, flags=re.M)
    return outside_strings(text, lambda part: re.sub(r"\b(x\d) \* (\w)\b", r"\2 * \1", part))


def with_helpers(text: str) -> str:
    """`square(x)` as a function of one's own, and `a - b` of two names as `a + (-b)`."""
    text = outside_strings(text, lambda part: re.sub(r"\bsquare\(", "own_square(", part))
    text = re.sub(r"(?<![*/\w.] )\b(\w+) - (\w+)\b(?! [*/]|[\w(.\[])", r"\1 + (-\2)", text)
    return text + "\n\nfn own_square(a) {\n    return a * a\n}\n"


_NUMBER = re.compile(r"(?<![\w.\"])(\d+\.\d+(?:e-?\d+)?|\d+e-?\d+|\d+)(?![\w.])")
_FUNCTION = re.compile(r"\b(silu|tanh|sigmoid|exp|relu|softplus|rms_norm|layer_norm|cos|sin)\(")
_OTHER = {
    "silu": "gelu", "tanh": "sin", "sigmoid": "tanh", "exp": "softplus", "relu": "silu",
    "softplus": "exp", "rms_norm": "layer_norm", "layer_norm": "rms_norm", "cos": "sin",
    "sin": "cos",
}  # fmt: skip
_OPERATOR = re.compile(r"(?<=[\w)\]]) ([-+*/]) (?=[\w(-])")
_SWAPPED = {"+": "-", "-": "+", "*": "/", "/": "*"}


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """(what was done, the text) with one number, function or operator of a unit changed.

    Most change the meaning; some are refused, and some change what nothing uses.
    """
    strings = [match.span() for match in re.finditer(r'"[^"]*"', text)]
    start = text.index("unit ")

    def changed(match: re.Match[str], new: str) -> Iterator[tuple[str, str]]:
        inside = any(a <= match.start() < b for a, b in strings)
        if not inside and match.start() > start:
            what = f"{match[1]} -> {new} at {match.start()}"
            yield what, text[: match.start(1)] + new + text[match.end(1) :]

    for match in _NUMBER.finditer(text):
        is_int = match[1].isdigit()
        yield from changed(match, str(2 * int(match[1]) if is_int else 0.75 * float(match[1])))
    for match in _FUNCTION.finditer(text):
        yield from changed(match, _OTHER[match[1]])
    for match in _OPERATOR.finditer(text):
        yield from changed(match, _SWAPPED[match[1]])
