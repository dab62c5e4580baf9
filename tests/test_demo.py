"""Training, scoring and the main job by their commands, at the smallest size."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from gabc.cli.demo_jobs import Job, Jobs, Stage
from gabc.cli.demo_plan import Plan, plan_of
from gabc.cli.main import main
from gabc.train.checkpoint import open_checkpoint

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
DATA = ROOT.parent / "shared" / "data" / "babylm2024_evaluation_data"
GPT2 = str(EXAMPLES / "gpt2.gab")

SIZE = ("--scale", "32x1", "--length", "32", "--batch", "8", "--lr", "0.01")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for number in range(60):
        story = " ".join(f"the {number} fox jumps over the lazy dog {i}." for i in range(20))
        (folder / f"{number}.txt").write_text(story, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["train", GPT2, *SIZE, "--data", str(text), "--steps", "40", "--out", str(folder)]
    assert main(arguments) == 0
    return folder


@pytest.fixture(autouse=True)
def no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


# ---------------------------------------------------------------- train and eval


def test_eval(run: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--data", str(text), "--design", GPT2, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["key"]["design"] == "GPT2"
    assert result["heldout"]["loss"] < 4.0
    assert result["proof_loss"][0] == pytest.approx(result["proof_loss"][1], abs=1e-4)
    assert json.loads((run / "result.json").read_text("utf-8")) == result


def test_eval_prints_a_leaderboard(
    run: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--data", str(text)]) == 0
    out = capsys.readouterr().out
    assert "GPT2" in out
    assert "trigram" in out
    assert "proof:" in out


def test_resume_from_the_command_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished run can be resumed, and then there is nothing left to do."""
    out = tmp_path / "run"
    command = ["train", GPT2, *SIZE, "--data", str(text), "--steps", "3", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["steps"] == 3
    assert main(command) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main([*command, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == first["loss"]


def test_resume_with_another_design(
    run: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(EXAMPLES / "retnet.gab")
    options = [*SIZE, "--data", str(text), "--steps", "40", "--out", str(run), "--resume"]
    assert main(["train", other, *options]) == 2
    assert "cannot be resumed: its design differs" in capsys.readouterr().err


def test_checkpoint_of_another_design(
    run: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(EXAMPLES / "retnet.gab")
    assert main(["eval", str(run), "--data", str(text), "--design", other]) == 2
    assert "is of another design: it holds GPT2" in capsys.readouterr().err


def test_a_corrupt_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = next(copy.glob("checkpoint-*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["eval", str(copy)]) == 2
    captured = capsys.readouterr()
    assert "is damaged" in captured.err
    assert "Traceback" not in captured.err


def test_eval_on_text_that_was_not_trained_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run)]) == 2
    assert "name the text of the training with --data" in capsys.readouterr().err


def test_training_text_is_not_scored_as_held_out(
    run: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = str(text / "0.txt")
    assert main(["eval", str(run), "--data", document]) == 2
    assert "is not what was held out then" in capsys.readouterr().err
    assert main(["eval", str(run), "--data", str(text), "--extra", document, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [score["name"] for score in result["extra_heldout"]] == ["0.txt"]
    assert result["heldout"]["name"] != "0.txt"
    assert main(["eval", str(run), "--data", str(text), *2 * ["--extra", document]]) == 2
    assert "two further texts are called 0.txt" in capsys.readouterr().err


def test_controls_from_the_command_line(
    run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "controls.json"
    assert main(["eval", str(run), "--data", str(text), "--controls", str(file)]) == 0
    record = json.loads(file.read_text("utf-8"))
    assert record["positive"]["name"] == "GPT2 32x1"
    assert [control["name"] for control in record["negative"] if not control["refusal"]] == [
        "trigram"
    ]


def test_eval_takes_the_limits_of_the_training(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    limits = ["--train-limit", "20000", "--heldout-limit", "3000"]
    command = ["train", GPT2, *SIZE, "--data", str(text), "--steps", "40", "--out", out]
    assert main([*command, *limits]) == 0
    capsys.readouterr()
    assert main(["eval", out, "--data", str(text), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 2900 < result["heldout"]["bytes"] <= 3000
    assert result["key"]["train_sha256"] == open_checkpoint(Path(out)).record.data.train_sha256


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "nowhere"], "There is no checkpoint at nowhere"),
        (["eval", "nowhere", "--tasks", "blimp_filterd"], "did you mean `blimp_filtered`?"),
        (["train", GPT2, "--steps", "1", "--data", "nowhere"], "There is no data at nowhere"),
        (["train", GPT2, "--steps", "1", "--tokenizer", "bite"], "did you mean `byte`?"),
        (["train", GPT2, "--steps", "1", "--tokenizer", "gpt2"], "DATA_DIR is not set"),
        (["train", GPT2, "--steps", "1", "--out", f"{GPT2}/x"], "not a directory"),
        (["train", GPT2, "--steps", "0"], "Input should be greater than or equal to 1"),
        (["demo", "--designs", "nowhere"], "there is no folder nowhere"),
        (["demo", "--scale", "14m"], "did you mean `14M`?"),
    ],
)
def test_faults_are_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_data_dir_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", "/nowhere")
    assert main(["train", GPT2, "--steps", "1"]) == 2
    assert "DATA_DIR is /nowhere, which is not a folder" in capsys.readouterr().err


# ---------------------------------------------------------------- the main job


def test_the_plan_is_commands_that_exist() -> None:
    plan = plan_of("64x2", None, 0, is_quick=False, has_data=True)
    assert plan.tokens == plan.steps * plan.batch * plan.length
    train = plan.train_command(Path("a.gab"), Path("run"))
    assert train[:2] == ["train", "a.gab"]
    assert "--json" in train
    assert "blimp_filtered" in plan.eval_command(Path("run"))
    without = plan_of("64x2", 5, 0, is_quick=True, has_data=False)
    assert without.steps == 5
    assert "--tasks" not in without.eval_command(Path("run"))


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    plan: Plan = plan_of("32x1", 2, 0, is_quick=True, has_data=False)
    job = Job("Lost", tmp_path / "lost.gab", tmp_path / "lost")
    running = Jobs([job], plan, workers=1)
    running.start()
    while not running.are_done:
        time.sleep(0.05)
    running.close()
    assert job.stage is Stage.FAILED
    assert job.failure.startswith("training: there is no file")


@pytest.mark.slow
def test_one_design_that_fails_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    designs = tmp_path / "designs"
    designs.mkdir()
    shutil.copy(EXAMPLES / "gpt2.gab", designs)
    (designs / "ttt.gab").write_text("gab TTT\nunit TTT() { forward(X) { return Y } }\n", "utf-8")
    monkeypatch.setenv("CKPT_DIR", str(tmp_path / "runs"))
    options = ["--designs", str(designs), "--quick", "--scale", "32x1", "--name", "one"]
    assert main(["demo", *options, "--json"]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert list(outcome["designs"]) == ["GPT2"]
    assert set(outcome["failures"]) == {"mamba2.gab", "retnet.gab", "rwkv6.gab", "ttt.gab"}
    assert outcome["failures"]["ttt.gab"] == "the design has errors"
    folder = tmp_path / "runs" / "one"
    assert "GPT2" in (folder / "report.md").read_text("utf-8")
    assert "<svg" in (folder / "report.html").read_text("utf-8")
    assert (folder / "compiled" / "gpt2.py").is_file()
    assert main(["demo", *options]) == 2
    assert "exists; choose another --name" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
def test_blimp_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(DATA))
    out = str(tmp_path / "run")
    held = ["--heldout-limit", "20000"]
    assert main(["train", GPT2, *SIZE, "--steps", "40", "--out", out, *held]) == 0
    capsys.readouterr()
    tasks = ["--tasks", "heldout,blimp_filtered", "--limit", "2", "--json"]
    assert main(["eval", out, *tasks]) == 0
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert task["name"] == "blimp_filtered"
    assert len(task["subtasks"]) == 67
