"""What is outdated, because of what: transitive over data versions, code versions, configuration, checks and snapshots.

Dagster's own staleness looks one step back and sees nothing on partitioned assets. Here every materialization carries
the data versions it was made from, and the present state is compared with that record all the way up the graph.
"""

import graphlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from assets.conventions import Group
from orchestration.records import WHOLE, newest, verdicts

if TYPE_CHECKING:
    from dagster._core.storage.event_log.base import EventLogStorage


@dataclass(frozen=True, order=True)
class Node:
    """An asset, or one partition of a partitioned asset."""

    asset: str
    partition: str = WHOLE

    def __str__(self) -> str:
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset


@dataclass(frozen=True)
class Cause:
    """Why something is not current: `node` changed (or was never made) in `what`, from `was` to `now`."""

    node: Node
    what: Literal["missing", "code", "config", "data", "check", "takedown"]
    was: str = ""
    now: str = ""

    def __str__(self) -> str:
        if self.what == "missing":
            return f"{self.node} was never made"
        if self.what == "takedown":
            return f"takedown {self.now} ({self.node} held a page of it)"
        if self.what == "check":
            return f"{self.node}: check {self.was} {self.now}"
        return f"{self.node}: {self.what} {self.was or 'none'} → {self.now or 'none'}"


@dataclass(frozen=True)
class State:
    """How a node stands. `causes` are the roots of its being missing or outdated, its own and those above it.

    There are none where it is missing and nobody needs it: what it would be made from is gone, what was made stays.
    """

    node: Node
    status: Literal["current", "missing", "outdated"]
    causes: tuple[Cause, ...] = ()
    data_version: str | None = None
    run_id: str | None = None
    made_at: float | None = None  # seconds since the epoch; for people, no decision hangs on it
    metadata: Mapping[str, Any] | None = None


ConfigDigest = Callable[[Node], str | None]


