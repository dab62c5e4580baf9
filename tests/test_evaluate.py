"""Evaluation: it scores the trained weights, it scores them rightly, and it refuses the rest."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase

import pytest
import torch
from lm_eval.api.instance import Instance  # type: ignore[import-untyped]
from safetensors.torch import load_file, save_file
from torch import nn

from gabc.data.corpus import Corpus, load_corpus, load_text
from gabc.data.errors import DataError
from gabc.data.ngram import NgramModel
from gabc.data.tokenizer import load_tokenizer
from gabc.evaluate.board import boards
from gabc.evaluate.control_record import run_controls
from gabc.evaluate.controls import nan_model, ngram_lm, uniform_model
from gabc.evaluate.errors import GateError
from gabc.evaluate.gates import check_proof, check_scores
from gabc.evaluate.harness import TASKS, run_tasks
from gabc.evaluate.heldout import score_heldout
from gabc.evaluate.lm import ScoringLM, module_lm
from gabc.evaluate.minimal_pairs import compare, read_pairs
from gabc.evaluate.result import EVALUATOR_VERSION, HeldOutScore, RunResult, TaskScore
from gabc.evaluate.run import evaluate
from gabc.evaluate.scoring import Answer, Request, answer, stream_losses
from gabc.train.errors import CheckpointError
from gabc.train.identity import ModelIdentity
from gabc.train.run import train
from gabc.train.settings import TrainingSettings

DATA_DIR = Path(__file__).parents[2] / "shared" / "data" / "babylm2024_evaluation_data"
needs_data = pytest.mark.skipif(not DATA_DIR.is_dir(), reason="../shared/data is not there")

BYTE = load_tokenizer("byte")
IDENTITY = ModelIdentity(
    "Tiny <&>", "hash-of-tiny", (("tiny.gab", "source"),), "14M", BYTE.vocab_size, 0, "0.1.0"
)
SUPPLEMENT = (
    "hypernym",
    "qa_congruence_easy",
    "qa_congruence_tricky",
    "subject_aux_inversion",
    "turn_taking",
)
RANDOM_PAIRS = 300
FOUR_SIGMA = 4 * 0.5 / math.sqrt(RANDOM_PAIRS)


class Tiny(nn.Module):
    """Predicts from the last two tokens."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTE.vocab_size, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.mix = nn.Linear(2 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        before = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        y: torch.Tensor = x + torch.relu(self.mix(torch.cat([x, before], -1)))
        return y @ self.embed.weight.T


def build(identity: ModelIdentity) -> nn.Module:
    torch.manual_seed(identity.seed)
    return Tiny()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(BYTE, train_limit=150_000, heldout_limit=20_000)


@pytest.fixture(scope="module")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = TrainingSettings(
        steps=120, learning_rate=2e-2, batch_tokens=1024, context=64, micro_batch=16
    )
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(build(IDENTITY), IDENTITY, corpus, settings, folder)
    return folder


@pytest.fixture(scope="module")
def pairs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR with invented pairs in the form of the supplement's five files."""
    root = tmp_path_factory.mktemp("data")
    folder = root / TASKS["blimp_supplement"]
    folder.mkdir()
    for index, name in enumerate(SUPPLEMENT):
        pairs = [
            {"sentence_good": f"import os\nreturn {i}", "sentence_bad": f"imxqrt os\nreturn {i}"}
            for i in range(4 + index)
        ]
        text = "".join(json.dumps(pair) + "\n" for pair in pairs)
        (folder / f"{name}.jsonl").write_text(text)
    return root


