"""Applying takedowns: pages go from every table, version and shard, what remains is put right, and a report says so.

Before anything is deleted, `found.json` of each takedown says which pages and what holds them: whatever is killed
after that, the next apply finds the same pages and goes on. Every step brings a part of the home into the state that
the pages' absence demands, so doing it twice changes nothing; the report comes last.

Nothing else may work in the home meanwhile: files that no table version names are removed.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from assets import excision
from assets.descent import DESCENDANTS, MADE_FROM, SAW, artifacts_held
from assets.exported import mark
from assets.judgements.store import Judgements
from assets.lake import Lake
from assets.parts import PartFile, PartWriter, read_part
from assets.policy import Policy
from assets.reach import EXPORT, JUDGED, MEMBERS, PAGE_SCHEMA, WORDS, named, reach, rows_held, tables_of_documents
from assets.schemas import TABLES, table
from assets.searching import index as search
from assets.steps import stages
from assets.steps.documents import TAKEDOWN
from assets.steps.ledger import FOUND, REPORT, Ledger, Takedown
from assets.withdrawal import came_back

DELETED_LAST = "documents"  # by whose rows the others are found
KIND = f"skipped:{TAKEDOWN}"

# what may not hold a page afterwards; models and what descends from them are marked
DELETED = ("rows", "rows of earlier versions", MEMBERS, JUDGED, WORDS, "spans", MADE_FROM)

OnStep = Callable[[str], None]


class StillThere(RuntimeError):
    """Something came to hold a page while its takedown was applied."""


def apply(lake: Lake, engine: stages.Engine, policy: Policy, on_step: OnStep | None = None) -> list[dict[str, Any]]:
    """Applies every takedown that is not applied yet; returns their reports, none where there was nothing to do.

    policy: by which the corpus was made. on_step hears of each step before it is taken.
    Raises DamagedLedger, ShardFailed (engine), CommitConflict, CorruptArtifact; run it again then.
    """
    ledger = Ledger(lake.local)
    waiting = [entry for entry in ledger.entries() if ledger.status(entry.number) != "applied"]
    if any(came_back(lake, table) for table in TABLES):  # a run that was killed had published a page after its takedown
        waiting = ledger.entries()
    if not waiting:
        return []
    step = on_step or (lambda name: None)
    step("find")
    found = {entry.number: _remember(lake, ledger, entry) for entry in waiting}
    pages = pl.concat([pl.DataFrame(one["pages"], schema=PAGE_SCHEMA) for one in found.values()]).unique("doc_id")
    ids = set(pages["doc_id"]).union(*(named(entry.scope) for entry in waiting))
    if (store := Judgements(lake.local)).held(ids):
        step("labels of people")
        store.remove(ids)
    _delete_rows(lake, pages, step)
    for snapshot in sorted(set(pages["snapshot"])):
        _put_right(lake, engine, policy, snapshot, set(pages.filter(snapshot=snapshot)["shard"]), step)
    if lake.exists("corpus_clusters"):
        step("clusters of all snapshots")
        stages.corpus_clusters(lake, policy.dedup.similarity, policy.line_filter)
    if (lake.local / search.FOLDER).is_dir():
        step("search index")
        search.put_right(lake)
    step("token shards")
    excision.excise(lake, ids)
    step("made data")
    excision.excise_made(lake, ids)
    step("sweep")
    sweep(lake)
    _withdraw_promotion(lake.local, found.values())
    step("look again")
    if left := [one for one in [*rows_held(lake, ids), *artifacts_held(lake, ids)] if one.what in DELETED]:
        names = ", ".join(sorted({one.asset for one in left}))
        raise StillThere(f"{names} got pages of a takedown while it was applied: end other runs and apply it again")
    reports = []
    for entry in waiting:
        step(f"report {entry.number}")
        report = _report(lake, entry, found[entry.number])
        ledger.write(entry.number, REPORT, report)
        reports.append(report)
    return reports


def seen_by(lake: Lake, digest: str) -> list[int]:
    """Numbers of the takedowns whose pages the model of this digest has read, itself or a parent of it."""
    return readers(lake).get(digest, [])


def readers(lake: Lake) -> dict[str, list[int]]:
    """Digest of every model that has read pages of takedowns, itself or a parent of it: the numbers of these."""
    ledger = Ledger(lake.local)
    numbers: dict[str, list[int]] = {}
    for entry in ledger.entries():
        known = ledger.read(entry.number, FOUND)
        if known is None:
            held = [one.to_json() for one in reach(lake, entry.scope).models]
        else:  # and models that were still in training when it was applied
            ids = {page["doc_id"] for page in known["pages"]} | named(entry.scope)
            held = [*known["held_by"], *(one.to_json() for one in artifacts_held(lake, ids))]
        for digest in {one["version"] for one in held if one["what"] in SAW}:
            numbers.setdefault(digest, []).append(entry.number)
    return numbers


def _remember(lake: Lake, ledger: Ledger, entry: Takedown) -> dict[str, Any]:
    """What the takedown covers, with what an interrupted apply found before; written before anything is deleted."""
    now = reach(lake, entry.scope, thorough=True)
    before = ledger.read(entry.number, FOUND) or {"pages": [], "held_by": [], "near": []}
    held: dict[tuple[str, ...], dict[str, Any]] = {}
    for one in [*before["held_by"], *(one.to_json() for one in now.holdings)]:
        held.setdefault(_identity(one), one)  # as it was first seen: what an apply has replaced is not current any more
    removed = set(now.pages["doc_id"])
    found = {
        "pages": now.pages.to_dicts(),
        "held_by": list(held.values()),
        "near": before["near"] or [page for page in now.near.to_dicts() if page["doc_id"] not in removed],
    }
    ledger.write(entry.number, FOUND, found)
    return found


def _identity(held: dict[str, Any]) -> tuple[str, ...]:
    return tuple(held[name] for name in ("asset", "partition", "version", "what", "place"))


def _delete_rows(lake: Lake, pages: pl.DataFrame, step: OnStep) -> None:
    """Deletes the pages' rows from every table, documents last."""
    wanted = pl.col("doc_id").is_in(pages["doc_id"].to_list())
    for name in sorted(tables_of_documents(), key=lambda name: name == DELETED_LAST):
        if lake.exists(name):
            step(f"rows of {name}")
            lake.delete(name, wanted, pages.select(TABLES[name].partition_by).unique().to_dicts())


