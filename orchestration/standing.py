"""How a graph stands, for commands that only ask; `python -m orchestration.standing HOME` prints it as JSON.

Dagster is not loaded where the home remembers its graph (specs.py) and keeps its history in the SQLite file that
`stemma` prepares (history.py). Elsewhere nothing of it is opened but the event log.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.collecting import ending_uncollected, seldom_collecting
from orchestration.history import History, opened
from orchestration.home import DAGSTER_YAML, Home, locate, require
from orchestration.lineage import Node, State

if TYPE_CHECKING:
    from dagster._core.storage.event_log.base import EventLogStorage

INDEX = Path("history") / "runs" / "index.db"  # in Dagster's folder, where its dagster.yaml is the one we write


def standing(home: Home) -> dict[Node, State]:
    """How every node of a home stands now, as `settings.look` says with the whole graph and the whole instance; of the
    metadata those entries are there that hold a plain value."""
    from orchestration.settings import look_at
    from orchestration.specs import remembered

    with history(home) as found:
        return look_at(remembered(home), found)


@contextmanager
def history(home: Home) -> Iterator[History]:
    """What was made in a home, straight from its file where that can be read, else through Dagster."""
    settings = home.dagster / "dagster.yaml"
    if settings.is_file() and settings.read_text() == DAGSTER_YAML:
        with opened(home.dagster / INDEX) as found:
            if found is not None:
                yield found
                return
    from orchestration.records import DagsterHistory

    with event_log(home) as log:
        yield DagsterHistory(log)


@contextmanager
def event_log(home: Home) -> "Iterator[EventLogStorage]":
    """The event log of a home, without the rest of the instance where its dagster.yaml lets it be opened alone."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef  # public, though not among the names of `dagster`

    alone = InstanceRef.from_dir(str(home.dagster)).event_storage
    if alone is None:
        with dg.DagsterInstance.get() as instance:
            yield instance.event_log_storage
        return
    try:
        yield alone
    finally:
        alone.dispose()


def main(root: str) -> None:
    """Prints the rows of `lineage.to_json`. Our own typed errors become one line on stderr and exit code 1."""
    try:
        with seldom_collecting():
            states = standing(require(locate(Path(root))))
            from orchestration.lineage import to_json

            rows = to_json(states)
    except Exception as error:
        from orchestration.options import ROOMS

        if type(error).__module__.split(".")[0] not in ROOMS:
            raise
        sys.exit(" ".join(str(error).split()))
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    with ending_uncollected():
        main(sys.argv[1])