@pytest.fixture(scope="module")
def random_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR with pairs of random words of one length: nothing can be known about them."""
    root = tmp_path_factory.mktemp("random")
    folder = root / TASKS["blimp_supplement"]
    folder.mkdir()
    generator = random.Random(0)
    for name in SUPPLEMENT:
        lines = []
        for _ in range(RANDOM_PAIRS // len(SUPPLEMENT)):
            length = generator.randint(4, 12)
            good, bad = ("".join(generator.sample(ascii_lowercase, length)) for _ in range(2))
            lines.append(json.dumps({"sentence_good": good, "sentence_bad": bad}) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def result(run: Path, corpus: Corpus, pairs_dir: Path) -> RunResult:
    return evaluate(
        run, build, BYTE, corpus, tasks=["blimp_supplement"], data_dir=pairs_dir, device="cpu"
    )


def log_probability(module: nn.Module, ids: Sequence[int], start: int) -> float:
    """One sequence by itself in float64, as a check on batching and padding."""
    logits = module(torch.tensor([ids]))[0].double()
    table = logits.log_softmax(-1)
    return sum(float(table[i - 1, ids[i]]) for i in range(start, len(ids)))


# ---- scores are right


def test_heldout_loss_against_a_plain_loop(result: RunResult, run: Path, corpus: Corpus) -> None:
    module = build(IDENTITY)
    module.load_state_dict(load_file(run / "checkpoint-120" / "model.safetensors"))
    tokens = [int(t) for t in corpus.heldout.tokens]
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 64):
            window = tokens[start : start + 65]
            total -= log_probability(module, window, 1)
    assert result.heldout.tokens == len(tokens) - 1
    assert result.heldout.loss == pytest.approx(total / (len(tokens) - 1), rel=1e-6)
    assert result.heldout.bits_per_byte == pytest.approx(
        total / math.log(2) / corpus.heldout.bytes, rel=1e-6
    )


def test_answers_do_not_depend_on_the_batch(corpus: Corpus) -> None:
    module = build(IDENTITY)
    texts = [corpus.heldout.tokens[i * 37 : i * 37 + 2 + i].tolist() for i in range(60)]
    requests = [Request(tuple(text[:1]), tuple(text[1:])) for text in texts]
    with torch.no_grad():
        expected = [log_probability(module, text, 1) for text in texts]
    found = answer(module, requests + requests[:3], BYTE.vocab_size)
    assert [a.log_probability for a in found[:60]] == pytest.approx(expected, rel=1e-5)
    assert found[60:] == found[:3]


def test_greedy_is_the_most_probable_continuation() -> None:
    module = build(IDENTITY)
    best = int(module(torch.tensor([[256, 97]]))[0, -1].argmax())
    requests = [Request((256, 97), (token,)) for token in (best, (best + 1) % 256)]
    assert [a.is_greedy for a in answer(module, requests, BYTE.vocab_size)] == [True, False]


def test_request_form() -> None:
    """An empty context is the document mark; a sentence has its space; nothing is cut off."""
    seen: list[Request] = []

    def record(requests: Sequence[Request]) -> list[Answer]:
        seen.extend(requests)
        return [Answer(0.0, False)] * len(requests)

    lm = ScoringLM(BYTE, record)
    lm.loglikelihood([_instance("", " Hi.\nYo."), _instance("a b ", "c"), _instance("a", " b")])
    assert [(r.context, bytes(r.continuation)) for r in seen] == [
        ((256,), b" Hi.\nYo."),
        (tuple(b"a b"), b" c"),
        (tuple(b"a"), b" b"),
    ]
    with pytest.raises(NotImplementedError, match="scores text"):
        lm.generate_until([])


def _instance(context: str, continuation: str) -> Instance:
    return Instance("loglikelihood", {}, (context, continuation), 0)


def test_tasks_through_lm_eval(result: RunResult) -> None:
    (task,) = result.tasks
    assert [(s.name, s.pairs) for s in task.subtasks] == [
        (name, 4 + index) for index, name in enumerate(SUPPLEMENT)
    ]
    # trained on Python, even this model prefers `import`
    assert task.acc_strict == task.acc == 1.0
    assert (task.tie_rate, task.non_finite, task.pairs) == (0.0, 0, 30)


@needs_data
def test_strict_accuracy_against_a_plain_loop() -> None:
    """Real pairs, each sentence scored by itself with its leading space after the mark."""
    module = build(IDENTITY)
    (task,) = run_tasks(module_lm(module, BYTE), ["blimp_supplement"], DATA_DIR, limit=8)
    assert [score.pairs for score in task.subtasks] == [8] * 5
    for score in task.subtasks:
        pairs = read_pairs(DATA_DIR / "supplement_filtered" / f"{score.name}.jsonl")[:8]
        with torch.no_grad():
            good, bad = (
                [log_probability(module, [256, *BYTE.encode(f" {p[field]}")], 1) for p in pairs]
                for field in ("sentence_good", "sentence_bad")
            )
        assert score.acc_strict == pytest.approx(
            sum(g > b for g, b in zip(good, bad, strict=True)) / 8
        )


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        (-1.0, -2.0, (1, 1, 0, 0)),
        (-2.0, -1.0, (0, 0, 0, 0)),
        (-1.0, -1.0, (0, 1, 1, 0)),
        (math.nan, -1.0, (0, 1, 0, 1)),
        (-1.0, math.nan, (0, 0, 0, 1)),
        (math.nan, math.nan, (0, 1, 0, 1)),
        (-1.0, -math.inf, (1, 1, 0, 1)),
    ],
)
def test_strict_comparison(good: float, bad: float, expected: tuple[int, ...]) -> None:
    found = compare({}, [(good, False), (bad, False)])
    assert tuple(found[m] for m in ("acc_strict", "acc", "tie", "non_finite")) == expected


# ---- negative controls


def test_uniform_control_lives_on_ties_and_is_refused(result: RunResult, random_dir: Path) -> None:
    lm = module_lm(uniform_model(BYTE.vocab_size), BYTE)
    (task,) = run_tasks(lm, ["blimp_supplement"], random_dir)
    assert (task.acc, task.acc_strict, task.tie_rate) == (1.0, 0.0, 1.0)
    with pytest.raises(GateError, match=r"Gate 4: 100.0% of the pairs of blimp_supplement are tie"):
        _check(result, tasks=[task])


def test_nan_control_is_perfect_upstream_and_refused_here(
    result: RunResult, random_dir: Path
) -> None:
    lm = module_lm(nan_model(BYTE.vocab_size), BYTE)
    (task,) = run_tasks(lm, ["blimp_supplement"], random_dir, limit=4)
    assert (task.acc, task.acc_strict, task.non_finite) == (1.0, 0.0, 20)
    with pytest.raises(GateError, match="Gate 4: 20 of 20 pairs"):
        _check(result, tasks=[task])


def test_random_weights_are_at_chance_and_pass_no_gate_for_text(
    result: RunResult, random_dir: Path, corpus: Corpus
) -> None:
    module = build(IDENTITY)
    (task,) = run_tasks(module_lm(module, BYTE), ["blimp_supplement"], random_dir)
    assert task.acc_strict == pytest.approx(0.5, abs=FOUR_SIGMA)
    heldout = score_heldout(module, corpus.heldout, 64, BYTE.vocab_size)
    with pytest.raises(GateError, match="Gate 2"):
        _check(result, heldout=heldout, tasks=[task])


def test_ngram_control_knows_python_and_nothing_else(
    corpus: Corpus, pairs_dir: Path, random_dir: Path
) -> None:
    lm = ngram_lm(NgramModel(corpus.train, 3, BYTE.size), BYTE)
    (known,) = run_tasks(lm, ["blimp_supplement"], pairs_dir)
    (unknown,) = run_tasks(lm, ["blimp_supplement"], random_dir)
    assert known.acc_strict == 1.0
    assert unknown.acc_strict == pytest.approx(0.5, abs=FOUR_SIGMA)


def test_controls_are_recorded(result: RunResult, corpus: Corpus, random_dir: Path) -> None:
    record = run_controls(
        result,
        build(IDENTITY),
        BYTE,
        corpus,
        tasks=["blimp_supplement"],
        data_dir=random_dir,
    )
    refused = {control.name: bool(control.refusal) for control in record.negative}
    assert refused == {"uniform": True, "NaN": True, "random init": True, "trigram": False}
    assert record.positive.loss == result.heldout.loss
    assert json.loads(record.to_json())["evaluator_version"] == EVALUATOR_VERSION


def test_controls_that_know_something_are_no_controls(
    result: RunResult, run: Path, corpus: Corpus, pairs_dir: Path
) -> None:
    with pytest.raises(GateError, match=r"trigram control has 100\.0% on blimp_supplement"):
        run_controls(
            result,
            build(IDENTITY),
            BYTE,
            corpus,
            tasks=["blimp_supplement"],
            data_dir=pairs_dir,
        )
    trained = build(IDENTITY)
    trained.load_state_dict(load_file(run / "checkpoint-120" / "model.safetensors"))
    with pytest.raises(GateError, match="`random init` passed every gate"):
        run_controls(result, trained, BYTE, corpus)


def test_a_version_without_controls_stores_no_score(
    run: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gabc.evaluate.control_record.EVALUATOR_VERSION", "next")
    with pytest.raises(GateError, match="Gate 6: this is version next"):
        evaluate(run, build, BYTE, corpus)


@needs_data
def test_uniform_control_on_real_pairs(result: RunResult) -> None:
    lm = module_lm(uniform_model(BYTE.vocab_size), BYTE)
    (task,) = run_tasks(lm, ["blimp_supplement"], DATA_DIR, limit=20)
    for score in task.subtasks:
        assert score.acc == pytest.approx(score.acc_strict + score.tie_rate)
    assert task.tie_rate > 0.2
    with pytest.raises(GateError, match=r"Gate 4: .* of the pairs of blimp_supplement are ties"):
        _check(result, tasks=[task])


@pytest.mark.slow
@needs_data
def test_uniform_control_scores_96_per_cent_upstream_on_all_of_blimp() -> None:
    """The known trap, with GPT-2's tokenizer on all 59,875 pairs."""
    gpt2 = load_tokenizer("gpt2", DATA_DIR)

    def uniform(requests: Sequence[Request]) -> list[Answer]:
        return [Answer(-len(r.continuation) * math.log(gpt2.size), False) for r in requests]

    (task,) = run_tasks(ScoringLM(gpt2, uniform), ["blimp_filtered"], DATA_DIR)
    assert (task.pairs, len(task.subtasks)) == (59_875, 67)
    assert task.acc == pytest.approx(0.961, abs=0.001)
    assert task.acc_strict < 0.1


