"""What `gabc compile` leaves in a folder, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gabc import __version__
from gabc.api import Compiled
from gabc.cli.faults import InputFault, os_fault
from gabc.cli.sources import named_sources


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of one compiled design by their path in the folder.

    `NAME.py` is the module, `NAME_kernels.py` its kernels if it has any, `NAME.map.json` its source
    map, `NAME.src/` every text it was made from with a record (`made.json`) of the compiler, the
    scale and the hashes of module and kernels.
    """

    name: str
    files: Mapping[str, str]

    @staticmethod
    def of(compiled: Compiled) -> Bundle:
        """The bundle of a design that compiled."""
        stack, text, source_map = compiled.stack, compiled.text, compiled.source_map
        assert stack is not None
        assert text is not None
        assert source_map is not None
        name = stack.name.lower()
        made = {
            "design": stack.name,
            "scale": stack.scale.name,
            "width": stack.scale.D,
            "blocks": stack.scale.n_layers,
            "gabc": __version__,
            "module_sha256": _sha256(text),
        }
        if compiled.kernels:
            made["kernels_sha256"] = _sha256(compiled.kernels)
        kernels = {f"{name}_kernels.py": compiled.kernels} if compiled.kernels else {}
        files = {
            f"{name}.py": text,
            **kernels,
            f"{name}.map.json": source_map.to_json(),
            f"{name}.src/made.json": json.dumps(made, indent=2) + "\n",
        }
        for path, content in named_sources(stack):
            files[f"{name}.src/{path}"] = content
        return Bundle(name, files)

    def write(self, folder: Path, force: bool) -> list[Path]:
        """Write every file into `folder`, each in one rename, and return the paths.

        Raises:
            InputFault: the folder cannot be written, or holds a module that was edited by hand (or
                comes from elsewhere) and `force` is not given.
        """
        if folder.exists() and not folder.is_dir():
            raise InputFault(f"{folder} is a file; name a folder to write to")
        if not force:
            self._refuse_edited(folder)
        is_new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".gabc-", dir=folder) as staged:
                for path, text in self.files.items():
                    place = Path(staged, path)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text(text, encoding="utf-8")
                return [self._publish(Path(staged, path), folder / path) for path in self.files]
        except OSError as error:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            raise os_fault(folder, error, "write to") from error

    def _publish(self, staged: Path, place: Path) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, place)
        return place

    def _refuse_edited(self, folder: Path) -> None:
        """A file whose hash is the recorded one is as gabc left it, and may be replaced."""
        for file, key in (("", "module_sha256"), ("_kernels", "kernels_sha256")):
            path = folder / f"{self.name}{file}.py"
            if f"{self.name}{file}.py" not in self.files or not path.exists():
                continue
            try:
                current = path.read_text(encoding="utf-8")
                record = json.loads((folder / f"{self.name}.src/made.json").read_text("utf-8"))
                is_ours = record[key] == _sha256(current)
            except (OSError, ValueError, KeyError, TypeError):
                is_ours = False
            if not is_ours:
                raise InputFault(
                    f"{path} exists and is not as gabc wrote it; choose another folder, or pass "
                    "--force to replace it"
                )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
