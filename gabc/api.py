"""The pure functions that commands, editors and scripts stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from gabc.check.report import Report
from gabc.check.report import check as check_source
from gabc.codegen.emit import emit
from gabc.codegen.source_map import SourceMap
from gabc.diagnostics.model import Diagnostic
from gabc.elaborate.scales import DEFAULT_SCALE, VOCAB_SIZE, parse_scale
from gabc.graph.instance import Scale, Stack
from gabc.passes import optimise
from gabc.passes.fusion import fuse
from gabc.runtime.scale_fit import Fit, fit_scale
from gabc.syntax.source import Source

__all__ = ["Backend", "Compiled", "NoDesignError", "Report", "check", "compile"]

Backend: TypeAlias = Literal["torch", "triton"]

_UNNAMED = "<text>"


class NoDesignError(ValueError):
    """The text has no `gab` line: it defines units, and no design to compile."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A design compiled at one scale.

    `text` is the generated module and `source_map` leads from its lines to the design's; they and
    `stack` are `None` where the design has errors. `fit` says how the scale was chosen, if it was.
    `kernels` is the text of the file beside the module, empty where there is none.
    """

    source: Source
    diagnostics: tuple[Diagnostic, ...]
    stack: Stack | None = None
    text: str | None = None
    source_map: SourceMap | None = None
    fit: Fit | None = None
    kernels: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is a module."""
        return self.text is not None


def check(
    source: Source | str, *, scales: Sequence[Scale | str] = (), folder: Path | None = None
) -> Report:
    """Check a design at the scales given, by default at the smallest of the table.

    `source` is the text, or a `Source` that knows its path; `folder` is where sibling files lie.

    Raises:
        ScaleError: a scale is unknown.
    """
    return check_source(as_source(source), scales=[_scale(s) for s in scales], folder=folder)


def compile(
    source: Source | str,
    *,
    scale: Scale | str = DEFAULT_SCALE,
    fit: bool = False,
    standalone: bool = False,
    vocab_size: int = VOCAB_SIZE,
    folder: Path | None = None,
    backend: Backend = "torch",
) -> Compiled:
    """Compile a design to one PyTorch module.

    With `fit`, depth or width are changed until the parameters are within 2% of the scale's
    reference. A `standalone` module imports nothing but torch. `folder` is where sibling files lie.
    The `backend` triton fuses pointwise operations to kernels, in a file beside the module.

    Raises:
        ValueError: an unknown backend, or a `standalone` module with kernels.
        ScaleError: the scale is unknown.
        FitError: no size fits.
        NoDesignError: the text defines units and no design.
    """
    if backend not in ("torch", "triton"):
        raise ValueError(f"the back ends are torch and triton, not {backend!r}")
    if standalone and backend == "triton":
        raise ValueError(
            "a standalone module imports nothing but torch, and kernels need triton: "
            "leave out `standalone`, or use the back end torch"
        )
    design = elaborate(source, scale=scale, fit=fit, folder=folder)
    if design.stack is None:
        return design
    stack = optimise(design.stack)
    if backend == "triton":
        stack = fuse(stack)
    module = emit(stack, standalone=standalone, vocab_size=vocab_size)
    return Compiled(
        source=design.source,
        diagnostics=design.diagnostics,
        stack=design.stack,
        text=module.text,
        source_map=module.source_map,
        fit=design.fit,
        kernels=module.kernels,
    )


def elaborate(
    source: Source | str,
    *,
    scale: Scale | str = DEFAULT_SCALE,
    fit: bool = False,
    folder: Path | None = None,
) -> Compiled:
    """Everything that `compile` does before it writes code: the result has a stack and no text.

    Raises: as `compile`.
    """
    source = as_source(source)
    wanted = _scale(scale)
    report = check_source(source, scales=[wanted], folder=folder)
    if not report.ok:
        return Compiled(source, report.diagnostics)
    if wanted.name not in report.stacks:
        raise NoDesignError(
            f"{source.path} defines units and no design; add `gab NAME` for the unit of that name"
        )
    if not fit:
        return Compiled(source, report.diagnostics, report.stacks[wanted.name])

    def stack_at(scale: Scale) -> Stack | None:
        found = check_source(source, scales=[scale], folder=folder)
        return found.stacks.get(scale.name) if found.ok else None

    chosen = fit_scale(stack_at, wanted)
    report = check_source(source, scales=[chosen.scale], folder=folder)
    stack = report.stacks[chosen.scale.name]
    return Compiled(source, report.diagnostics, stack, fit=chosen)


def as_source(source: Source | str) -> Source:
    """A text as a `Source` without a path."""
    return source if isinstance(source, Source) else Source(_UNNAMED, source)


def _scale(scale: Scale | str) -> Scale:
    return scale if isinstance(scale, Scale) else parse_scale(scale)
