"""Tokenizers as commands are given them."""

from __future__ import annotations

from pathlib import Path

from gabc.cli.faults import InputFault
from gabc.data.tokenizer import TOKENIZERS, Tokenizer, load_tokenizer
from gabc.diagnostics.suggest import nearest


def tokenizer_named(name: str, data_dir: Path | None) -> Tokenizer:
    """A tokenizer by its name. Raises `InputFault` with the nearest spelling."""
    if name not in TOKENIZERS:
        near = nearest(name, TOKENIZERS)
        hint = f"did you mean `{near}`?" if near else f"use one of {', '.join(TOKENIZERS)}"
        raise InputFault(f"there is no tokenizer `{name}`; {hint}")
    return load_tokenizer(name, data_dir)
