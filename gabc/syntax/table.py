"""The parse table: built by Lark from `gab.lark`, kept in a cache, loaded without Lark.

Building takes about 0.3 s and importing Lark 50 ms; loading the cached table takes a few
milliseconds. The cache is JSON, so that a damaged or hostile file can at worst be ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Bump when the layout of `Table` changes.
_LAYOUT = 1

# What recovery parses alone, besides rules of the grammar that already stand for one thing.
_PIECES = """
?member: dim | dim_then_if | z_row | require | part
"""
STARTS = (
    *("start", "design", "import", "function", "unit", "test"),
    *("member", "forward", "statement", "test_item", "expr"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """An LALR(1) table.

    `regexes` are the terminals that are patterns, in the order to try them; `literals` maps the
    text of each other terminal to its name. `rules[r]` is (left side, action, number of symbols,
    indices of the symbols kept, kind) with kind 0 for a node, 1 for a list spliced into its
    parent, 2 for a rule that stands for its only child. `states[s][symbol]` is the state to go to,
    or `-1 - r` to reduce by rule r. `starts[rule]` is (first state, last state).
    """

    regexes: list[tuple[str, str]]
    literals: dict[str, str]
    rules: list[tuple[str, str, int, list[int], int]]
    states: list[dict[str, int]]
    starts: dict[str, tuple[int, int]]


NODE, SPLICE, PASS = range(3)


@cache
def load_table() -> Table:
    """The table of the installed grammar, from the cache or built anew."""
    grammar = (resources.files("gabc.grammar") / "gab.lark").read_text(encoding="utf-8")
    path = _cache_directory() / f"table-{_key(grammar)}.json"
    cached = _read(path)
    if cached is not None:
        return cached
    table = build_table(grammar)
    _write(path, table)
    return table


def _key(grammar: str) -> str:
    """A name for what the table depends on: the grammar, Lark, and the layout of `Table`."""
    # Lark's first file states its version; reading it costs less than asking for the version.
    spec = find_spec("lark")
    lark = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    parts = (str(_LAYOUT), lark, _PIECES, grammar)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "gabc"


def _read(path: Path) -> Table | None:
    """The cached table, or None where it is absent, unreadable or not what was written."""
    try:
        digest, _, body = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        return None
    return Table(**json.loads(body))


def _write(path: Path, table: Table) -> None:
    """Writes beside and renames, so that a reader sees a whole file or none."""
    body = json.dumps(asdict(table), separators=(",", ":"))
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(hashlib.sha256(body.encode()).hexdigest() + "\n" + body)
        os.replace(temporary, path)
    except OSError:
        # Nowhere to write, or no room: the next process builds the table again.
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def build_table(grammar: str) -> Table:
    """Lets Lark analyse the grammar and takes the table from its serialised form."""
    from lark import Lark
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    lark = Lark(grammar + _PIECES, parser="lalr", lexer="basic", start=list(STARTS))
    data, memo = lark.memo_serialize([TerminalDef, Rule])
    table: dict[str, Any] = data["parser"]["parser"]
    names: dict[int, str] = table["tokens"]
    number_of: dict[int, int] = {}
    rules: list[tuple[str, str, int, list[int], int]] = []
    for reference in data["rules"]:
        number_of[reference["@"]] = len(rules)
        rules.append(_rule(memo[reference["@"]]))
    states = [
        {
            names[symbol]: -1 - number_of[target["@"]] if reduces else target
            for symbol, (reduces, target) in actions.items()
        }
        for _, actions in sorted(table["states"].items())
    ]
    starts = {s: (table["start_states"][s], table["end_states"][s]) for s in STARTS}
    regexes, literals = _terminals(
        [memo[reference["@"]] for reference in data["parser"]["lexer_conf"]["terminals"]]
    )
    return Table(regexes, literals, rules, states, starts)


def _rule(rule: dict[str, Any]) -> tuple[str, str, int, list[int], int]:
    origin: str = rule["origin"]["name"]
    expansion = rule["expansion"]
    kept = [i for i, symbol in enumerate(expansion) if not symbol.get("filter_out", False)]
    if origin.startswith("_"):
        kind = SPLICE
    elif rule["options"]["expand1"] and not rule["alias"] and len(kept) == 1:
        kind = PASS
    else:
        kind = NODE
    return origin, rule["alias"] or origin, len(expansion), kept, kind


def _terminals(
    definitions: list[dict[str, Any]],
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Patterns as Lark orders them (longest possible match, then longest pattern), and literals."""
    patterns = []
    literals = {}
    for definition in definitions:
        name, pattern = definition["name"], definition["pattern"]
        if pattern["__type__"] == "PatternStr":
            literals[pattern["value"]] = name
        else:
            width = pattern["_width"][1]
            patterns.append((-width, -len(pattern["value"]), name, pattern["value"]))
    return [(name, regex) for _, _, name, regex in sorted(patterns)], literals
