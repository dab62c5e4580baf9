"""How a model is trained: the numbers that, with the data and the seed, decide the result."""

from __future__ import annotations

from dataclasses import dataclass

from gabc.train.errors import TrainingError


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """AdamW with warm-up and a cosine to a tenth, as the reference scales are trained.

    `batch_tokens` is the number of target tokens per optimiser step, in sequences of `context`;
    `micro_batch` sequences pass through the device at once and gradients are accumulated to
    `batch_tokens`. `keep` newest checkpoints are kept.

    Raises:
        TrainingError: a number is out of range, or the batch is not a whole number of
            micro-batches.
    """

    steps: int
    learning_rate: float
    batch_tokens: int
    context: int
    micro_batch: int
    seed: int = 0
    save_every: int = 1000
    keep: int = 2
    warmup_fraction: float = 0.02
    final_fraction: float = 0.1
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    torch_compile: bool = False

    def __post_init__(self) -> None:
        counts = ("steps", "batch_tokens", "context", "micro_batch", "save_every", "keep")
        for name in counts:
            if getattr(self, name) < 1:
                raise TrainingError(f"`{name}` is {getattr(self, name)}; it must be at least 1.")
        if not self.learning_rate > 0:
            raise TrainingError(f"`learning_rate` is {self.learning_rate}; it must be above 0.")
        unit = self.context * self.micro_batch
        if self.batch_tokens % unit:
            raise TrainingError(
                f"`batch_tokens` is {self.batch_tokens}, which is not a multiple of {unit} "
                f"(context {self.context} x micro-batch {self.micro_batch}). "
                f"Use {max(1, round(self.batch_tokens / unit)) * unit}."
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches per optimiser step."""
        return self.batch_tokens // (self.context * self.micro_batch)

    @property
    def sequences_per_step(self) -> int:
        return self.batch_tokens // self.context

    @property
    def warmup_steps(self) -> int:
        return max(1, round(self.steps * self.warmup_fraction))
