"""`gabc compile`: a design as a PyTorch module, with its source map and what it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.cli.scales import scale_or_fit
from gabc.elaborate.scales import DEFAULT_SCALE, VOCAB_SIZE

if TYPE_CHECKING:
    from gabc.api import Backend, Compiled


def compile_design(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A design; `-` is standard input.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where to write; made if missing.")
    ] = Path(),
    scale: Annotated[
        str | None,
        typer.Option(metavar="S", help=f"The default size of the module. [{DEFAULT_SCALE}]"),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="Change depth or width to within 2% of this scale's reference size."
        ),
    ] = None,
    standalone: Annotated[
        bool, typer.Option(help="Import nothing but torch: needed functions are pasted in.")
    ] = False,
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="torch, or triton: pointwise operations fused to kernels. [torch]"
        ),
    ] = "torch",
    vocab_size: Annotated[
        int, typer.Option(min=1, max=1 << 24, help="The default vocabulary.")
    ] = VOCAB_SIZE,
    force: Annotated[
        bool, typer.Option(help="Replace a module that was edited after it was compiled.")
    ] = False,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compile a design to one readable PyTorch module; with errors, nothing is written."""
    compiled = _compiled(file, scale, fit, standalone, _backend(backend, standalone), vocab_size)
    refuse_errors(compiled.diagnostics, as_document)

    from gabc.cli.bundle import Bundle

    written = Bundle.of(compiled).write(out, force)
    if as_document:
        print_json(_document(compiled, vocab_size, written))
    else:
        _show(compiled, vocab_size, written)


def _backend(name: str, standalone: bool) -> Backend:
    """The back end of this name. Raises `InputFault`."""
    if name == "torch":
        return "torch"
    if name != "triton":
        raise InputFault(f"--backend knows torch and triton, not `{name}`")
    if standalone:
        raise InputFault(
            "--standalone imports nothing but torch, and kernels need triton; leave out one of "
            "--standalone and --backend triton"
        )
    return "triton"


def _compiled(
    file: Path,
    scale: str | None,
    fit: str | None,
    standalone: bool,
    backend: Backend,
    vocab_size: int,
) -> Compiled:
    """The design of `file` as a module. Raises `InputFault` where there is none of that size."""
    from gabc.api import NoDesignError
    from gabc.api import compile as compile_source
    from gabc.runtime.scale_fit import FitError

    wanted, is_fitted = scale_or_fit(scale, fit)
    source, folder = load(file)
    try:
        return compile_source(
            source,
            scale=wanted,
            fit=is_fitted,
            standalone=standalone,
            vocab_size=vocab_size,
            folder=folder,
            backend=backend,
        )
    except (NoDesignError, FitError) as error:
        raise InputFault(str(error)) from None


def _document(compiled: Compiled, vocab_size: int, written: Sequence[Path]) -> dict[str, object]:
    """What was compiled, as `--json` prints it."""
    from gabc.runtime.inspect import count_parameters

    stack = compiled.stack
    assert stack is not None
    return {
        "ok": True,
        "design": stack.name,
        "scale": stack.scale.name,
        "width": stack.scale.D,
        "blocks": stack.scale.n_layers,
        "vocab_size": vocab_size,
        "parameters": count_parameters(stack, vocab_size).total,
        "fit": None if compiled.fit is None else str(compiled.fit),
        "written": [str(path) for path in written],
    }


def _show(compiled: Compiled, vocab_size: int, written: Sequence[Path]) -> None:
    from gabc.runtime.inspect import count_parameters

    stack = compiled.stack
    assert stack is not None
    size = stack.scale
    total = count_parameters(stack, vocab_size).total
    if compiled.fit is not None:
        print(compiled.fit)
    print(
        f"{stack.name} at {size.name}: width {size.D}, {size.n_layers} blocks, "
        f"{total:,} parameters with {vocab_size:,} tokens"
    )
    for path in written:
        print(f"wrote {path}")
