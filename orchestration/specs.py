"""The specs of the graph's assets: from Dagster's definitions, or as a home remembers them from the last time.

Building the definitions takes Dagster and every asset's module. A home therefore keeps what was built (`GRAPH`), under
a key of the source files that it was built from (path, size, time of change) and of Dagster's version; with any other
key it is built anew.
"""

import graphlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.temporary import write_whole
from orchestration.home import Home
from orchestration.lineage import Partitions, Spec

if TYPE_CHECKING:
    import dagster as dg

REPO = Path(__file__).resolve().parents[1]
GRAPH = Path("work") / "graph.json"  # in the home
ROOMS = ("assets", "kernels", "models", "orchestration")


def order(definitions: "dg.Definitions") -> "list[dg.AssetSpec]":
    """All asset specs of a graph as Dagster has them, every one after those it depends on; ties by name."""
    by_key = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    graph = {key: sorted(dep.asset_key for dep in by_key[key].deps) for key in sorted(by_key)}
    return [by_key[key] for key in graphlib.TopologicalSorter(graph).static_order() if key in by_key]


def specs_of(specs: "Iterable[dg.AssetSpec]", blocking: Mapping[str, Sequence[str]]) -> list[Spec]:
    """What decides whether assets are current. Records and experiments are never outdated, and not among them.

    blocking: the names of the blocking checks of each asset.
    """
    from assets.conventions import Group

    return [
        Spec(
            asset=spec.key.to_user_string(),
            parents=tuple(sorted(dep.asset_key.to_user_string() for dep in spec.deps)),
            code_version=spec.code_version or "",
            partitions=_partitions(spec.partitions_def),
            checks=tuple(blocking.get(spec.key.to_user_string(), ())),
        )
        for spec in specs
        if spec.group_name not in (Group.OPERATIONS, Group.EXPERIMENTS)
    ]


def _partitions(definition: "dg.PartitionsDefinition | None") -> Partitions:
    import dagster as dg

    if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name:
        return definition.name
    return None if definition is None else tuple(definition.get_partition_keys())


def built() -> list[Spec]:
    """The specs of the graph's assets; nothing but these is built of it."""
    import dagster as dg

    from assets.conventions import BLOCKING
    from orchestration.graph import STAGES

    assets = dg.load_assets_from_modules(STAGES)
    return specs_of((spec for one in assets if isinstance(one, dg.AssetsDefinition) for spec in one.specs), BLOCKING)


def remembered(home: Home) -> list[Spec]:
    """The same, from what the home keeps where that is of the code that runs now."""
    file, key = home.root / GRAPH, _key()
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_bytes())
        if kept["key"] == key:
            return [_spec(row) for row in kept["specs"]]
    specs = built()
    with suppress(OSError):  # a home that cannot be written to is built from each time
        file.parent.mkdir(exist_ok=True)
        write_whole(file, json.dumps({"key": key, "specs": [asdict(spec) for spec in specs]}).encode())
    return specs


def _spec(row: dict[str, Any]) -> Spec:
    keys = row["partitions"]
    row = row | {"parents": tuple(row["parents"]), "checks": tuple(row["checks"])}
    return Spec(**{**row, "partitions": tuple(keys) if isinstance(keys, list) else keys})


def _key() -> str:
    """Of what the specs are built from."""
    said = [sys.version, version("dagster")]
    for room in ROOMS:
        said += [f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}" for path, stat in sorted(_sources(REPO / room))]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _sources(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every Python file below a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sources(Path(entry.path))
        elif entry.name.endswith(".py"):
            yield entry.path, entry.stat()
