"""The result of an evaluation: plain data that goes to JSON and back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

EVALUATOR_VERSION = "2"


@dataclass(frozen=True, slots=True)
class ResultKey:
    """What was scored and how. Figures are comparable only where `comparable_with` says so.

    `context` is the window in tokens. `extra` are (name, sha256) of the further texts, and `tasks`
    (label, sha256 of the pairs) of the tasks; both may be empty.
    """

    design: str
    design_hash: str
    scale: str
    seed: int
    compiler_version: str
    evaluator_version: str
    weights_sha256: str
    tokenizer: str
    tokenizer_hash: str
    prefix_token: int
    train_sha256: str
    heldout_sha256: str
    context: int
    extra: tuple[tuple[str, str], ...]
    tasks: tuple[tuple[str, str], ...]

    def comparable_with(self, other: ResultKey) -> bool:
        """Same evaluator, tokenizer, window and texts: the model alone differs.

        A task or a further text that both were scored on must have had the same data; one that
        only one of them was scored on is no obstacle.
        """
        return self._conditions == other._conditions and all(
            dict(other_hashes).get(name, sha256) == sha256
            for hashes, other_hashes in ((self.extra, other.extra), (self.tasks, other.tasks))
            for name, sha256 in hashes
        )

    @property
    def _conditions(self) -> tuple[str | int, ...]:
        return (
            self.evaluator_version,
            self.tokenizer_hash,
            self.prefix_token,
            self.train_sha256,
            self.heldout_sha256,
            self.context,
        )


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """Loss on held-out text in nats per token, and the same in bits per byte of the text."""

    name: str
    sha256: str
    tokens: int
    bytes: int
    loss: float
    bits_per_byte: float
    non_finite: int


@dataclass(frozen=True, slots=True)
class SubtaskScore:
    """Minimal pairs of one file: shares of pairs in [0, 1].

    `acc_strict` counts a pair as right where the right sentence is strictly more probable; `acc` is
    lm-eval's, which counts ties and NaN as right. `data_sha256` is of the file.
    """

    name: str
    pairs: int
    acc_strict: float
    acc: float
    tie_rate: float
    non_finite: int
    data_sha256: str


@dataclass(frozen=True, slots=True)
class TaskScore:
    """A task: its subtasks, and their unweighted means. `limit` is the first-N bound, if any."""

    name: str
    limit: int | None
    subtasks: tuple[SubtaskScore, ...]

    @property
    def label(self) -> str:
        """`blimp_filtered`, or `blimp_filtered (first 100)`."""
        return self.name if self.limit is None else f"{self.name} (first {self.limit})"

    @property
    def data_sha256(self) -> str:
        """sha256 over the names of the subtasks and the hashes of their files."""
        text = "".join(f"{s.name}\0{s.data_sha256}\0" for s in self.subtasks)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def acc_strict(self) -> float:
        return sum(s.acc_strict for s in self.subtasks) / len(self.subtasks)

    @property
    def acc(self) -> float:
        return sum(s.acc for s in self.subtasks) / len(self.subtasks)

    @property
    def tie_rate(self) -> float:
        """Ties over all pairs of the task."""
        return sum(s.tie_rate * s.pairs for s in self.subtasks) / self.pairs

    @property
    def non_finite(self) -> int:
        return sum(s.non_finite for s in self.subtasks)

    @property
    def pairs(self) -> int:
        return sum(s.pairs for s in self.subtasks)


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How the scored model was trained. `history` is (target tokens seen, loss) by step."""

    corpus: str
    split_rule: str
    parameters: int
    steps: int
    tokens: int
    tokens_per_second: float
    device: str
    settings: dict[str, Any]
    history: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class RunResult:
    """One trained model, scored. `proof_loss` is (recorded, ours) on the saved batch."""

    key: ResultKey
    training: TrainingSummary
    heldout: HeldOutScore
    extra_heldout: tuple[HeldOutScore, ...]
    tasks: tuple[TaskScore, ...]
    proof_loss: tuple[float, float]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> RunResult:
        """The result that `to_json` wrote; ValueError, KeyError or TypeError on any other text."""
        body = cast(dict[str, Any], json.loads(text))
        key, training = body["key"], body["training"]
        for field in ("extra", "tasks"):
            key[field] = tuple((name, sha256) for name, sha256 in key[field])
        training["history"] = tuple((tokens, loss) for tokens, loss in training["history"])
        recorded_loss, our_loss = body["proof_loss"]
        return RunResult(
            key=ResultKey(**key),
            training=TrainingSummary(**training),
            heldout=HeldOutScore(**body["heldout"]),
            extra_heldout=tuple(HeldOutScore(**score) for score in body["extra_heldout"]),
            tasks=tuple(_task(task) for task in body["tasks"]),
            proof_loss=(recorded_loss, our_loss),
        )


def write_result(result: RunResult, path: Path) -> None:
    """Write the result as JSON, in one rename."""
    partial = path.with_suffix(".partial")
    partial.write_text(result.to_json(), encoding="utf-8")
    partial.replace(path)


def _task(body: dict[str, Any]) -> TaskScore:
    subtasks = tuple(SubtaskScore(**score) for score in body["subtasks"])
    return TaskScore(body["name"], body["limit"], subtasks)
