"""The body of a random design about time as it grows, and the units that it may call."""

from __future__ import annotations

import random


class Program:
    """One unit's body as it grows. `streams` are names of [B, L, D]; the last is the result."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.members: list[str] = []
        self.z: list[str] = []
        self.streams = ["X"]
        self.used: set[str] = set()
        self._count = 0

    def name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def line(self, text: str) -> None:
        self.lines.append(f"        {text}")

    def value(self, text: str) -> str:
        """A new name for an expression."""
        name = self.name()
        self.line(f"{name} = {text}")
        return name

    def stream(self) -> str:
        """A stream, the newest most often."""
        recent = self.streams[-1] if self.rng.random() < 0.6 else self.rng.choice(self.streams)
        self.used.add(recent)
        return recent

    def give(self, text: str) -> None:
        """A new stream."""
        self.streams.append(self.value(f"tanh({text})"))

    def param(self, shape: str) -> str:
        name = f"p{len(self.members)}"
        self.members.append(f"    param {name}: [{shape}] = normal(0.0, 0.5)")
        return name

    def linear(self) -> str:
        name = f"w{len(self.members)}"
        self.members.append(f"    {name} = Linear(D, D)")
        return name

    def text(self) -> str:
        loose = [s for s in self.streams[1:] if s not in self.used]
        self.line("return " + " + ".join(["X", *loose]))
        body = "\n".join(self.lines)
        members = "\n".join([*self.z, *self.members])
        unit = f"unit Root() {{\n{members}\n    forward(X) {{\n{body}\n    }}\n}}\n"
        return f"gab Root\n\n{unit}{CHILDREN}"


CHILDREN = """
unit LastSoftmax() {
    forward(x: [..., N]) {
        return softmax(x, axis=-1)
    }
}

unit MiddleMean() {
    forward(x: [B, M, N]) {
        return x - mean(x, axis=1, keep=true)
    }
}

unit LastOf() {
    forward(x: [B, N, D]) {
        return x - 0.5 * x[:, -1:]
    }
}

unit FirstOf() {
    forward(x: [B, N, D]) {
        return x - 0.5 * x[:, :1] * x[:, 0][:, None]
    }
}

unit Shared() {
    forward(x: [B, N, D]) {
        return x * sin(3.0 / N) + x * sin(0.1 * arange(N))[:, None]
    }
}

unit Cut() {
    forward(x: [B, N, D]) {
        a, b = split(x, sizes=[1, N - 1], axis=1)
        return concat([b, a], axis=1)
    }
}

unit Rows() {
    forward(x: [M, L, D]) {
        return x - x[:1]
    }
}

unit Places() {
    forward(x: [B, N, D]) {
        keep = one_hot(int(arange(N)), N) or arange(N)[:, None] >= arange(N)[None, :]
        return eye(N) @ x - 0.1 * float(keep) @ x
    }
}

unit Mixer() {
    w = Linear(D, D)
    forward(x: [B, L, D]) {
        return w(x) + shift(x, 1)
    }
}
"""
