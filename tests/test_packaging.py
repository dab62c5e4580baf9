"""The package as it is installed: nothing missing from the wheel, nothing heavy for a check."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gabc

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAPPED = {
    "gabc": "gabc",
    "gabc.grammar": "grammar",
    "gabc.stdlib_gaus": "stdlib_gaus",
    "gabc.kernels": "kernels",
}


def test_versions_agree() -> None:
    assert PROJECT["project"]["version"] == gabc.__version__


def test_pins_cover_what_is_required() -> None:
    """Every direct requirement has a pin in `constraints.txt`."""
    pins = {
        line.partition("==")[0]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = {
        requirement.partition(">=")[0]
        for requirements in (PROJECT["project"]["dependencies"], *extras.values())
        for requirement in requirements
    }
    assert {name for name in wanted if not name.startswith("gabc[")} <= pins


@pytest.mark.slow
def test_a_wheel_has_all_its_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for folder in dict.fromkeys(MAPPED.values()):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(tree)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("gabc-*.whl")
    installed = tmp_path / "installed"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)

    packed = {str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file()}
    wanted = {
        str(Path(*name.split("."), path.relative_to(ROOT / folder)))
        for name, folder in MAPPED.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert not wanted - packed, (
        "a folder without __init__.py, or a kind of file not in package-data"
    )

    example = ROOT / "examples" / "ttt.gab"
    code = (
        "import sys, gabc; from gabc.cli.main import main; "
        f"assert gabc.__file__.startswith({str(installed)!r}), gabc.__file__; "
        f"sys.exit(main(['check', {str(example)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "TTT is well-formed and proved causal at 14M" in done.stdout
