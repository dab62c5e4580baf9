"""Training: exact resume, the schedule, checkpoints that prove themselves, and clear failures."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from gabc.api import elaborate
from gabc.data.corpus import Corpus, load_corpus
from gabc.data.errors import DataError
from gabc.data.packing import PackedSequences
from gabc.data.tokenizer import load_tokenizer
from gabc.runtime.model import build
from gabc.train.checkpoint import open_checkpoint
from gabc.train.errors import CheckpointError, TrainingError
from gabc.train.history import read_history
from gabc.train.identity import ModelIdentity
from gabc.train.loss import eval_loss, token_losses
from gabc.train.run import train
from gabc.train.runs import runs_root
from gabc.train.settings import TrainingSettings
from gabc.train.trainer import decayed_parameters, learning_rate_factor
from gabc.train.weights import load_weights, tensors_sha256
from gabc.train.wrapper import TrainableModel

EXAMPLES = Path(__file__).parent.parent / "examples"
BALANCED = """
gab Balanced

unit Balanced() {
    gate = Linear(D, 4)
    value = Linear(D, 4)
    forward(X) {
        p = softmax(gate(X), axis=-1)
        share = mean(mean(p, axis=0), axis=0)
        loss balance = sum(square(share), axis=0)
        return X + repeat(sum(p * value(X), axis=-1), "b l -> b l d", d=D)
    }
}
"""
SETTINGS = TrainingSettings(
    steps=12, learning_rate=3e-3, batch_tokens=512, context=32, micro_batch=4, save_every=5
)
IDENTITY = ModelIdentity("Tiny", "hash-of-tiny", (("tiny.gab", "source"),), "14M", 264, 0, "0.1.0")


class Tiny(nn.Module):
    """Sees the token before it; has dropout, so that exact resume needs the generator's state."""

    def __init__(self, vocab_size: int = 264, width: int = 16, dropout: float = 0.2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.mix = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        before = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        y = torch.relu(self.mix(torch.cat([x, before], dim=-1)))
        logits: torch.Tensor = self.head(self.norm(x + self.drop(y)))
        return logits


def tiny(seed: int = 0, dropout: float = 0.2) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(dropout=dropout)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(load_tokenizer("byte"), train_limit=60_000, heldout_limit=10_000)


@pytest.fixture(scope="module")
def whole_run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny(), IDENTITY, corpus, SETTINGS, folder)
    return folder


class Crash(Exception):
    pass


class CrashingTiny(Tiny):
    """Breaks off in its forward pass number `limit`, as a killed process would."""

    limit = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.limit -= 1
            if self.limit == 0:
                raise Crash
        return super().forward(tokens)