def test_uniform_model_has_the_loss_of_a_uniform_model(corpus: Corpus) -> None:
    module = uniform_model(BYTE.vocab_size)
    losses = stream_losses(module, corpus.heldout.tokens[:1000], 64, BYTE.vocab_size)
    assert losses.numpy() == pytest.approx(math.log(BYTE.vocab_size), abs=1e-5)


@pytest.mark.slow
@needs_data
def test_trigram_stays_near_chance_on_blimp() -> None:
    gpt2 = load_tokenizer("gpt2", DATA_DIR)
    corpus = load_corpus(gpt2, data_dir=DATA_DIR)
    lm = ngram_lm(NgramModel(corpus.train, 3, gpt2.size), gpt2)
    (task,) = run_tasks(lm, ["blimp_filtered"], DATA_DIR, limit=100)
    assert 0.48 < task.acc_strict < 0.56


def test_ngram_lm_scores_as_the_model_does(corpus: Corpus) -> None:
    model = NgramModel(corpus.train, 3, BYTE.size)
    lm = ngram_lm(model, BYTE)
    found = lm.loglikelihood([_instance("", "import os"), _instance("impo", "rt")])
    expected = []
    for context, text in (([256], "import os"), (list(b"impo"), "rt")):
        ids = torch.tensor([*context, *text.encode()]).int().numpy()
        expected.append(float(model.log_probabilities(ids)[len(context) - 1 :].sum()))
    assert [value for value, _ in found] == pytest.approx(expected)


