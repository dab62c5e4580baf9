"""`gabc doctor`: what this machine runs, and whether its kernels are right."""

from __future__ import annotations

from typing import Annotated

import typer

from gabc.cli.extras import needs


def doctor(
    kernel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this kernel. Repeatable. [all]"),
    ] = None,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Versions, the GPU, and each kernel against its reference on it; status 1 if one is wrong."""
    with needs("torch"):
        from gabc.cli.doctor_run import run_doctor
    run_doctor(tuple(kernel or ()), as_document)
