"""What a checkpoint records of its design, and the model built again from that record."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gabc import __version__
from gabc.cli.sources import named_sources
from gabc.diagnostics.model import Severity
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.syntax.source import Source

if TYPE_CHECKING:
    from torch import nn

    from gabc.train.identity import ModelIdentity


def design_hash(stack: Stack) -> str:
    """sha256 over the texts a design is made of, whatever its files are called.

    Equal for equal texts only: two wordings of one function have two hashes.
    """
    texts = [stack.name, *(text for _, text in named_sources(stack))]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def identity_of(stack: Stack, vocab_size: int, seed: int) -> ModelIdentity:
    """Everything that building the untrained model again needs."""
    from gabc.train.identity import ModelIdentity

    return ModelIdentity(
        design=stack.name,
        design_hash=design_hash(stack),
        files=named_sources(stack),
        scale=stack.scale.name,
        vocab_size=vocab_size,
        seed=seed,
        compiler_version=__version__,
    )


def rebuild(identity: ModelIdentity) -> nn.Module:
    """The untrained model of a checkpoint, from the texts in it and this version's library.

    Raises: as `rebuild_stack`.
    """
    from gabc.runtime.model import build

    stack = rebuild_stack(identity)
    return build(stack, vocab_size=identity.vocab_size, seed=identity.seed)


def rebuild_stack(identity: ModelIdentity) -> Stack:
    """The elaborated design of a checkpoint.

    Raises:
        CheckpointError: its texts are no well-formed design for this version.
    """
    from gabc.check.report import check
    from gabc.train.errors import CheckpointError

    (name, text), *others = identity.files
    with TemporaryDirectory(prefix="gabc-") as folder:
        for other, content in others:
            if not other.startswith("std/"):
                Path(folder, PurePath(other).name).write_text(content, encoding="utf-8")
        scale = parse_scale(identity.scale)
        report = check(Source(name, text), scales=[scale], folder=Path(folder))
    if not report.ok:
        first = next(d for d in report.diagnostics if d.severity is Severity.ERROR)
        raise CheckpointError(
            f"The checkpoint's design {identity.design} was compiled by gabc "
            f"{identity.compiler_version} and is not well-formed for {__version__} "
            f"({first.span}: {first.message}). Use the version that trained it."
        )
    return report.stacks[scale.name]
