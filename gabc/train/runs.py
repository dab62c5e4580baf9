"""Where runs are kept."""

from __future__ import annotations

import os
from pathlib import Path


def runs_root() -> Path:
    """The folder that the environment variable CKPT_DIR names, or `runs` in the working folder."""
    value = os.environ.get("CKPT_DIR")
    return Path(value).expanduser() if value else Path("runs")
