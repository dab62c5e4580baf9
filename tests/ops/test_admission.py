"""Every primitive is documented, declared well, and has a test that holds its rules together."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from gabc.ops import PRIMITIVES
from gabc.ops.base import REQUIRED


def _checked() -> set[str]:
    """The primitives that the modules beside this one check: named in a call, or in a table."""
    found: set[str] = set()
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("check"), [ast.Constant(str(name)), *_]):
                    found.add(name)
        members = vars(importlib.import_module(f".{path.stem}", __package__))
        found.update(*(members.get(table, ()) for table in ("EXAMPLES", "INITIAL")))
    return found


CHECKED = _checked()


def test_the_rules_of_shape_need_no_torch() -> None:
    code = "import sys, gabc.ops; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PRIMITIVES)
def test_is_checked(name: str) -> None:
    assert name in CHECKED


def test_no_check_is_of_another_name() -> None:
    assert sorted(CHECKED - PRIMITIVES.keys()) == []


@pytest.mark.parametrize("name", PRIMITIVES)
def test_is_declared_well(name: str) -> None:
    primitive = PRIMITIVES[name]
    assert primitive.name == name
    assert primitive.doc.endswith(".")
    names = [parameter.name for parameter in primitive.parameters]
    assert len(set(names)) == len(names)
    assert set(primitive.fills) <= set(names)
    for parameter in primitive.parameters:
        assert not parameter.hidden or parameter.default is not REQUIRED
    positional = [p for p in primitive.parameters if not p.keyword_only and not p.variadic]
    optional = [p.default is not REQUIRED for p in positional]
    assert optional == sorted(optional), "a required parameter follows an optional one"
