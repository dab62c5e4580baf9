"""The `gabc` command: its subcommands, and what becomes of every kind of failure."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Protocol, runtime_checkable

import typer

from gabc import __version__
from gabc.cli.faults import CLEAN, DIAGNOSTICS, INTERNAL, USAGE, FoundErrors, InputFault
from gabc.cli.output import as_json, print_diagnostics, print_json
from gabc.data.errors import DataError
from gabc.evaluate.errors import GateError
from gabc.syntax.read import SourceError
from gabc.train.errors import CheckpointError, TrainingError

COMMANDS = {
    "check": ("check", "check"),
    "fmt": ("fmt", "fmt"),
    "explain": ("explain", "explain"),
    "compile": ("compile", "compile_design"),
    "show": ("show", "show"),
    "test": ("test", "run_tests"),
    "diff": ("diff", "diff"),
    "train": ("train", "train"),
    "eval": ("evaluate", "evaluate"),
    "generate": ("generate", "generate"),
    "demo": ("demo", "demo"),
    "doctor": ("doctor", "doctor"),
}
"""Each command's module in `gabc.cli` and its function, in the order of the help."""


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The program with these commands; only their modules are imported."""
    app = typer.Typer(
        name="gabc",
        help="Check, compile, train and evaluate GAB designs: causal blocks of language models.",
        epilog="Exit status: 0 clean, 1 the design has errors, 2 bad usage or input, "
        "3 internal error.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in names:
        module, function = COMMANDS[name]
        app.command(name)(getattr(import_module(f"gabc.cli.{module}"), function))
    return app


@runtime_checkable
class _Misuse(Protocol):
    """An option or argument that typer refuses, and has explained on standard error."""

    def format_message(self) -> str: ...


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gabc {__version__}")
        raise typer.Exit


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
    asked = next((word for word in arguments if not word.startswith("-")), "")
    # One command is a third of the time of loading all; help and misspellings need them all.
    app = build_app([asked] if asked in COMMANDS else COMMANDS)
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
