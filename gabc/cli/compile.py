"""`gabc compile`: a design as a PyTorch module, with its source map and what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.cli.scales import scale_or_fit
from gabc.elaborate.scales import DEFAULT_SCALE, VOCAB_SIZE


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
    vocab_size: Annotated[
        int, typer.Option(min=1, max=1 << 24, help="The default vocabulary.")
    ] = VOCAB_SIZE,
    force: Annotated[
        bool, typer.Option(help="Replace a module that was edited after it was compiled.")
    ] = False,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compile a design to one readable PyTorch module; with errors, nothing is written."""
    wanted, is_fitted = scale_or_fit(scale, fit)
    source, folder = load(file)

    from gabc.api import NoDesignError
    from gabc.api import compile as compile_source
    from gabc.cli.bundle import Bundle
    from gabc.runtime.inspect import count_parameters
    from gabc.runtime.scale_fit import FitError

    try:
        compiled = compile_source(
            source,
            scale=wanted,
            fit=is_fitted,
            standalone=standalone,
            vocab_size=vocab_size,
            folder=folder,
        )
    except (NoDesignError, FitError) as error:
        raise InputFault(str(error)) from None
    refuse_errors(compiled.diagnostics, as_document)
    bundle = Bundle.of(compiled)
    written = bundle.write(out, force)

    assert compiled.stack is not None
    size = compiled.stack.scale
    total = count_parameters(compiled.stack, vocab_size).total
    if as_document:
        print_json(
            {
                "ok": True,
                "design": compiled.stack.name,
                "scale": size.name,
                "width": size.D,
                "blocks": size.n_layers,
                "vocab_size": vocab_size,
                "parameters": total,
                "fit": None if compiled.fit is None else str(compiled.fit),
                "written": [str(path) for path in written],
            }
        )
        return
    if compiled.fit is not None:
        print(compiled.fit)
    print(
        f"{compiled.stack.name} at {size.name}: width {size.D}, {size.n_layers} blocks, "
        f"{total:,} parameters with {vocab_size:,} tokens"
    )
    for path in written:
        print(f"wrote {path}")