def _put_right(
    lake: Lake, engine: stages.Engine, policy: Policy, snapshot: str, shards: set[str], step: OnStep
) -> None:
    """The counts, clusters, survivors and statistics of a snapshot as they are without the pages."""

    def has(name: str) -> bool:
        return lake.exists(name, snapshot=snapshot)

    step(f"count again in {snapshot}")
    for shard in sorted(shards):
        recount(lake, {"snapshot": snapshot, "shard": shard})
    if has("duplicate_clusters"):
        step(f"cluster {snapshot}")
        stages.duplicate_clusters(lake, snapshot, policy.dedup.similarity, policy.line_filter)
    if has("repeated_text"):
        step(f"repeated text of {snapshot}")
        stages.repeated_text(lake, snapshot, policy.dedup)
    if has("corpus"):
        step(f"corpus of {snapshot}")
        touched = None if policy.dedup.cuts else changed_shards(lake, snapshot)
        stages.corpus(lake, engine, snapshot, None, policy.dedup.cuts, policy.line_filter, touched)
    if has("annotation_statistics"):
        step(f"statistics of {snapshot}")
        stages.annotation_statistics(lake, snapshot)


def changed_shards(lake: Lake, snapshot: str) -> set[str]:
    """The shards in which the corpus is not what the clusters say: another survivor, or another cluster of one."""
    columns = ["doc_id", "cluster_id", "cluster_size"]
    shards = lake.scan("documents", snapshot=snapshot).select("doc_id", "shard")
    clusters = lake.scan("duplicate_clusters", snapshot=snapshot).filter("survivor").select(columns)
    due = clusters.join(shards, on="doc_id")
    there = lake.scan("corpus", snapshot=snapshot).select(*columns, "shard")
    differing = [due.join(there, on=columns, how="anti"), there.join(due, on=columns, how="anti")]
    return {shard for frame in differing for shard in frame.collect(engine="streaming")["shard"]}


def recount(lake: Lake, partition: dict[str, str]) -> None:
    """record_counts of a shard with the pages that are gone as skipped; counted from the rows that are there."""
    parts = [part for part in lake.parts("record_counts", snapshot=partition["snapshot"])]
    ours = [part for part in parts if part.partition == partition]
    pages = lake.scan("documents", snapshot=partition["snapshot"]).filter(pl.col("shard") == partition["shard"])
    left = dict(pages.group_by("warc_path").len().collect().iter_rows())
    counts = Counter[tuple[str, str]]()
    for part in ours:
        for row in read_part(lake.staging("record_counts"), part, lake.storage_options).to_pylist():
            counts[row["warc_path"], row["kind"]] += row["records"]
    gone = {path: n - left.get(path, 0) for (path, kind), n in counts.items() if kind == "page"}
    if not any(gone.values()):
        return
    for path, n in gone.items():
        counts[path, "page"] -= n
        counts[path, KIND] += n
    rows = [{"warc_path": path, "kind": kind, "records": n} for (path, kind), n in sorted(counts.items()) if n]
    spec = table("record_counts")
    schema = pa.schema([field for field in spec.schema if field.name not in spec.partition_by])
    with PartWriter(lake.staging("record_counts"), spec.schema, partition, lake.storage_options) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=schema))
    new: list[PartFile] = [writer.part] if writer.part else []
    others = [part for part in parts if part.partition != partition]
    lake.commit("record_counts", [*others, *new], replace={"snapshot": partition["snapshot"]})


