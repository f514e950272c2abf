"""How commands speak: one place for consoles, exit codes, and errors that a person can act on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import typer
from rich.console import Console

from bridge.errors import BridgeError, ConfigError, StartError

P = ParamSpec("P")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", help="The configuration file.", envvar="VMS_BRIDGE_CONFIG", show_default=True),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]


class Exit(IntEnum):
    """What the exit code says."""

    OK = 0
    FAILED = 1
    """What was asked for did not succeed: a test failed, an expected action did not happen."""
    CONFIG = 2
    """A file or an option must be changed."""
    START = 3
    """The bridge cannot start here: a port, a directory, a disk."""
    INTERRUPTED = 130


def out() -> Console:
    """Return the console for results."""
    return Console(soft_wrap=True)


def err() -> Console:
    """Return the console for everything that is not the result."""
    return Console(stderr=True, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value, a line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def fail(error: BaseException) -> NoReturn:
    """Say what is wrong and what to do, and leave with the code for it."""
    console = err()
    if isinstance(error, ConfigError):
        for problem in error.problems:
            console.print(str(problem) if problem.file else problem.message, style="red", markup=False, highlight=False)
        raise typer.Exit(Exit.CONFIG) from error
    if isinstance(error, StartError):
        console.print(f"cannot start: {error.cause}", style="red", markup=False, highlight=False)
        console.print(f"what to do: {error.cure}", markup=False, highlight=False)
        raise typer.Exit(Exit.START) from error
    if isinstance(error, BridgeError):
        console.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(Exit.FAILED) from error
    raise error


def first_error(error: BaseException) -> BaseException:
    """Return what really went wrong inside groups of errors: our own kind first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [first_error(inner) for inner in error.exceptions]
    ours = [leaf for leaf in leaves if isinstance(leaf, BridgeError)]
    return (ours or leaves)[0]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that the bridge's own errors become words and an exit code."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (BridgeError, BaseExceptionGroup) as error:
            fail(first_error(error))
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None

    return run
