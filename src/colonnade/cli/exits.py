"""Exit codes, and how an error becomes one line and a code."""

from __future__ import annotations

import contextlib
import enum
import os
import traceback
from collections.abc import Iterator

import typer

from colonnade.cli.console import Console
from colonnade.errors import (
    CapabilityError,
    ColonnadeError,
    InputError,
    KnobError,
    ModelError,
    PlanError,
    RecipeError,
    RunError,
)


class ExitCode(enum.IntEnum):
    """What a script can tell from the exit status."""

    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    MODEL_REFUSED = 3
    CAPABILITY = 4
    DISAGREEMENT = 5
    TARGET_MISSED = 6
    INTERRUPTED = 130


EXIT_CODES_HELP = (
    "Exit codes: 0 done, 1 the run failed, 2 wrong usage or input, 3 the model or saved plan was "
    "refused, 4 this machine or installation lacks something, 5 the engines' answers disagree, "
    "6 the speed that was asked for is missed."
)

_CODES: dict[type[ColonnadeError], ExitCode] = {
    RunError: ExitCode.RUN_FAILED,
    InputError: ExitCode.USAGE,
    KnobError: ExitCode.USAGE,
    RecipeError: ExitCode.USAGE,
    ModelError: ExitCode.MODEL_REFUSED,
    PlanError: ExitCode.MODEL_REFUSED,
    CapabilityError: ExitCode.CAPABILITY,
}


def exit_code(error: BaseException) -> ExitCode:
    """The code of an error; RUN_FAILED for one that nobody foresaw."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    return ExitCode.RUN_FAILED


@contextlib.contextmanager
def reported_errors(console: Console, *, debug: bool) -> Iterator[None]:
    """Turn what goes wrong inside into one message and an exit code; `debug` adds the traceback."""
    try:
        yield
    except KeyboardInterrupt:
        console.error("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:  # the reader has had enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(ExitCode.RUN_FAILED) from None
    except Exception as error:  # noqa: BLE001  # the border to the user
        code = exit_code(error)
        if debug:
            console.error(traceback.format_exc().rstrip())
        console.fail(_text(error), type(error).__name__, int(code))
        raise typer.Exit(code) from None


def _text(error: Exception) -> str:
    if isinstance(error, ColonnadeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"