def test_resume_is_bitwise_exact(corpus: Corpus, whole_run: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CrashingTiny()
    model.limit = 8 * SETTINGS.accumulation  # within step 8, after the checkpoint of step 5
    folder = tmp_path / "broken"
    with pytest.raises(Crash):
        train(model, IDENTITY, corpus, SETTINGS, folder)
    assert [step.step for step in read_history(folder / "history.jsonl")] == list(range(1, 8))
    with (folder / "history.jsonl").open("a") as stream:
        stream.write('{"step": 8, "to')  # a line cut off by the crash

    run = train(tiny(seed=99), IDENTITY, corpus, SETTINGS, folder, resume=True)

    resumed, whole = (read_history(f / "history.jsonl") for f in (folder, whole_run))
    assert [(s.step, s.loss, s.gradient_norm, s.learning_rate) for s in resumed] == [
        (s.step, s.loss, s.gradient_norm, s.learning_rate) for s in whole
    ]
    assert run.record.tensors_sha256 == open_checkpoint(whole_run).record.tensors_sha256


def test_losses_are_those_of_a_plain_loop(corpus: Corpus, tmp_path: Path) -> None:
    """Three steps by hand, without dropout: packing, accumulation, AdamW, clipping, schedule."""
    run = train(tiny(dropout=0.0), IDENTITY, corpus, SETTINGS, tmp_path / "run")
    model = tiny(dropout=0.0)
    sequences = PackedSequences(corpus.train, SETTINGS.context, SETTINGS.seed)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    losses = []
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = SETTINGS.learning_rate * learning_rate_factor(step, SETTINGS)
        total = 0.0
        for micro in range(SETTINGS.accumulation):
            first = (step * SETTINGS.accumulation + micro) * SETTINGS.micro_batch
            rows = [torch.from_numpy(sequences[first + i]) for i in range(SETTINGS.micro_batch)]
            batch = torch.stack(rows)
            loss = token_losses(model(batch[:, :-1]), batch[:, 1:]).mean() / SETTINGS.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    recorded = [step.loss for step in read_history(run.history)[:3]]
    assert losses == pytest.approx(recorded, abs=2e-6)


class Balanced(Tiny):
    """Has two auxiliary losses, in the form that a compiled design has them."""

    def forward(  # type: ignore[override]
        self, tokens: torch.Tensor, return_losses: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        logits = super().forward(tokens)
        if not return_losses:
            return logits
        size = self.mix.weight.square().sum()
        return logits, {"size": 0.5 * size, "spread": logits.square().mean()}


def test_auxiliary_losses_are_minimised(corpus: Corpus) -> None:
    torch.manual_seed(0)
    model = Balanced(dropout=0.0)
    tokens = torch.from_numpy(PackedSequences(corpus.train, 32, 0)[0])[None]
    logits, losses = model(tokens[:, :-1], return_losses=True)
    expected = token_losses(logits, tokens[:, 1:]).mean() + losses["size"] + losses["spread"]
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    loss = TrainableModel(model)(tokens)["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    found = torch.autograd.grad(loss, list(model.parameters()))
    for gradient, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, other)


def test_auxiliary_losses_are_recorded_apart(corpus: Corpus, tmp_path: Path) -> None:
    """In the first step the figures are those of the initial model, over all micro-batches."""
    torch.manual_seed(0)
    model = Balanced(dropout=0.0)
    sequences = PackedSequences(corpus.train, SETTINGS.context, SETTINGS.seed)
    rows = [torch.from_numpy(sequences[i]) for i in range(SETTINGS.sequences_per_step)]
    batch = torch.stack(rows)
    with torch.no_grad():
        logits, losses = model(batch[:, :-1], return_losses=True)
        loss = token_losses(logits, batch[:, 1:]).mean().item()
    settings = replace(SETTINGS, steps=2)
    run = train(model, IDENTITY, corpus, settings, tmp_path / "run")
    first, second = read_history(run.history)
    assert first.loss == pytest.approx(loss, abs=1e-5)
    assert first.auxiliary == pytest.approx({k: v.item() for k, v in losses.items()}, rel=1e-5)
    assert second.auxiliary["size"] < first.auxiliary["size"]
    assert run.record.proof.loss == eval_loss(model, open_checkpoint(run.checkpoint).proof_tokens())


def test_the_auxiliary_loss_of_a_compiled_design(corpus: Corpus, tmp_path: Path) -> None:
    stack = elaborate(BALANCED, scale="32x1").stack
    assert stack is not None
    model = build(stack, vocab_size=264, seed=0)
    run = train(model, IDENTITY, corpus, replace(SETTINGS, steps=1), tmp_path / "run")
    (step,) = read_history(run.history)
    # the sum of squared shares of four experts
    assert 0.25 <= step.auxiliary["balance"] <= 1.0


def test_an_auxiliary_loss_that_is_not_a_number_is_named(corpus: Corpus, tmp_path: Path) -> None:
    class Endless(Tiny):
        def forward(  # type: ignore[override]
            self, tokens: torch.Tensor, return_losses: bool = False
        ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return super().forward(tokens), {"balance": torch.tensor(float("inf"))}

    with pytest.raises(TrainingError, match="auxiliary loss `balance` is inf at step 1"):
        train(Endless(), IDENTITY, corpus, SETTINGS, tmp_path / "run")


def test_only_linear_and_embedding_weights_decay() -> None:
    class Gained(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.head_gain = nn.Parameter(torch.ones(4, 4))
            self.filter = nn.Conv1d(4, 4, 2)

    decayed = {"embed.weight", "mix.weight", "head.weight"}  # the head's is the embedding's
    assert decayed_parameters(Gained()) == decayed
    # RWKV-6 declares matrices of its own: mixing coefficients, a bonus, gains per head
    stack = elaborate((EXAMPLES / "rwkv6.gab").read_text("utf-8"), scale="32x1").stack
    assert stack is not None
    model = build(stack, vocab_size=264, seed=0)
    kept = {n for n, p in model.named_parameters() if p.ndim >= 2} - decayed_parameters(model)
    assert {name.rpartition(".")[2] for name in kept} == {"up", "base", "bonus", "weight", "bias"}


def test_weight_decay_leaves_a_design_s_own_matrices(corpus: Corpus, tmp_path: Path) -> None:
    """Neither has a gradient here, so decay alone moves them."""

    class Idle(Tiny):
        def __init__(self) -> None:
            super().__init__(dropout=0.0)
            self.gain = nn.Parameter(torch.ones(4, 4))
            self.idle = nn.Linear(4, 4)
            nn.init.ones_(self.idle.weight)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return super().forward(tokens) + 0.0 * (self.gain.sum() + self.idle.weight.sum())

    model = Idle()
    train(model, IDENTITY, corpus, replace(SETTINGS, steps=3), tmp_path / "run")
    assert torch.equal(model.gain, torch.ones(4, 4))
    assert (model.idle.weight < 1.0).all()


def test_training_learns(whole_run: Path) -> None:
    steps = read_history(whole_run / "history.jsonl")
    assert steps[-1].loss < steps[0].loss - 0.2
    assert [s.tokens for s in steps] == [512 * (i + 1) for i in range(12)]


def test_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    settings = replace(SETTINGS, steps=1000)
    factors = [learning_rate_factor(step, settings) for step in range(1000)]
    assert settings.warmup_steps == 20
    assert factors[0] == pytest.approx(1 / 20)
    assert factors[19] == 1.0
    assert max(factors) == 1.0
    assert factors[509] == pytest.approx(0.55, abs=0.001)  # half way down the cosine
    assert factors[-1] == pytest.approx(0.1)


def test_checkpoint_holds_what_rebuilds_and_proves_the_model(whole_run: Path) -> None:
    opened = open_checkpoint(whole_run)
    assert opened.folder.name == "checkpoint-12"
    record = opened.record
    assert record.identity == IDENTITY
    assert record.settings == SETTINGS
    assert record.progress.parameters == 264 * 16 + 32 * 16 + 16 + 32  # tied head counted once
    model = tiny(seed=5)
    assert tensors_sha256(model) != record.tensors_sha256
    load_weights(model, opened.weights)
    assert tensors_sha256(model) == record.tensors_sha256
    assert eval_loss(model, opened.proof_tokens()) == record.proof.loss
    assert model.training


def test_only_the_newest_checkpoints_stay(whole_run: Path) -> None:
    assert sorted(p.name for p in whole_run.glob("checkpoint-*")) == [
        "checkpoint-10",
        "checkpoint-12",
    ]
    assert not (whole_run / ".staging").exists()


def test_nothing_is_published_when_saving_fails(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("gabc.train.run.tensors_sha256", fail)
    with pytest.raises(OSError, match="disk full"):
        train(tiny(), IDENTITY, corpus, SETTINGS, tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    assert not (tmp_path / "run" / ".staging").exists()


def test_a_finished_run_is_returned_with_its_weights(corpus: Corpus, whole_run: Path) -> None:
    model = tiny(seed=3)
    run = train(model, IDENTITY, corpus, SETTINGS, whole_run, resume=True)
    assert run.record.progress.step == 12
    assert tensors_sha256(model) == run.record.tensors_sha256


# ---- failures


def test_a_loss_that_is_not_a_number_stops_the_run(corpus: Corpus, tmp_path: Path) -> None:
    class Diverging(Tiny):
        seen = 0

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            logits = super().forward(tokens)
            return logits * (float("nan") if self.seen > 2 * SETTINGS.accumulation else 1.0)

    with pytest.raises(TrainingError, match="nan at step 3"):
        train(Diverging(), IDENTITY, corpus, SETTINGS, tmp_path / "run")
    assert len(read_history(tmp_path / "run" / "history.jsonl")) == 2
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_gradients_that_are_not_finite_are_named(corpus: Corpus, tmp_path: Path) -> None:
    """Before clipping, which spreads them; no learning rate is at fault at the first step."""

    class Rooted(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.gains = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(5))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            logits = super().forward(tokens)
            return logits + sum(0 * gain.sqrt() for gain in list(self.gains)[1:])

    with pytest.raises(TrainingError, match="gradient norm is nan at step 1") as raised:
        train(Rooted(), IDENTITY, corpus, SETTINGS, tmp_path / "run")
    message = str(raised.value)
    assert "not finite in `gains.1`, `gains.2`, `gains.3` and 1 more. Check the design" in message
    assert "learning rate" not in message


def test_a_run_is_not_overwritten(corpus: Corpus, whole_run: Path) -> None:
    with pytest.raises(TrainingError, match="already holds a run"):
        train(tiny(), IDENTITY, corpus, SETTINGS, whole_run)


@pytest.mark.parametrize(
    ("identity", "settings", "field"),
    [
        (replace(IDENTITY, design_hash="other"), SETTINGS, "design differs in `design_hash`"),
        (IDENTITY, replace(SETTINGS, learning_rate=1e-3), "settings differs in `learning_rate`"),
    ],
)
def test_resume_refuses_another_run(
    identity: ModelIdentity,
    settings: TrainingSettings,
    field: str,
    corpus: Corpus,
    whole_run: Path,
) -> None:
    with pytest.raises(CheckpointError, match=field):
        train(tiny(), identity, corpus, settings, whole_run, resume=True)


def test_resume_without_a_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        train(tiny(), IDENTITY, corpus, SETTINGS, tmp_path, resume=True)


def test_settings_out_of_range() -> None:
    with pytest.raises(TrainingError, match="not a multiple of 128"):
        replace(SETTINGS, batch_tokens=500)
    with pytest.raises(TrainingError, match="`steps` is 0"):
        replace(SETTINGS, steps=0)


def test_text_shorter_than_a_sequence(corpus: Corpus, tmp_path: Path) -> None:
    settings = replace(SETTINGS, context=100_000, batch_tokens=100_000, micro_batch=1)
    with pytest.raises(DataError, match="shorter context"):
        train(tiny(), IDENTITY, corpus, settings, tmp_path / "run")


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def _edit(file: Path) -> None:
    body = json.loads(file.read_text())
    body["identity"]["scale"] = "31M"
    file.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("model.safetensors", _truncate, "is damaged"),
        ("model.safetensors", Path.unlink, "is missing"),
        ("optimizer.pt", _truncate, "is damaged"),
        ("proof.safetensors", Path.unlink, "is missing"),
        ("config.json", _edit, "was edited"),
        ("config.json", _truncate, "is damaged"),
        ("config.json", Path.unlink, "no checkpoint at"),
        ("config.json", lambda file: file.write_text("[]"), "not in format"),
    ],
)
def test_a_damaged_checkpoint_is_named(  # type: ignore[no-untyped-def]
    name: str, damage, reason: str, whole_run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "checkpoint-12"
    shutil.copytree(whole_run / "checkpoint-12", copy)
    damage(copy / name)
    with pytest.raises(CheckpointError, match=reason) as caught:
        open_checkpoint(copy)
    assert str(copy) in str(caught.value)


def test_weights_of_another_shape(whole_run: Path) -> None:
    with pytest.raises(CheckpointError, match="other tensors"):
        load_weights(Tiny(width=24), whole_run / "checkpoint-12" / "model.safetensors")


def test_runs_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CKPT_DIR", str(tmp_path))
    assert runs_root() == tmp_path
    monkeypatch.delenv("CKPT_DIR")
    assert runs_root() == Path("runs")
