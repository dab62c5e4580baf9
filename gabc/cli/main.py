"""The `gabc` command: its subcommands, and what becomes of every kind of failure."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Protocol, runtime_checkable

import typer

from gabc import __version__
from gabc.cli.check import check
from gabc.cli.compile import compile_design
from gabc.cli.demo import demo
from gabc.cli.diff import diff
from gabc.cli.evaluate import evaluate
from gabc.cli.explain import explain
from gabc.cli.faults import CLEAN, DIAGNOSTICS, INTERNAL, USAGE, FoundErrors, InputFault
from gabc.cli.fmt import fmt
from gabc.cli.output import as_json, print_diagnostics, print_json
from gabc.cli.show import show
from gabc.cli.test import run_tests
from gabc.cli.train import train
from gabc.data.errors import DataError
from gabc.evaluate.errors import GateError
from gabc.syntax.read import SourceError
from gabc.train.errors import CheckpointError, TrainingError

app = typer.Typer(
    name="gabc",
    help="Check, compile, train and evaluate GAB designs: causal blocks of language models.",
    epilog="Exit status: 0 clean, 1 the design has errors, 2 bad usage or input, 3 internal error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check)
app.command("fmt")(fmt)
app.command("explain")(explain)
app.command("compile")(compile_design)
app.command("show")(show)
app.command("test")(run_tests)
app.command("diff")(diff)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("demo")(demo)


@runtime_checkable
class _Misuse(Protocol):
    """An option or argument that typer refuses, and has explained on standard error."""

    def format_message(self) -> str: ...


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gabc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an internal error.")
    ] = False,
) -> None:
    if debug:
        os.environ["GABC_DEBUG"] = "1"


def run() -> None:
    """The entry point of the installed command."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    try:
        app(list(arguments), prog_name="gabc")
    except SystemExit as stop:  # how typer ends, with its own status for a misused option
        if "--json" in arguments:
            _print_misuse(stop.__context__)
        return stop.code if isinstance(stop.code, int) else CLEAN
    except FoundErrors:
        return DIAGNOSTICS
    except SourceError as error:
        if "--json" in arguments:
            print_json({"ok": False, "diagnostics": as_json([error.diagnostic])})
        print_diagnostics([error.diagnostic], sys.stderr)
        return DIAGNOSTICS
    except GateError as error:
        _explain(str(error), arguments)
        return DIAGNOSTICS
    except (InputFault, DataError, TrainingError, CheckpointError) as error:
        _explain(str(error), arguments)
        return USAGE
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _explain(f"{error.filename}: {reason}" if error.filename else reason, arguments)
        return USAGE
    except Exception as error:
        return _internal(error)
    return CLEAN


def _print_misuse(fault: object) -> None:
    if isinstance(fault, _Misuse):
        print_json({"ok": False, "error": fault.format_message()})


def _explain(message: str, arguments: Sequence[str]) -> None:
    if "--json" in arguments:
        print_json({"ok": False, "error": message})
    print(f"gabc: {message}", file=sys.stderr)


def _internal(error: Exception) -> int:
    """What is left is a fault of gabc, whatever the input was."""
    if os.environ.get("GABC_DEBUG"):
        traceback.print_exception(error)
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    print(
        f"gabc: internal error: {reason}. This is a fault of gabc {__version__}, not of your "
        "design; please report it with the design and the output of the same command under "
        "GABC_DEBUG=1.",
        file=sys.stderr,
    )
    return INTERNAL
