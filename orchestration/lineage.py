"""What is outdated, because of what: transitive over data versions, code versions, configuration, checks and snapshots.

Dagster's own staleness looks one step back and sees nothing on partitioned assets. Here every materialization carries
the data versions it was made from, and the present state is compared with that record all the way up the graph.
"""

import graphlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestration.history import WHOLE, History, Made

Partitions = str | tuple[str, ...] | None  # the name of a set of dynamic partitions, fixed keys, or none


@dataclass(frozen=True)
class Spec:
    """Of an asset's definition what decides whether it is current."""

    asset: str
    parents: tuple[str, ...]
    code_version: str = ""
    partitions: Partitions = None
    checks: tuple[str, ...] = ()  # the blocking ones: one that did not pass since the node was made makes it outdated


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


def ordered(specs: Iterable[Spec]) -> list[Spec]:
    """The specs, every one after those it depends on; ties by name."""
    by_name = {spec.asset: spec for spec in specs}
    graph = {name: sorted(by_name[name].parents) for name in sorted(by_name)}
    return [by_name[name] for name in graphlib.TopologicalSorter(graph).static_order() if name in by_name]


def survey(
    specs: Iterable[Spec],
    history: History,
    config_digest: ConfigDigest,
    takedowns: Mapping[tuple[str, str, str], int] | None = None,
    unread: Callable[[str], Collection[str]] = lambda asset: (),
) -> dict[Node, State]:
    """The state of every node, in topological order.

    config_digest: of the configuration that a node would be made with now; None where what it reads is gone.
    takedowns: by asset, partition and data version, the number of the one whose page that version held.
    unread: of an asset the declared inputs that it does not read as it is configured now: they are no parents of it.
    """
    specs = ordered(specs)
    by_name = {spec.asset: spec for spec in specs}
    keys: dict[Partitions, list[str]] = {}  # asked once, so a snapshot that comes meanwhile is no news
    for spec in specs:
        if spec.partitions not in keys:
            keys[spec.partitions] = _keys_of(spec.partitions, history)
    made = history.newest({spec.asset: keys[spec.partitions] for spec in specs})
    checks = {spec.asset: spec.checks for spec in specs if spec.checks}
    passed = history.verdicts(checks, {place: one.timestamp for place, one in made.items()})
    states: dict[Node, State] = {}
    for spec in specs:
        left_out = set(unread(spec.asset))
        read = [by_name[name] for name in spec.parents if name in by_name and name not in left_out]
        for partition in keys[spec.partitions]:
            node = Node(spec.asset, partition)
            parents = [
                Node(parent.asset, key)
                for parent in read
                for key in ([partition] if parent.partitions and spec.partitions else keys[parent.partitions])
            ]
            said = {name: passed.get((node.asset, partition, name)) for name in spec.checks}
            unsound = [(name, verdict) for name, verdict in said.items() if not verdict]
            record = made.get((node.asset, partition))
            states[node] = _state(spec, node, parents, states, record, config_digest, unsound, takedowns or {})
    return states


def _keys_of(partitions: Partitions, history: History) -> list[str]:
    """The partitions that there are now; [WHOLE] where there are none."""
    if isinstance(partitions, str):
        return history.partitions(partitions)
    return [WHOLE] if partitions is None else list(partitions)


def _state(
    spec: Spec,
    node: Node,
    parents: list[Node],
    states: Mapping[Node, State],
    record: Made | None,
    config_digest: ConfigDigest,
    unsound: Iterable[tuple[str, bool | None]],
    takedowns: Mapping[tuple[str, str, str], int],
) -> State:
    inherited = [cause for parent in parents for cause in states[parent].causes]
    if record is None:
        if not inherited and config_digest(node) is None:
            return State(node, "missing")
        return State(node, "missing", _distinct([Cause(node, "missing"), *inherited]))
    own = _own_causes(spec, node, record, config_digest)
    own += _data_causes(parents, states, record.metadata.get("stemma/inputs") or {})
    own += [Cause(node, "check", name, "has not run" if said is None else "failed") for name, said in unsound]
    if number := takedowns.get((node.asset, node.partition, record.tags.get("dagster/data_version", ""))):
        own.insert(0, Cause(node, "takedown", now=str(number)))
    causes = _distinct([*own, *inherited])
    return State(
        node,
        "outdated" if causes else "current",
        causes,
        record.tags.get("dagster/data_version"),
        record.run_id,
        record.timestamp,
        record.metadata,
    )


def _own_causes(spec: Spec, node: Node, record: Made, config_digest: ConfigDigest) -> list[Cause]:
    causes = []
    code, config = record.tags.get("dagster/code_version", ""), str(record.metadata.get("stemma/config_digest", ""))
    if code != spec.code_version:
        causes.append(Cause(node, "code", code, spec.code_version))
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