# ---- proof and gates


def test_the_trained_weights_are_scored(result: RunResult) -> None:
    trainer_loss, our_loss = result.proof_loss
    assert our_loss == pytest.approx(trainer_loss, abs=1e-6)
    assert result.heldout.loss < math.log(BYTE.vocab_size) - 1
    assert len(result.training.history) == 120


def test_untrained_weights_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    settings = TrainingSettings(
        steps=1, learning_rate=1e-6, batch_tokens=64, context=64, micro_batch=1
    )
    train(build(IDENTITY), IDENTITY, corpus, settings, tmp_path / "run")
    with pytest.raises(GateError, match="Gate 2: the held-out loss is"):
        evaluate(tmp_path / "run", build, BYTE, corpus, device="cpu")


def test_a_model_that_computes_something_else_is_refused(run: Path, corpus: Corpus) -> None:
    class Changed(Tiny):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return super().forward(tokens) * 1.05

    with pytest.raises(GateError, match=r"Gate 1: .* was \d\.\d+ when the checkpoint was written"):
        evaluate(run, lambda _: Changed(), BYTE, corpus, device="cpu")


def test_weights_that_change_while_scoring_are_refused(run: Path, corpus: Corpus) -> None:
    class Restless(Tiny):
        calls = 0

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            logits = super().forward(tokens)
            if self.calls > 1:
                self.mix.bias.data += 1e-3
            return logits

    with pytest.raises(GateError, match="Gate 5"):
        evaluate(run, lambda _: Restless(), BYTE, corpus, device="cpu")


def test_a_seen_future_is_refused(result: RunResult) -> None:
    with pytest.raises(GateError, match=r"Gate 3: .* sees the future"):
        _check(result, heldout=replace(result.heldout, loss=0.1))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_refused(value: float, result: RunResult) -> None:
    with pytest.raises(GateError, match="Gate 4"):
        _check(result, heldout=replace(result.heldout, loss=value, non_finite=3))
    with pytest.raises(GateError, match=r"Gate 4: 3 of \d+ losses on other are not finite"):
        _check(result, extra=[replace(result.heldout, name="other", loss=value, non_finite=3)])
    with pytest.raises(GateError, match="Gate 1"):
        check_proof(1.0, value)


