"""What is not proved is run: witnesses for what is refuted, a test of what is open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from causality_ports import POSITIONS, SCORES, design
from designs import EXAMPLES

from gabc.check.causality.verdict import Proofs, Verdict, Witness
from gabc.check.report import Report, check
from gabc.cli.main import main
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.confirmation import confirmed
from gabc.runtime.oracle import Oracle, confirm
from gabc.syntax.source import Source

LEAKING = design(SCORES + "return softmax(s, axis=-1) @ X")
SQUARES = "masked(s, square(p[:, None]){} >= square(p[None, :]))"
OPEN = design(POSITIONS + SCORES + f"return softmax({SQUARES.format('')}, axis=-1) @ X")
OPEN_AND_LEAKING = design(
    POSITIONS + SCORES + f"return softmax({SQUARES.format(' + 7.0')}, axis=-1) @ X"
)
COUNTING = design(
    POSITIONS + "keep = square(p[:, None]) + 7.0 >= square(p[None, :])\n"
    "return X * sum(float(keep), axis=1)[:, None]"
)
HIDDEN = design(
    "is_loud = sum(abs(X), axis=1, keep=true) > 1000000.0\nreturn where(is_loud, tanh(X), X)"
)


def checked(text: str, *scales: str) -> Report:
    return check(Source("design.gab", text), scales=[parse_scale(s) for s in scales or ("14M",)])


def codes(report: Report) -> list[str]:
    return [d.code for d in report.diagnostics]


# ---------------------------------------------------------------- from static to tested


@pytest.mark.parametrize(
    ("text", "static", "after", "verdict"),
    [
        (LEAKING, "GAB0401", "GAB0401", Verdict.REFUTED),
        (HIDDEN, "GAB0401", "GAB0405", Verdict.REFUTED),
        (OPEN, "GAB0407", "GAB0406", Verdict.TESTED),
        (OPEN_AND_LEAKING, "GAB0407", "GAB0401", Verdict.REFUTED),
    ],
    ids=["leaks", "hidden", "open", "open and leaks"],
)
def test_codes(text: str, static: str, after: str, verdict: Verdict) -> None:
    report = checked(text)
    assert codes(report) == [static]
    run = confirmed(report)
    assert codes(run) == [after]
    assert run.proofs["14M"].causality.verdict is verdict
    (before,), (diagnostic,) = report.diagnostics, run.diagnostics
    assert (diagnostic.span, diagnostic.fixes) == (before.span, before.fixes)
    assert ("witness" in dict(diagnostic.facts)) == (
        run.proofs["14M"].causality.witness is not None
    )


def test_an_open_length_that_leaks_is_an_error_of_the_length() -> None:
    report = checked(COUNTING)
    assert report.proofs["14M"].length.verdict is Verdict.UNKNOWN
    assert codes(report) == ["GAB0407"]
    run = confirmed(report)
    assert codes(run) == ["GAB0402"]
    assert "were cut off" in dict(run.diagnostics[0].facts)["witness"]


def test_a_witness_can_be_seen_again() -> None:
    """The position named changes the result named, when it alone is changed by hand."""
    run = confirmed(checked(OPEN_AND_LEAKING))
    witness = run.proofs["14M"].causality.witness
    assert isinstance(witness, Witness)
    assert witness.position > witness.reads
    oracle = Oracle(checked(OPEN_AND_LEAKING, "64x2").stacks["64x2"], seed=5)
    stream = oracle.fresh(witness.length, magnitude=0.1)
    changed = stream.clone()
    changed[:, witness.position] += 1.0
    difference = (oracle.run(changed) - oracle.run(stream))[:, witness.reads]
    assert difference.abs().max() > 1e-6


def test_what_is_open_beside_an_error_stays_open() -> None:
    """A leak that is seen may be that of the error."""
    body = POSITIONS + SCORES + f"a = softmax({SQUARES.format('')}, axis=-1) @ X\n"
    text = design(body + "return a + mean(X, axis=1, keep=true)")
    assert sorted(codes(confirmed(checked(text)))) == ["GAB0401", "GAB0407"]


# ---------------------------------------------------------------- where it is run


def test_the_smallest_scale_is_run() -> None:
    run = confirmed(checked(LEAKING, "1300M"))
    assert dict(run.diagnostics[0].facts)["witness"].endswith("in float64 at 64x2")


def test_where_no_small_scale_is_well_formed_the_one_asked_for_is_run() -> None:
    text = LEAKING.replace("    forward", "    require D % 96 == 0\n    forward")
    run = confirmed(checked(text, "96x1"))
    assert dict(run.diagnostics[0].facts)["witness"].endswith("in float64 at 96x1")


def test_what_is_too_large_is_not_run() -> None:
    text = OPEN.replace("    forward", "    require D >= 2048\n    forward")
    report = checked(text, "4096x2")
    assert codes(report) == ["GAB0407"]
    assert confirmed(report) == report


def test_faults_of_a_late_layer_are_met() -> None:
    text = design(
        "if layer == 4 { y = X - mean(X, axis=1, keep=true) } else { y = shift(X) }\nreturn y"
    )
    run = confirmed(checked(text, "256x6"))
    assert dict(run.diagnostics[0].facts)["witness"].endswith("in float64 at 64x5")


def test_every_scale_is_confirmed_by_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def counted(proofs: Proofs, stack: Stack, lengths: Sequence[int]) -> Proofs:
        runs.append(stack.scale.name)
        return confirm(proofs, stack, lengths=lengths[:1])

    monkeypatch.setattr("gabc.runtime.confirmation.confirm", counted)
    run = confirmed(checked(OPEN, "14M", "125M"))
    assert codes(run) == ["GAB0406"]
    assert [p.causality.verdict for p in run.proofs.values()] == [Verdict.TESTED] * 2
    assert [(p.scale, p.causality.holds_at) for p in run.proofs.values()] == [
        (name, report.causality.holds_at)
        for name, report in checked(OPEN, "14M", "125M").proofs.items()
    ]
    assert runs == ["64x2"]


# ---------------------------------------------------------------- when it is run


def test_other_errors_come_first() -> None:
    text = LEAKING + "\nunit Other() {\n    forward(X) {\n        return X + nothing\n    }\n}\n"
    report = checked(text)
    assert sorted(codes(report)) == ["GAB0101", "GAB0401"]
    assert confirmed(report) is report


def test_a_contract_that_fails_is_no_other_error() -> None:
    text = OPEN_AND_LEAKING.replace("gab One\n", "gab One\n\nrequire causal\n")
    report = checked(text)
    assert sorted(codes(report)) == ["GAB0407", "GAB0710"]
    assert sorted(codes(confirmed(report))) == ["GAB0401", "GAB0710"]


def test_a_proved_design_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Oracle, "__post_init__", lambda _: pytest.fail("it was run"))
    report = checked(design("return X + shift(X)"))
    assert confirmed(report) is report


# ---------------------------------------------------------------- the command


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "design.gab"


def test_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(LEAKING, encoding="utf-8")
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "witness = y[" in shown
    assert "fix: mask what lies ahead: `causal(s)`" in shown
    assert main(["check", "--static", str(path)]) == 1
    assert "witness" not in capsys.readouterr().out


def test_command_on_what_is_open(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(OPEN, encoding="utf-8")
    assert main(["check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "warning[GAB0406]: not proved causal, and no run contradicts it" in shown
    assert "well-formed at 14M; not proved: causality (tested), length (tested)" in shown
    assert main(["check", "--static", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "warning[GAB0407]: not proved causal" in shown
    assert "not proved: causality (unknown), length (unknown)" in shown


def test_command_on_what_a_run_refutes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(OPEN_AND_LEAKING, encoding="utf-8")
    assert main(["check", "--json", str(path)]) == 1
    document = json.loads(capsys.readouterr().out)
    (file,) = document["files"]
    assert file["proofs"]["14M"]["causality"] == "refuted"
    (diagnostic,) = file["diagnostics"]
    assert diagnostic["code"] == "GAB0401"
    assert "a run shows that later positions are read" in diagnostic["message"]
    assert main(["check", "--static", str(path)]) == 0


def test_command_without_torch(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(OPEN, encoding="utf-8")
    monkeypatch.setattr("gabc.cli.check.find_spec", lambda _: None)
    assert main(["check", str(path)]) == 0
    assert "warning[GAB0407]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "is_loaded"),
    [
        (["--static", "{}"], False),
        ([str(EXAMPLES / "gpt2.gab")], False),
        pytest.param(["{}"], True, marks=pytest.mark.slow),
    ],
    ids=["static", "proved", "refuted"],
)
def test_torch_is_loaded_only_for_a_run(path: Path, arguments: list[str], is_loaded: bool) -> None:
    path.write_text(LEAKING, encoding="utf-8")
    given = ["check", *(argument.format(path) for argument in arguments)]
    code = (
        f"import sys\nfrom gabc.cli.main import main\nmain({given})\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(is_loaded)
