"""How a graph stands, for commands that only ask; `python -m orchestration.standing HOME` prints it as JSON.

Of Dagster nothing is opened but the event log, and of the graph nothing is built but the specs of its assets. Jobs,
schedules, sensors, and the stores of runs and schedules, say nothing about what is outdated and take their time.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.collecting import ending_uncollected, seldom_collecting
from orchestration.home import Home, locate, require

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.storage.event_log.base import EventLogStorage

    from orchestration.lineage import Node, State


def standing(home: Home) -> "dict[Node, State]":
    """How every node of a home stands now, as `settings.look` says with the whole graph and the whole instance."""
    from orchestration.settings import look_at

    with event_log(home) as log:
        return look_at(specs(), log)


def specs() -> "list[dg.AssetSpec]":
    """The specs of all assets of the graph."""
    import dagster as dg

    from orchestration.graph import STAGES

    assets = dg.load_assets_from_modules(STAGES)
    return [spec for asset in assets if isinstance(asset, dg.AssetsDefinition) for spec in asset.specs]


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
