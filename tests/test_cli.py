"""The commands as people and scripts use them: what they print, write, refuse and return."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gabc
from gabc.cli.main import main
from gabc.syntax.limits import MAX_FILE_BYTES

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
GPT2 = EXAMPLES / "gpt2.gab"
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")

WRONG = """gab Wrong

unit Wrong() {
    up = Linear(D, 2 * D)

    forward(X) {
        return X + up(X)
    }
}
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.gab"
    path.write_text(WRONG, encoding="utf-8")
    return path


def gabc_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gabc", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# ---------------------------------------------------------------- check


def test_check_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(GPT2), "--scale", "14M,1300M"]) == 0
    assert capsys.readouterr().out == (
        f"{GPT2}: GPT2 is well-formed and proved causal at 14M, 1300M\n"
    )


def test_check_all_scales_of_all_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(EXAMPLES / f"{name}.gab") for name in SEEDS]
    assert main(["check", *paths, "--scale", "all", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [file["design"] for file in document["files"]] == [
        *("GPT2", "Mamba2", "RetNet", "RWKV6", "TTT")
    ]
    assert all(len(file["scales"]) == 12 for file in document["files"])


def test_check_errors_as_text(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(wrong)]) == 1
    out = capsys.readouterr().out
    assert f"--> {wrong}:7:" in out
    assert out.endswith("1 error\n")
    assert "\x1b" not in out  # no colour where output is not a terminal


def test_check_errors_as_json_lines(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(wrong), str(GPT2), "--format", "json"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["severity"] == "error"
    assert found["span"]["line"] == 7


def test_check_errors_as_a_document(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(wrong), str(GPT2), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    assert document["errors"] == 1
    assert [file["ok"] for file in document["files"]] == [False, True]


def test_check_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WRONG.encode())))
    assert main(["check", "-"]) == 1
    assert "--> <stdin>:7:" in capsys.readouterr().out


def test_a_library_file_has_no_design(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "stdlib_gaus" / "norm.gab"
    assert main(["check", str(path)]) == 0
    assert "defines units and no design" in capsys.readouterr().out
    assert main(["show", str(path)]) == 2
    assert "add `gab NAME`" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "compile", "show"])
def test_light_commands_do_not_import_torch(command: str, tmp_path: Path) -> None:
    arguments = [command, str(GPT2), *(["-o", str(tmp_path)] if command == "compile" else [])]
    code = (
        "import sys; from gabc.cli.main import main; "
        f"assert main({arguments!r}) == 0; "
        "heavy = {'torch', 'numpy', 'transformers', 'lm_eval', 'jinja2'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


# ---------------------------------------------------------------- compile


def test_compile_writes_a_module_a_map_and_what_it_was_made_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compile", str(GPT2), "-o", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"] == 5_378_688
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {str(Path(path).relative_to(out)) for path in document["written"]}
    assert {"gpt2.py", "gpt2.map.json", "gpt2.src/gpt2.gab", "gpt2.src/std/norm.gab"} <= written
    assert (out / "gpt2.src/gpt2.gab").read_text("utf-8") == GPT2.read_text("utf-8")
    lines = json.loads((out / "gpt2.map.json").read_text("utf-8"))["lines"]
    module = (out / "gpt2.py").read_text("utf-8").splitlines()
    assert lines
    assert all(1 <= int(number) <= len(module) for number in lines)


def test_compiled_text_is_the_same_in_every_process(tmp_path: Path) -> None:
    texts = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        done = gabc_process("compile", str(GPT2), "-o", str(out), PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
        texts.append((out / "gpt2.py").read_bytes())
    assert texts[0] == texts[1]


def test_a_design_with_errors_leaves_nothing(
    wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compile", str(wrong), "-o", str(out)]) == 1
    assert not out.exists()
    assert f"--> {wrong}:7:" in capsys.readouterr().err


def test_compile_replaces_its_own_module_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_it = ["compile", str(GPT2), "-o", str(tmp_path)]
    assert main(compile_it) == 0
    assert main([*compile_it, "--scale", "31M"]) == 0
    module = tmp_path / "gpt2.py"
    module.write_text(module.read_text("utf-8") + "# mine\n", encoding="utf-8")
    capsys.readouterr()
    assert main(compile_it) == 2
    assert "--force" in capsys.readouterr().err
    assert module.read_text("utf-8").endswith("# mine\n")
    assert main([*compile_it, "--force"]) == 0
    assert "# mine" not in module.read_text("utf-8")


def test_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert main(["compile", str(GPT2), "-o", str(file)]) == 2
    assert "is a file" in capsys.readouterr().err
    assert main(["compile", str(GPT2), "-o", str(file / "below")]) == 2
    assert "not a directory" in capsys.readouterr().err


# ---------------------------------------------------------------- show


def test_show_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(GPT2), "--scale", "125M", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["design"] == "GPT2"
    assert document["scale"] == "125M"
    assert document["parameters"]["per_block"] == [7_082_496] * 12
    assert document["parameters"]["embedding"] == 32_000 * 768
    assert document["parameters"]["total"] == 109_566_720
    names = [child["name"] for child in document["tree"]["children"]]
    assert names == ["embedding", "blocks", "norm", "head"]


def test_show_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(GPT2)]) == 0
    out = capsys.readouterr().out
    assert "blocks x 6: GPT2  X [B, L, D] -> [B, L, D]  213,760" in out
    assert "wq: Linear  [..., D] -> [..., H*K]  16,512" in out
    assert "5,378,688 parameters: 4,096,000 embedding, 6 x 213,760 in blocks" in out


