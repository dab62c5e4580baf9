"""`gabc show`: proofs, costs and derivations of a design."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gabc.cli.main import main
from gabc.runtime.inspect_facts import path_parts

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
GPT2 = EXAMPLES / "gpt2.gab"
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")

AHEAD = """gab Ahead

unit Ahead() {
    forward(X) {
        return X + mean(X, axis=1, keep=true)
    }
}
"""

UNSEEN = """gab Unseen

unit Unseen() {
    proj = Linear(D, D)

    forward(X) {
        scores = einsum("b l d, b m d -> b l m", X, proj(X))
        at = square(positions() + 1.0)
        weights = softmax(masked(scores, at[None, :] <= at[:, None]), axis=-1)
        return X + einsum("b l m, b m d -> b l d", weights, X)
    }
}
"""

WINDOW = """gab Window

unit Mix() {
    up = Linear(D, D)

    forward(X) {
        return up(X + shift(X, 3))
    }
}

unit Window() {
    mix = Mix()
    if layer % 2 == 1 { more = Mix() }

    forward(X) {
        X = X + mix(X)
        if layer % 2 == 1 {
            X = X + more(X)
        }
        return X
    }
}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "design.gab"
    path.write_text(text, encoding="utf-8")
    return str(path)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(["show", *arguments]) == status
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    return json.loads(shown(capsys, *arguments, "--json", status=status))


# ---------------------------------------------------------------- the summary


def test_the_summary_follows_the_tree(capsys: pytest.CaptureFixture[str]) -> None:
    *_, totals, proofs, costs, identity = shown(capsys, str(GPT2)).splitlines()
    assert totals.startswith("5,378,688 parameters: ")
    assert proofs == (
        "proved: causality, batch independence, length independence; position t reads 0 .. t"
    )
    assert "12,582,912 bytes of decode state, O(L), at length 2,048" in costs
    assert identity.startswith("structural hash ")


def test_the_parts_asked_for_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    tree = shown(capsys, str(GPT2), "--tree")
    assert "wq: Linear" in tree
    assert "structural hash" not in tree
    costs = shown(capsys, str(GPT2), "--cost")
    assert "├" not in costs
    assert "H200" not in costs
    both = shown(capsys, str(GPT2), "--tree", "--cost")
    assert tree in both
    assert costs in both


# ---------------------------------------------------------------- the document


@pytest.mark.parametrize("name", SEEDS)
def test_document_of_a_seed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, str(EXAMPLES / f"{name}.gab"))
    assert found["ok"]
    for subject in ("causality", "batch", "length"):
        assert found[subject]["verdict"] == "proved", subject
    units = list(found["parameters"]["per_unit"])
    for subject in ("causality", "batch", "length"):
        assert found[subject]["per_unit"] == dict.fromkeys(units, "proved"), subject
    for section in ("flops", "state", "activations", "launches"):
        assert list(found[section]["per_unit"]) == units
    inside = {path for path in units if path.startswith("blocks")}
    assert set(found["hash"]["per_unit"]) == inside
    assert set(found["receptive_field"]["per_unit"]) <= inside
    assert found["state"]["class"] == ("O(L)" if name == "gpt2" else "O(1)")


def test_figures_counted_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """A decoder of GPT2 keeps a key and a value of width 128 in each of 6 blocks."""
    found = document(capsys, str(GPT2), "--length", "1024")
    assert found["at_length"] == 1024
    assert found["state"]["bytes"] == 6 * 2 * 128 * 4 * 1024
    assert found["state"]["polynomial"] == f"{6 * 2 * 128 * 4}*L"
    units = found["flops"]["per_unit"]
    assert units["blocks.mlp.down"]["forward_per_token"] == 2 * 384 * 128
    assert units["head"]["training_per_token"] == 3 * 2 * 128 * 32_000
    assert found["parameters"]["per_unit"]["blocks.attn"] == 4 * (128 * 128 + 128)


