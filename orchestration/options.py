"""What the commands share: common options, and errors that people can read."""

import functools
import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

ROOMS = ("orchestration", "assets", "models", "kernels")
FAILURES = (
    "RunFailed", "ShardFailed", "ProgramFailed", "HomeUnusable", "UnsoundInput", "GateRefused", "FetchIncomplete",
    "StateUnwritable", "TakenDown", "StillThere", "CorruptVersion", "ShardsDiffer", "AccountingError", "BudgetPassed",
    "RunInterrupted", "ClusterLost", "SurveyFailed",
)  # fmt: skip

OBJECTS_BETWEEN = 200_000  # what lies in cycles is still bounded

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
HomeOption = Annotated[Path | None, typer.Option("--home", help="Home directory (default: $STEMMA_HOME, else ./var).")]


def speaks_plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Our own typed errors become one line on stderr and an exit code; anything else keeps its trace."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ROOMS:
                raise
            typer.echo(f"stemma: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1 if type(error).__name__ in FAILURES else 2) from error

    return wrapped


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Looks for reference cycles once in OBJECTS_BETWEEN new objects, not in 700.

    A look-up of a second or two is mostly imports, and Python spends a quarter of it on finding no cycle.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def emit(value: Any) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")