def _report(lake: Lake, entry: Takedown, found: dict[str, Any]) -> dict[str, Any]:
    """What was asked, found, deleted, marked and refused; digests before and after."""
    deleted, before = Counter[str](), dict[tuple[str, str], str]()
    for one in found["held_by"]:
        place = one["asset"], one["partition"]
        if one["what"] == "rows" and place not in before:  # an interrupted apply finds what is left once more
            before[place] = one["version"]
            deleted[one["asset"]] += one["documents"]
    after = {place: lake.version_of(place[0], snapshot=place[1]) for place in before if lake.exists(place[0])}
    digests = [
        {"asset": asset, "partition": partition, "before": version, "after": after.get((asset, partition), "")}
        for (asset, partition), version in before.items()
    ]
    digests += [
        {"asset": one["asset"], "partition": "", "before": one["version"], "after": _written_again(lake, one)}
        for one in found["held_by"]
        if one["what"] in ("spans", MADE_FROM)
    ]
    indexed: dict[str, dict[str, Any]] = {}  # by snapshot; of an interrupted apply as it was first seen
    for one in found["held_by"]:
        if one["what"] == WORDS:
            indexed.setdefault(one["partition"], one)
    digests += [
        {"asset": one["asset"], "partition": name, "before": one["version"], "after": _indexed(lake, one)}
        for name, one in indexed.items()
    ]
    models = [one for one in found["held_by"] if one["what"] in SAW]
    asked = entry.to_json()
    return {
        "asked": {**asked, "scope": {name: asked["scope"][name] for name in ("kind", "value")}},
        "found": found["pages"],
        "deleted": dict(deleted),
        "digests": digests,
        "marked": models,
        "refused": {"pages": str(entry.scope), "champions": sorted({one["version"] for one in models})},
        "descendants": [one for one in found["held_by"] if one["what"] in DESCENDANTS],
        "out_of_reach": [mark(one, entry.number) for one in found["held_by"] if one["what"] == EXPORT],
        "near": found["near"],
    }


def _written_again(lake: Lake, held: dict[str, Any]) -> str:
    """Digest of the version without the pages that took the place of one in use; "" where none did."""
    if not held["current"]:
        return ""
    now = lake.artifacts.version_of(held["asset"])
    return now if (lake.artifacts.root / held["asset"] / now).is_dir() else ""


def _indexed(lake: Lake, held: dict[str, Any]) -> str:
    """Version of a snapshot's search index without the pages; "" where the snapshot is gone."""
    if not lake.exists("documents", snapshot=held["partition"]):
        return ""
    return search.version_of(lake.version_of("documents", snapshot=held["partition"]))


def sweep(lake: Lake) -> None:
    """Removes what no version names: files of earlier versions, and what killed workers and runs left unfinished."""
    for name in TABLES:
        if lake.exists(name):
            lake.vacuum(name, full=True)
        if lake.is_local:
            _remove(Path(lake.staging(name)).rglob(".part-*.tmp"))
            _remove(Path(lake.staging(name), "_delta_log").glob("*.json#*"))  # log entries that were being written
    for unfinished in (".staged-", ".corrupt-", excision.REMOVED):
        _remove(lake.artifacts.root.glob(f"*/{unfinished}*"))
    _remove((lake.local / "work").glob(f"*/{excision.REMOVED}*"))
    _remove((lake.local / "work").glob("tmp*"))
    _remove((lake.local / "work").glob(".scratch-*"))  # texts that clustering lays aside
    _remove((lake.local / "cache" / "diff").glob("*"))  # addresses and words of pages that corpora differ in


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _withdraw_promotion(home: Path, found: Iterable[dict[str, Any]]) -> None:
    """A promotion that waits for MLflow to return is dropped when its model has read a page."""
    note = home / "mlflow" / "promote"
    if note.is_file() and note.read_text() in {one["version"] for each in found for one in each["held_by"]}:
        note.unlink()