def test_receptive_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two blocks shift by 3 once, two twice: 6 shifts in all; layers that differ have own names."""
    found = document(capsys, written(tmp_path, WINDOW), "--scale", "64x4")
    field = found["receptive_field"]
    assert (field["first"], field["last"], field["text"]) == (-18, 0, "t - 18 .. t")
    units = field["per_unit"]
    assert units["blocks.0"]["text"] == "t - 3 .. t"
    assert units["blocks.1"]["text"] == "t - 6 .. t"
    assert units["blocks.1.mix"]["text"] == "t - 3 .. t"
    hashes = found["hash"]["per_unit"]
    assert hashes["blocks.0.mix"] == hashes["blocks.1.more"]
    assert hashes["blocks.0"] != hashes["blocks.1"]


NESTED = """gab Nested

unit Leak() {
    forward(X) {
        return X + mean(X, axis=1, keep=true)
    }
}

unit Fine() {
    up = Linear(D, D)

    forward(X) {
        return up(cumsum(X))
    }
}

unit Both() {
    fine = Fine()
    leak = Leak()

    forward(X) {
        return leak(fine(X))
    }
}

unit Nested() {
    first = Fine()
    both = Both()
    last = Fine() * 2

    forward(X) {
        X = X + first(X)
        X = X + both(X)
        for e in last {
            X = X + e(X)
        }
        return X
    }
}
"""


def test_the_verdict_of_a_unit_is_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What leaks and what is around it is refuted; what comes before it or after it is not."""
    path = written(tmp_path, NESTED)
    found = document(capsys, path, status=1)
    for subject in ("causality", "length"):
        verdicts = found[subject]["per_unit"]
        assert list(verdicts) == list(found["flops"]["per_unit"])
        refuted = {unit for unit, verdict in verdicts.items() if verdict == "refuted"}
        assert refuted == {"blocks", "blocks.both", "blocks.both.leak"}
        assert set(verdicts.values()) == {"refuted", "proved"}
    assert set(found["batch"]["per_unit"].values()) == {"proved"}
    lines = shown(capsys, path, "--causality", status=1).splitlines()
    assert lines.count("  not proved of blocks.both.leak, taken alone") == 2


def test_verdicts_where_layers_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = WINDOW.replace("up(X + shift(X, 3))", "up(X)").replace(
        "if layer % 2 == 1 { more = Mix() }", "if layer % 2 == 1 { more = Ahead() }"
    )
    path = written(tmp_path, text + AHEAD.removeprefix("gab Ahead\n"))
    verdicts = document(capsys, path, "--scale", "64x4", status=1)["causality"]["per_unit"]
    refuted = {unit for unit, verdict in verdicts.items() if verdict == "refuted"}
    assert refuted == {"blocks.1", "blocks.1.more", "blocks.3", "blocks.3.more"}
    assert verdicts["blocks.1.mix"] == verdicts["blocks.2"] == "proved"


def test_a_refuted_design_is_shown_with_its_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, AHEAD)
    found = document(capsys, path, status=1)
    assert not found["ok"]
    assert found["causality"]["verdict"] == "refuted"
    assert found["batch"]["verdict"] == "proved"
    assert found["receptive_field"]["last"] is None
    assert [d["code"] for d in found["diagnostics"]] == ["GAB0401"]
    out = shown(capsys, path, status=1)
    assert "refuted: causality, length independence; proved: batch independence" in out
    assert "position t reads 0 .. L - 1" in out
    assert "no decoder, since it reads ahead" in out
    assert found["state"]["bytes"] is None
    assert "the states mean nothing" in shown(capsys, path, "--cost", status=1)


def test_an_unknown_verdict_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, UNSEEN)
    assert document(capsys, path)["causality"]["verdict"] == "unknown"
    assert main(["check", path]) == 0
    out = capsys.readouterr().out
    assert f"{path}: Unseen is well-formed at 14M; not proved: causality" in out


