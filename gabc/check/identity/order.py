"""A normal form as text that depends on neither names nor the order in which things were written.

Nodes are coloured by what they compute and by what is computed from them, as in the method of
Weisfeiler and Leman (1968); the colours order what has no order of its own. The text then spells
out the whole graph, so that two designs with one text are one function whatever the colours were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gabc.check.identity.reduce import Normal, NormalForm

MAX_ROUNDS = 8
"""Rounds of colouring; designs settle after two or three. More would only order symmetric parts."""


@dataclass(frozen=True, slots=True)
class Text:
    """The canonical text: nodes with their operands' numbers, what leaves are, results.

    `leaves` are the keys of the leaves in the order in which the text has them.
    """

    lines: tuple[str, ...]
    leaves: tuple[tuple[object, ...], ...]


def text_of(form: NormalForm) -> Text:
    """The canonical text of a normal form."""
    writer = _Writer(form, _Colours(form).settle())
    lines = tuple(writer.lines())
    nodes = (form.nodes[number] for number in writer.numbers)
    return Text(lines, tuple(node.leaf.key for node in nodes if node.leaf is not None))


def digest(*parts: str) -> str:
    """A short hash of strings, the same in every process."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@dataclass
class _Colours:
    form: NormalForm
    leaves: dict[int, str] = field(default_factory=dict)
    down: list[str] = field(default_factory=list)
    """By what a node computes."""
    up: list[str] = field(default_factory=list)
    """By what uses it."""

    def settle(self) -> list[str]:
        """The colours, once leaves that differ in their use have come apart."""
        nodes = self.form.nodes
        leaves = [number for number, node in enumerate(nodes) if node.leaf is not None]
        self.leaves = {number: nodes[number].op for number in leaves}
        found = 0
        for _ in range(MAX_ROUNDS):
            self.down = []
            for number, node in enumerate(nodes):
                self.down.append(self.compute(number, node))
            self.look_up()
            colours = [digest(*pair) for pair in zip(self.down, self.up, strict=True)]
            for leaf in leaves:
                follow = (self.down[n] for n in self.form.follow.get(leaf, ()))
                self.leaves[leaf] = digest(self.leaves[leaf], colours[leaf], *follow)
            before, found = found, len(set(colours))
            if found == before:
                break
        return colours

    def compute(self, number: int, node: Normal) -> str:
        parts = sorted(
            digest(self.down[part], weight)
            for (part, _), weight in zip(node.parts, self.weights(node), strict=True)
        )
        operands = (self.down[operand] for operand in node.operands)
        leaf = self.leaves.get(number, "")
        return digest(node.op, node.signature, leaf, *operands, "of", *parts)

    def weights(self, node: Normal) -> list[str]:
        """What the parts' weights say, an einsum's axes by where else their letters stand."""
        if node.op != "einsum":
            return [weight for _, weight in node.parts]
        *inputs, output = node.letters
        places: dict[str, list[str]] = {}
        for (part, _), letters in zip(node.parts, inputs, strict=True):
            for axis, letter in enumerate(letters):
                places.setdefault(letter, []).append(f"{self.down[part]}.{axis}")
        for axis, letter in enumerate(output):
            places.setdefault(letter, []).append(f"result.{axis}")
        names = {letter: digest(*sorted(found)) for letter, found in places.items()}
        return [digest(*(names[letter] for letter in letters)) for letters in inputs]

    def look_up(self) -> None:
        uses: list[list[str]] = [[] for _ in self.form.nodes]
        for place, root in enumerate(self.form.roots):
            uses[root].append(f"result {place}")
        for leaf, follow in self.form.follow.items():
            for place, number in enumerate(follow):
                uses[number].append(f"{self.leaves[leaf]} {place}")
        self.up = [""] * len(uses)
        for number in reversed(range(len(uses))):
            self.up[number] = colour = digest(*sorted(uses[number]))
            node = self.form.nodes[number]
            for place, operand in enumerate(node.operands):
                uses[operand].append(digest(colour, self.down[number], str(place)))
            for (part, _), weight in zip(node.parts, self.weights(node), strict=True):
                uses[part].append(digest(colour, self.down[number], weight))


@dataclass
class _Writer:
    form: NormalForm
    colours: list[str]
    numbers: dict[int, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        waiting: list[int] = []
        for root in self.form.roots:
            yield from self.visit(root, waiting)
        # What leaves are defined by, in the order in which the leaves were met.
        for leaf in waiting:
            follow = self.form.follow.get(leaf, ())
            for number in follow:
                yield from self.visit(number, waiting)
            if follow:
                yield f"{self.numbers[leaf]} is {self.references(follow)}"
        yield f"results {self.references(self.form.roots)}"

    def visit(self, root: int, waiting: list[int]) -> Iterator[str]:
        """Operands before their users, without recursion: graphs may be deep."""
        stack: list[tuple[int, Iterator[int]]] = []

        def enter(number: int) -> None:
            node = self.form.nodes[number]
            parts = [part for part, _, _ in self.ordered(node)]
            stack.append((number, iter([*node.operands, *parts])))

        if root not in self.numbers:
            enter(root)
        while stack:
            number, operands = stack[-1]
            below = next((n for n in operands if n not in self.numbers), None)
            if below is not None:
                enter(below)
                continue
            stack.pop()
            if number not in self.numbers:
                self.numbers[number] = len(self.numbers)
                if self.form.nodes[number].leaf is not None:
                    waiting.append(number)
                yield self.line(number)

    def ordered(self, node: Normal) -> list[tuple[int, str, tuple[str, ...]]]:
        """The parts by colour; equal colours by what was met first."""
        letters: Iterable[tuple[str, ...]] = node.letters[:-1] or ((),) * len(node.parts)
        parts = [
            (part, weight, axes) for (part, weight), axes in zip(node.parts, letters, strict=True)
        ]
        last = len(self.form.nodes)
        return sorted(
            parts,
            key=lambda p: (self.colours[p[0]], p[1], self.numbers.get(p[0], last), p[0], p[2]),
        )

    def line(self, number: int) -> str:
        node = self.form.nodes[number]
        text = f"{self.numbers[number]} = {node.op}"
        if node.signature:
            text += f" {node.signature}"
        if node.operands:
            text += f" ({self.references(node.operands)})"
        parts = self.ordered(node)
        if node.op == "einsum":
            return f"{text} {self.einsum(node, parts)}"
        if parts:
            sign = "^" if node.op == "product" else "*"
            weighed = [
                f"{self.numbers[part]}{sign}({weight})" if weight else f"{self.numbers[part]}"
                for part, weight, _ in parts
            ]
            text += f" {{{', '.join(weighed)}}}"
        return text

    def einsum(self, node: Normal, parts: list[tuple[int, str, tuple[str, ...]]]) -> str:
        """Operands with their letters, named in the order of the result and the operands."""
        names: dict[str, str] = {"1": "1"}
        for letter in (*node.letters[-1], *(name for _, _, axes in parts for name in axes)):
            names.setdefault(letter, f"a{len(names)}")
        sides = [
            f"{self.numbers[part]}[{' '.join(names[letter] for letter in axes)}]"
            for part, _, axes in parts
        ]
        return f"{' '.join(sides)} -> [{' '.join(names[letter] for letter in node.letters[-1])}]"

    def references(self, numbers: Iterable[int]) -> str:
        return ", ".join(str(self.numbers[number]) for number in numbers)