def test_fit_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EXAMPLES / "rwkv6.gab")
    assert main(["show", path, "--fit", "31M", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fit"].startswith("fitted to 31M: 7 blocks in place of 6;")
    assert abs(document["parameters"]["total"] / 12_920_064 - 1) <= 0.02


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "examples/gtp2.gab"], "did you mean examples/gpt2.gab?"),
        (["check", "nowhere/gpt2.gab"], "there is no folder nowhere"),
        (["check", "examples"], "examples is a folder; name a .gab file, for example"),
        (["check", str(GPT2), "--scale", "14m"], "did you mean `14M`?"),
        (["check", str(GPT2), "--scale", "0x2"], "out of range"),
        (["show", str(GPT2), "--scale", "14M", "--fit", "14M"], "give one of them"),
        (["show", str(GPT2), "--fit", "13B"], "no reference size"),
        (["chekc", str(GPT2)], "Did you mean 'check'?"),
        (["check", str(GPT2), "--scales", "14M"], "Possible options: --scale"),
        (["check"], "Missing argument"),
        (["compile"], "Missing argument"),
        (["train", str(GPT2)], "Missing option"),
    ],
)
def test_faults_are_one_sentence(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out


def test_faults_as_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(GPT2), "--scale", "14m", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    assert "did you mean `14M`" in document["error"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"gab Caf\xe9", "not UTF-8: byte 0xe9 at offset 7"),
        (b"#" * (MAX_FILE_BYTES + 1), f"at most {MAX_FILE_BYTES} bytes"),
        (b"gab \x00", "U+0000"),
    ],
    ids=["not UTF-8", "too large", "NUL"],
)
@pytest.mark.parametrize("command", ["check", "show"])
def test_files_that_are_no_text(
    command: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.gab"
    path.write_bytes(content)
    assert main([command, str(path)]) == 1
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert main([command, str(path), "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_an_unreadable_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("gabc.cli.files.read_source", refuse)  # root may read every file
    assert main(["check", str(tmp_path / "x.gab")]) == 2
    assert f"cannot read {tmp_path / 'x.gab'}: permission denied" in capsys.readouterr().err


# ---------------------------------------------------------------- faults of gabc


def test_an_internal_error_says_how_to_report_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("gabc.cli.check.check_source", broken)
    monkeypatch.delenv("GABC_DEBUG", raising=False)
    assert main(["check", str(GPT2)]) == 3
    err = capsys.readouterr().err
    assert "internal error: KeyError: 'lost'" in err
    assert "please report it" in err
    assert "Traceback" not in err
    monkeypatch.setenv("GABC_DEBUG", "1")
    assert main(["check", str(GPT2)]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_debug_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("gabc.cli.check.check_source", broken)
    monkeypatch.setenv("GABC_DEBUG", "")  # restored after the test
    assert main(["--debug", "check", str(GPT2)]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gabc {gabc.__version__}\n"


# ---------------------------------------------------------------- the pure functions


def test_check_and_compile_from_python() -> None:
    text = GPT2.read_text(encoding="utf-8")
    report = gabc.check(text, scales=["14M", "64x2"])
    assert report.ok
    assert list(report.stacks) == ["14M", "64x2"]
    compiled = gabc.compile(text, scale="64x2", standalone=True)
    assert compiled.ok
    assert compiled.text is not None
    assert "import gabc" not in compiled.text
    assert "from gabc" not in compiled.text
    assert not gabc.compile(WRONG).ok
    # Importing a module of the package `gabc.check` must not take the function's name away.
    import_module("gabc.check.report")
    assert not gabc.check(WRONG).ok


def test_a_text_without_a_design() -> None:
    with pytest.raises(gabc.NoDesignError, match="no design"):
        gabc.compile("unit A() { forward(X) { return X } }")