def test_structural_hash_does_not_see_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = WINDOW.replace("Mix", "Other").replace("up", "wide")
    changed = WINDOW.replace("shift(X, 3)", "shift(X, 2)")
    before, same, other = (
        document(capsys, written(tmp_path, text))["hash"] for text in (WINDOW, renamed, changed)
    )
    assert same["structural"] == before["structural"]
    assert other["structural"] != before["structural"]


# ---------------------------------------------------------------- costs


def test_paths_keep_numbers_with_their_names() -> None:
    assert path_parts("blocks.0-3.experts.1.up") == ["blocks.0-3", "experts.1", "up"]
    assert path_parts("blocks.mlp.up") == ["blocks", "mlp", "up"]


def test_cost_tables(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, str(GPT2), "--cost", "--length", "512").splitlines()
    assert lines[0].rstrip() == "Costs at length 512"
    rows = [line.split() for line in lines]
    # Products of 2 * 128 * 128 and 128 sums forward, twice the products and the sums backward.
    wq = ["wq:", "Linear", "16,512", "32,896", "98,560", "0", "0", "1", "O(1)", "O(1)"]
    assert wq in rows
    state = 6 * 2 * 128 * 4
    assert any(row[:1] == ["GPT2"] and row[-1] == f"{state}*L" for row in rows)
    assert any(row[:1] == ["GPT2"] and row[-2:] == ["O(L)", "O(L)"] for row in rows)
    assert any("costs of the optimised design" in line for line in lines)


def test_step_time(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(GPT2), "--device", "H200", "--batch", "4")
    assert "H200: at least " in out
    assert "4 x 2,048 tokens" in out
    assert "assumed: a roofline for each unit" in out
    times = {
        name: document(capsys, str(GPT2), "--device", name)["step_time"]
        for name in ("H200", "H100", "CPU")
    }
    assert times["H200"]["measured"]
    assert not times["CPU"]["measured"]
    for time in times.values():
        parts = [time[part] for part in ("compute", "memory", "launches")]
        assert max(parts) <= time["seconds"] <= sum(parts)


def test_a_device_that_nobody_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(GPT2), "--device", "H20"]) == 2
    assert "did you mean `H200`? --device knows H200, H100, CPU" in capsys.readouterr().err


# ---------------------------------------------------------------- causality


def test_derivation_as_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, WINDOW)
    lines = shown(capsys, path, "--causality", "--scale", "64x4").splitlines()
    assert lines[0].startswith("causality (")
    assert lines[0].endswith("): proved at 64x4"), "the layers are not alike"
    assert "receptive field: position t reads t - 18 .. t" in lines
    step = next(line for line in lines if "shift(X, 3)" in line and "X +" not in line)
    assert step.lstrip("│├└─ ").startswith("shift(X, 3)[b, t, c]  reads t - 3  by ")
    assert step.endswith("design.gab:7")
    # The same unit on equal knowledge in other layers: told once.
    assert sum("mix: Mix" in line for line in lines) == 1


def test_derivation_names_the_mask_and_the_constants(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(EXAMPLES / "ttt.gab"), "--causality")
    assert "0 unless 0 <= c - d" in out  # `causal` within a chunk
    found = document(capsys, str(EXAMPLES / "ttt.gab"), "--causality")["derivation"]
    assert {unit["path"] for unit in found} >= {"", "ttt", "ttt.rope", "mlp"}
    assert all(step["place"] for unit in found for step in unit["values"])


# ---------------------------------------------------------------- what it must not need


def test_show_needs_no_torch(tmp_path: Path) -> None:
    pictures = ["--graph", "x.svg"] if shutil.which("dot") is not None else []
    text = ["show", str(GPT2), "--tree", "--cost", "--causality", *pictures]
    code = (
        "import sys; from gabc.cli.main import main; "
        f"assert main({text!r}) == 0; assert main({['show', str(GPT2), '--json']!r}) == 0; "
        "heavy = {'torch', 'numpy', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
