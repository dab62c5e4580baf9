"""Limits on what the syntax phase reads, and the reading of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gabc.syntax import limits
from gabc.syntax.parse import parse
from gabc.syntax.read import SourceError, read_source
from gabc.syntax.source import Source


def _codes(text: str) -> list[str]:
    return [d.code for d in parse(Source("a.gab", text))[1]]


def _returning(value: str) -> str:
    return f"fn f(x) {{ return {value} }}"


def test_brackets_nest_to_the_limit() -> None:
    depth = limits.MAX_NESTING - 1
    assert _codes(_returning("(" * depth + "x" + ")" * depth)) == []
    found = parse(Source("a.gab", _returning("(" * (depth + 1) + "x" + ")" * (depth + 1))))[1]
    assert [d.code for d in found] == ["GAB0701"]
    assert str(limits.MAX_NESTING) in found[0].message
    assert "GAB0701" in _codes(_returning("(" * 100_000 + "x" + ")" * 100_000))


@pytest.mark.parametrize(
    "value",
    [
        "+".join(["x"] * 300),
        "**".join(["x"] * 300),
        "-" * 300 + "x",
        "not " * 300 + "x",
        "x if a else " * 300 + "x",
    ],
    ids=["sum", "power", "minus", "not", "conditional"],
)
def test_deep_trees_without_brackets_are_refused(value: str) -> None:
    assert _codes(_returning(value)) == ["GAB0701"]


def test_a_long_else_if_is_refused() -> None:
    chain = "if a { x = 1 } else " * 300
    assert "GAB0701" in _codes(f"fn f(x) {{ {chain} {{ }} return x }}")


def test_blocks_and_expressions_that_are_deep_together_are_refused() -> None:
    value = "-" * 200 + "x"
    blocks = 40
    text = "if a { " * blocks + f"x = {value}" + " }" * blocks
    assert "GAB0701" in _codes(f"fn f(x) {{ {text} return x }}")


def test_integers_have_a_largest() -> None:
    assert _codes(_returning(str(limits.MAX_INTEGER))) == []
    assert _codes(_returning(str(limits.MAX_INTEGER + 1))) == ["GAB0701"]
    assert _codes(_returning("9" * 50_000)) == ["GAB0701"]
    assert _codes(_returning("0" * 50 + "1")) == []


def test_the_number_of_tokens_is_bounded() -> None:
    assert "GAB0701" in _codes(_returning("f()" * (limits.MAX_TOKENS // 3 + 1)))


def test_a_text_may_not_be_too_large() -> None:
    assert _codes("#" * limits.MAX_FILE_BYTES) == []
    assert _codes("#" * (limits.MAX_FILE_BYTES + 1)) == ["GAB0701"]


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gab"
    path.write_bytes(b"# \xc3\xa9\r\nfn f(x) { return x }\r\n")
    source = read_source(path)
    assert source.text == "# é\r\nfn f(x) { return x }\r\n"
    assert parse(source)[1] == []


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.gab"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(SourceError, match=str(limits.MAX_FILE_BYTES)) as error:
        read_source(path)
    assert error.value.diagnostic.code == "GAB0701"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gab"
    path.write_bytes("# é\n# caf".encode() + b"\xe9\n")
    with pytest.raises(SourceError, match="0xe9 at offset 10") as error:
        read_source(path)
    assert error.value.diagnostic.code == "GAB0003"
    assert error.value.diagnostic.span.source.position(error.value.diagnostic.span.start) == (2, 6)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_source(tmp_path / "none.gab")