def test_an_incomplete_key_is_refused(result: RunResult) -> None:
    with pytest.raises(GateError, match="Gate 7: the result's key has no design_hash"):
        check_scores(
            replace(result.key, design_hash=""), BYTE.vocab_size, result.heldout, (), (), "a", "a"
        )


def _check(
    result: RunResult,
    heldout: HeldOutScore | None = None,
    extra: Sequence[HeldOutScore] = (),
    tasks: Sequence[TaskScore] = (),
) -> None:
    check_scores(
        result.key, BYTE.vocab_size, heldout or result.heldout, extra, tasks, "same", "same"
    )


# ---- wrong inputs


def test_another_design_is_refused(run: Path, corpus: Corpus) -> None:
    with pytest.raises(CheckpointError, match="of another design"):
        evaluate(run, build, BYTE, corpus, design_hash="something else")


def test_text_that_was_not_held_out_is_refused(run: Path, corpus: Corpus) -> None:
    trained = replace(
        corpus.heldout, tokens=corpus.train, sha256=corpus.train_sha256, bytes=corpus.train_bytes
    )
    fewer = load_corpus(BYTE, train_limit=150_000, heldout_limit=19_000)
    for other in (replace(corpus, heldout=trained), fewer):
        with pytest.raises(DataError, match="is not what was held out then"):
            evaluate(run, build, BYTE, other)


def test_another_text_is_scored_under_its_own_name(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    path = tmp_path / "other.txt"
    path.write_text("import os\n" * 20)
    with_other = replace(corpus, extra=(load_text(path, BYTE, 100),))
    result = evaluate(run, build, BYTE, with_other, device="cpu")
    (score,) = result.extra_heldout
    assert (score.name, score.bytes) == ("other.txt", 100)
    assert result.key.extra == (("other.txt", score.sha256),)
    assert result.heldout.sha256 == corpus.heldout.sha256


def test_the_key_names_the_data_of_the_tasks(
    result: RunResult, run: Path, corpus: Corpus, random_dir: Path
) -> None:
    assert result.key.context == 64
    other = evaluate(
        run, build, BYTE, corpus, tasks=["blimp_supplement"], data_dir=random_dir, device="cpu"
    )
    assert not result.key.comparable_with(other.key)
    without = evaluate(run, build, BYTE, corpus, device="cpu")
    assert result.key.comparable_with(without.key)
    assert len(boards([result, other, without])) == 2


def test_a_model_of_another_shape_is_refused(run: Path, corpus: Corpus) -> None:
    with pytest.raises(CheckpointError, match="other tensors"):
        evaluate(run, lambda _: Tiny(width=24), BYTE, corpus)


def test_swapped_weights_are_refused(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint-120"
    shutil.copytree(run / "checkpoint-120", copy)
    other = {name: tensor + 1 for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(other, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match="sha256 is not the one"):
        evaluate(copy, build, BYTE, corpus)


@needs_data
def test_another_tokenizer_is_refused(run: Path, corpus: Corpus) -> None:
    gpt2 = load_tokenizer("gpt2", DATA_DIR)
    with pytest.raises(DataError, match="trained with the tokenizer byte"):
        evaluate(run, build, gpt2, corpus)


def test_missing_pairs_are_named(pairs_dir: Path, tmp_path: Path) -> None:
    lm = module_lm(build(IDENTITY), BYTE)
    with pytest.raises(DataError, match="Unknown task `glue`"):
        run_tasks(lm, ["glue"], pairs_dir)
    with pytest.raises(DataError, match="Set DATA_DIR"):
        run_tasks(lm, ["blimp_filtered"], None)
    with pytest.raises(DataError, match="blimp_filtered with its"):
        run_tasks(lm, ["blimp_filtered"], pairs_dir)
    broken = tmp_path / "data"
    shutil.copytree(pairs_dir, broken)
    file = broken / "supplement_filtered" / "turn_taking.jsonl"
    file.unlink()
    with pytest.raises(DataError, match=r"turn_taking\.jsonl are missing"):
        run_tasks(lm, ["blimp_supplement"], broken)
    file.write_text('{"sentence_good": "a"}\n')
    with pytest.raises(DataError, match="line 1 is not a minimal pair"):
        run_tasks(lm, ["blimp_supplement"], broken)
