"""What the commands share: common options, and errors that people can read."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

ROOMS = ("orchestration", "assets", "models", "kernels")
FAILURES = (
    "RunFailed", "ShardFailed", "ProgramFailed", "HomeUnusable", "UnsoundInput", "GateRefused", "FetchIncomplete",
    "StateUnwritable", "TakenDown", "StillThere", "CorruptVersion", "ShardsDiffer", "AccountingError", "BudgetPassed",
    "RunInterrupted", "ClusterLost", "SurveyFailed",
)  # fmt: skip

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


def emit(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")  # json.dump writes each bracket by itself
