"""`gabc demo`: the whole road on five designs, from text to a leaderboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gabc.cli.demo_plan import SCALE, STEPS, plan_of
from gabc.cli.extras import needs
from gabc.cli.faults import DIAGNOSTICS
from gabc.cli.output import print_json
from gabc.cli.scales import scale_named


def demo(
    designs: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of the five seed designs.")
    ] = Path("examples"),
    scale: Annotated[str, typer.Option(metavar="S", help="The size of every design.")] = SCALE,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"Optimiser steps of every design. [{STEPS}]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial values and of the order.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Designs at once, one core each. [all cores]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke test: every stage, figures of no meaning.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="The run's folder in CKPT_DIR or runs/. [demo-TIME]")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an earlier demo of this name.")
    ] = False,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check, compile, train and score the five seed designs, and write a report.

    Trains on what DATA_DIR holds, else on the source of Python's standard library; scores BLiMP too
    where DATA_DIR is set.
    """
    with needs("eval", "torch", "transformers", "lm_eval"):
        from gabc.cli.demo_run import run_demo
        from gabc.data.locate import data_dir_from_environment

    data_dir = data_dir_from_environment()
    size = scale_named(scale)
    plan = plan_of(size.name, steps, seed, quick, has_data=data_dir is not None)
    outcome = run_demo(
        designs,
        plan,
        name=name,
        is_replaced=replace,
        data_dir=data_dir,
        workers=jobs or len(os.sched_getaffinity(0)),
        quiet=as_document,
    )
    if as_document:
        print_json(outcome.document())
    if outcome.failures:
        raise typer.Exit(DIAGNOSTICS)