def order(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    """All asset specs, every one after those it depends on; ties by name."""
    return ordered(definitions.resolve_all_asset_specs())


def ordered(specs: Iterable[dg.AssetSpec]) -> list[dg.AssetSpec]:
    """The specs, every one after those it depends on; ties by name."""
    by_key = {spec.key: spec for spec in specs}
    graph = {key: sorted(dep.asset_key for dep in by_key[key].deps) for key in sorted(by_key)}
    return [by_key[key] for key in graphlib.TopologicalSorter(graph).static_order() if key in by_key]


def partitions_of(spec: dg.AssetSpec, log: "EventLogStorage") -> list[str]:
    """The partitions that an asset has now; [""] when it has none."""
    definition = spec.partitions_def
    if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name:
        return list(log.get_dynamic_partitions(definition.name))
    return [WHOLE] if definition is None else list(definition.get_partition_keys())


def survey(
    specs: Iterable[dg.AssetSpec],
    log: "EventLogStorage",
    config_digest: ConfigDigest,
    checks: Mapping[str, Iterable[str]] | None = None,
    takedowns: Mapping[tuple[str, str, str], int] | None = None,
    unread: Callable[[str], Collection[str]] = lambda asset: (),
) -> dict[Node, State]:
    """The state of every node, in topological order; records and experiments are never outdated and not among them.

    log: the event log of the Dagster instance (`instance.event_log_storage`).
    config_digest: of the configuration that a node would be made with now; None where what it reads is gone.
    checks: names of the blocking checks of each asset; one that did not pass since the node was made makes it outdated.
    takedowns: by asset, partition and data version, the number of the one whose page that version held.
    unread: of an asset the declared inputs that it does not read as it is configured now: they are no parents of it.
    """
    specs = [spec for spec in ordered(specs) if spec.group_name not in (Group.OPERATIONS, Group.EXPERIMENTS)]
    by_key = {spec.key: spec for spec in specs}
    asked: dict[dg.PartitionsDefinition | None, list[str]] = {}  # once, so a snapshot that comes meanwhile is no news
    for spec in specs:
        if spec.partitions_def not in asked:
            asked[spec.partitions_def] = partitions_of(spec, log)
    left_out = {spec.key: set(unread(spec.key.to_user_string())) for spec in specs}
    made = newest(log, {spec.key.to_user_string(): asked[spec.partitions_def] for spec in specs})
    passed = verdicts(log, checks or {}, {place: record.timestamp for place, record in made.items()})
    states: dict[Node, State] = {}
    for spec in specs:
        for partition in asked[spec.partitions_def]:
            node = Node(spec.key.to_user_string(), partition)
            parents = [
                Node(dep.asset_key.to_user_string(), key)
                for dep in spec.deps
                if dep.asset_key in by_key and dep.asset_key.to_user_string() not in left_out[spec.key]
                for key in _partitions_read(by_key[dep.asset_key], partition, spec, asked)
            ]
            unsound = [
                (name, passed.get((node.asset, partition, name)))
                for name in (checks or {}).get(node.asset, ())
                if not passed.get((node.asset, partition, name))
            ]
            record = made.get((node.asset, partition))
            states[node] = _state(spec, node, parents, states, record, config_digest, unsound, takedowns or {})
    return states


def _partitions_read(
    parent: dg.AssetSpec,
    partition: str,
    child: dg.AssetSpec,
    asked: Mapping[dg.PartitionsDefinition | None, list[str]],
) -> list[str]:
    if parent.partitions_def is not None and child.partitions_def is not None:
        return [partition]
    return asked[parent.partitions_def]


def _state(
    spec: dg.AssetSpec,
    node: Node,
    parents: list[Node],
    states: Mapping[Node, State],
    record: dg.EventLogRecord | None,
    config_digest: ConfigDigest,
    unsound: Iterable[tuple[str, bool | None]],
    takedowns: Mapping[tuple[str, str, str], int],
) -> State:
    inherited = [cause for parent in parents for cause in states[parent].causes]
    event = record.asset_materialization if record else None
    if record is None or event is None:
        if not inherited and config_digest(node) is None:
            return State(node, "missing")
        return State(node, "missing", _distinct([Cause(node, "missing"), *inherited]))
    tags = event.tags or {}
    metadata: dict[str, Any] = {key: entry.value for key, entry in event.metadata.items()}
    own = _own_causes(spec, node, tags, metadata, config_digest)
    own += _data_causes(parents, states, metadata.get("stemma/inputs") or {})
    own += [Cause(node, "check", name, "has not run" if said is None else "failed") for name, said in unsound]
    if number := takedowns.get((node.asset, node.partition, tags.get("dagster/data_version", ""))):
        own.insert(0, Cause(node, "takedown", now=str(number)))
    causes = _distinct([*own, *inherited])
    return State(
        node,
        "outdated" if causes else "current",
        causes,
        tags.get("dagster/data_version"),
        record.run_id,
        record.timestamp,
        metadata,
    )


def _own_causes(
    spec: dg.AssetSpec, node: Node, tags: Mapping[str, str], metadata: Mapping[str, Any], config_digest: ConfigDigest
) -> list[Cause]:
    causes = []
    code, config = tags.get("dagster/code_version", ""), str(metadata.get("stemma/config_digest", ""))
    if code != (spec.code_version or ""):
        causes.append(Cause(node, "code", code, spec.code_version or ""))
    present = config_digest(node)
    if present is not None and config != present:
        causes.append(Cause(node, "config", config, present))
    return causes


def _data_causes(
    parents: list[Node], states: Mapping[Node, State], recorded: Mapping[str, Mapping[str, str]]
) -> list[Cause]:
    """Inputs whose data version is another than the recorded one, snapshots that came, and snapshots that went."""
    causes = []
    for parent in parents:
        was, now = recorded.get(parent.asset, {}).get(parent.partition, ""), states[parent].data_version or ""
        if was != now:
            causes.append(Cause(parent, "data", was, now))
    known = {(parent.asset, parent.partition) for parent in parents}
    gone = [(asset, key, was) for asset in sorted(recorded) for key, was in sorted(recorded[asset].items())]
    causes += [Cause(Node(asset, key), "data", was) for asset, key, was in gone if (asset, key) not in known]
    return causes


def _distinct(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    return tuple(dict.fromkeys(causes))


def outdated(states: Mapping[Node, State]) -> list[dict[str, Any]]:
    """A row (asset, status, because) for every node that is not current, in the order of the survey."""
    return [
        {"asset": str(state.node), "status": state.status, "because": [str(cause) for cause in state.causes]}
        for state in states.values()
        if state.causes
    ]


def to_json(states: Mapping[Node, State]) -> list[dict[str, Any]]:
    """One row per node for machines."""
    return [
        {
            "asset": state.node.asset,
            "partition": state.node.partition or None,
            "status": state.status,
            "data_version": state.data_version,
            "run_id": state.run_id,
            "because": [
                {
                    "asset": c.node.asset,
                    "partition": c.node.partition or None,
                    "what": c.what,
                    "was": c.was,
                    "now": c.now,
                    "text": str(c),
                }
                for c in state.causes
            ],
        }
        for state in states.values()
    ]
