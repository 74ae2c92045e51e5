"""Stages: each makes one table of one snapshot from the tables before it, and commits it in one transaction.

These are the bodies of the assets `documents` to `corpus`, and `stemma corpus` calls the same ones. Work on document
text runs as shard jobs on the engine that is handed in; a job whose record still verifies is not run again, so a stage
costs what is new in it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from assets.lake import Commit, Lake
from assets.parts import ROWS_PER_GROUP, PartFile, file_sha256, read_batches
from assets.policy import Dedup, Policy, looked_at
from assets.steps import clusters, decide, identity, repeats, statistics
from assets.steps.evaluation_sets import EvaluationSets, index_file
from assets.steps.jobs import ShardJob, ShardRecord, code_version, parts_of
from assets.temporary import owned_folder
from kernels.text.clusters import THRESHOLD

# A WARC file is worked on in ranges of about so many bytes, and no more than so many: each one reads the whole file,
# .2 ms a page, where trafilatura takes 20 and our own extractor 2. The text of a WET file is taken as it is.
RANGES = {"trafilatura": (8 << 20, 16), "stemma": (64 << 20, 4)}
ROWS_AT_ONCE = 500_000  # documents that are decided in one query: memory does not grow with the snapshot

OnProgress = Callable[[int, int, str], None]


class Engine(Protocol):
    """Where shard jobs run: orchestration/engines."""

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]: ...


def documents(
    lake: Lake,
    engine: Engine,
    snapshot: str,
    crawl_root: str,
    on_progress: OnProgress | None = None,
    *,
    extractor: str = "trafilatura",
    opt_outs: bool = False,
) -> Commit:
    """Reads every file of the snapshot's crawl_manifest: commits documents, rejects and record_counts.

    extractor: as a policy names it; the texts of one are never taken for those of another. opt_outs: pages
    that refuse training are skipped and counted.
    Returns the commit of documents. Raises ShardFailed (engine), TableMissing, CommitConflict.
    """
    manifest = lake.scan("crawl_manifest", snapshot=snapshot).sort("warc_path").collect()
    jobs = [
        ShardJob(
            step="documents",
            shard=f"{snapshot}/{row['shard']}" + (f"/{k + 1} of {n}" if n > 1 else ""),
            partition={"snapshot": snapshot, "shard": row["shard"]},
            inputs={"sha256": row["sha256"], "warc_path": row["warc_path"], "size_bytes": row["size_bytes"]},
            config={"range": [k, n], "extractor": extractor} | ({"opt_outs": True} if opt_outs else {}),
            places={
                "warc": f"{crawl_root.rstrip('/')}/{row['warc_path']}",
                "home": str(lake.local),
                "outputs": {name: lake.staging(name) for name in ("documents", "rejects", "record_counts")},
            },
            work=_work(lake),
            storage_options=lake.storage_options,
        )
        for row in manifest.to_dicts()
        for n in [ranges(row["warc_path"], row["size_bytes"], extractor)]
        for k in range(n)
    ]
    records = engine.run("documents", jobs, on_progress)
    where = {"snapshot": snapshot}
    names = ("documents", "rejects", "record_counts")
    made = identity.settle(lake, identity.ShardParts(*(parts_of(records, name) for name in names)))
    lake.commit("rejects", made.rejects, replace=where)
    lake.commit("record_counts", made.record_counts, replace=where)
    return lake.commit("documents", made.documents, replace=where)


def ranges(warc_path: str, size_bytes: int, extractor: str) -> int:
    """How many jobs share a WARC file; a function of the file and the extractor alone."""
    each, most = RANGES[extractor]
    return 1 if ".wet" in warc_path else max(1, min(most, round(size_bytes / each)))


def annotations(lake: Lake, engine: Engine, snapshot: str, on_progress: OnProgress | None = None) -> Commit:
    """Measures every document. Raises as `documents`."""
    jobs = _jobs(lake, "annotations", snapshot, per_shard=[])
    records = engine.run("annotations", jobs, on_progress)
    return lake.commit("annotations", parts_of(records, "annotations"), replace={"snapshot": snapshot})


def contamination(
    lake: Lake, engine: Engine, snapshot: str, sets: EvaluationSets, on_progress: OnProgress | None = None
) -> Commit:
    """Compares every document with the evaluation sets. Raises as `documents`, EvaluationSetError."""
    index = index_file(sets, lake.local / "cache", code_version())
    jobs = _jobs(
        lake, "contamination", snapshot, per_shard=[], config={"sets": sets.digest}, places={"index": str(index)}
    )
    records = engine.run("contamination", jobs, on_progress)
    return lake.commit("contamination", parts_of(records, "contamination"), replace={"snapshot": snapshot})


def page_quality(
    lake: Lake, engine: Engine, snapshot: str, weights: Path | None = None, on_progress: OnProgress | None = None
) -> Commit:
    """Scores every document by the classifier of that file (None: the packaged one). Raises as `documents`."""
    from kernels.text.quality_model import PACKAGED  # here: whoever only asks how things stand loads no kernel

    path = weights or PACKAGED
    jobs = _jobs(
        lake,
        "page_quality",
        snapshot,
        per_shard=[],
        config={"classifier": file_sha256(path)},
        places={"classifier": str(path)},
    )
    records = engine.run("page_quality", jobs, on_progress)
    return lake.commit("page_quality", parts_of(records, "page_quality"), replace={"snapshot": snapshot})


def annotation_statistics(lake: Lake, snapshot: str) -> Commit:
    """Summarises every annotation, by language and host. Raises TableMissing, CommitConflict."""
    lake.verify("documents", "annotations", snapshot=snapshot)
    hosts = lake.scan("documents", snapshot=snapshot).select("doc_id", "host")
    found = statistics.summarise(lake.scan("annotations", snapshot=snapshot), hosts)
    rows = found.with_columns(pl.lit(snapshot).alias("snapshot"))
    return lake.write("annotation_statistics", rows, replace={"snapshot": snapshot})


def decisions(lake: Lake, snapshot: str, policy: Policy) -> Commit:
    """Decides about every annotated document under the policy. Raises PolicyError, TableMissing, CommitConflict."""
    lake.verify("annotations", snapshot=snapshot)
    parts: list[PartFile] = []
    for shards in _groups_of_shards(lake, "annotations", snapshot):
        some = decide.annotated(lake, snapshot, looked_at(policy)).filter(pl.col("shard").is_in(shards))
        parts += lake.write_parts("decisions", decide.decisions(some, policy))
    note = {"policy": policy.id, "rules": policy.digest}
    return lake.commit("decisions", parts, replace={"snapshot": snapshot}, note=note)


def signatures(
    lake: Lake, engine: Engine, snapshot: str, on_progress: OnProgress | None = None, line_filter: str = "c4"
) -> Commit:
    """Signs every kept document after the policy's line rules. Raises as `documents`."""
    jobs = _jobs(lake, "signatures", snapshot, per_shard=["decisions"], config={"line_filter": line_filter})
    records = engine.run("signatures", jobs, on_progress)
    return lake.commit("signatures", parts_of(records, "signatures"), replace={"snapshot": snapshot})


def duplicate_clusters(lake: Lake, snapshot: str, threshold: float = THRESHOLD, line_filter: str = "c4") -> Commit:
    """Clusters the kept documents of the snapshot, with the line rules that they were signed with.

    Raises TableMissing, CommitConflict, ValueError (threshold).
    """
    lake.verify("decisions", "documents", snapshot=snapshot)
    kept = lake.scan("decisions", snapshot=snapshot).filter(pl.col("verdict") == "kept").select("doc_id")
    pages = lake.scan("documents", snapshot=snapshot).select("doc_id", "shard", "fetched_at", "content_hash")
    members = pages.join(kept, on="doc_id", how="semi").collect(engine="streaming")
    signed, texts = partial(_rows, lake, "signatures", snapshot), partial(_rows, lake, "documents", snapshot)
    with _scratch(lake) as scratch:
        found = clusters.find(
            members,
            lambda: signed(["doc_id", "signature"]),
            lambda: texts(["doc_id", "text"]),
            scratch,
            threshold,
            line_filter,
        )
    return lake.write(
        "duplicate_clusters", found.with_columns(pl.lit(snapshot).alias("snapshot")), replace={"snapshot": snapshot}
    )


def repeated_text(lake: Lake, snapshot: str, dedup: Dedup) -> Commit:
    """Finds what recurs in the survivors: commits repeated_lines and repeated_text, returns the commit of the latter.

    Raises TableMissing, CommitConflict.
    """
    lake.verify("duplicate_clusters", "documents", snapshot=snapshot)
    stay = lake.scan("duplicate_clusters", snapshot=snapshot).filter("survivor").select("doc_id")
    pages = lake.scan("documents", snapshot=snapshot).select("doc_id", "shard", "host", "fetched_at")
    survivors = pages.join(stay, on="doc_id", how="semi").collect(engine="streaming")
    with _scratch(lake) as scratch:
        found = repeats.find(survivors, lambda: _rows(lake, "documents", snapshot, ["doc_id", "text"]), scratch, dedup)
    where, named = {"snapshot": snapshot}, pl.lit(snapshot).alias("snapshot")
    lake.write("repeated_lines", found.lines.with_columns(named), replace=where)
    return lake.write("repeated_text", found.documents.with_columns(named), replace=where)


def corpus(
    lake: Lake,
    engine: Engine,
    snapshot: str,
    on_progress: OnProgress | None = None,
    cut: bool = False,
    line_filter: str = "c4",
    shards: Collection[str] | None = None,
) -> Commit:
    """Cleans (by the policy's line rules) and scrubs the survivors; with `cut`, without the spans of repeated_text.

    shards: those to make anew, the others stay as they are (None: all). Raises as `documents`.
    """
    names = ["annotations", "duplicate_clusters", *(["repeated_text"] if cut else [])]
    jobs = _jobs(lake, "corpus", snapshot, per_shard=names, config={"line_filter": line_filter})
    stay = [] if shards is None else lake.parts("corpus", snapshot=snapshot)
    if shards is not None:
        jobs = [job for job in jobs if job.partition["shard"] in shards]
        stay = [part for part in stay if part.partition["shard"] not in shards]
    records = engine.run("corpus", jobs, on_progress)
    return lake.commit("corpus", [*stay, *parts_of(records, "corpus")], replace={"snapshot": snapshot})


def _groups_of_shards(lake: Lake, table: str, snapshot: str) -> Iterator[list[str]]:
    """The shards of a snapshot's table, in groups of at most ROWS_AT_ONCE rows, or of one shard that has more."""
    rows: dict[str, int] = defaultdict(int)
    for part in lake.parts(table, snapshot=snapshot):
        rows[part.partition["shard"]] += part.rows
    group, held = [], 0
    for shard in sorted(rows):
        if group and held + rows[shard] > ROWS_AT_ONCE:
            yield group
            group, held = [], 0
        group, held = [*group, shard], held + rows[shard]
    if group:
        yield group


def corpus_clusters(
    lake: Lake, similarity: float = THRESHOLD, line_filter: str = "c4", on_progress: OnProgress | None = None
) -> Commit:
    """Clusters the corpora of all snapshots, from the index of them (assets.dedup_index), which is kept up to date.

    Texts of new or changed snapshots alone are read. Raises TableMissing, CommitConflict, CorruptIndex.
    """
    from assets.dedup_index.update import update

    return update(lake, line_filter, similarity, on_progress)


def _jobs(
    lake: Lake,
    step: str,
    snapshot: str,
    *,
    per_shard: Sequence[str],
    config: dict[str, Any] | None = None,
    places: dict[str, Any] | None = None,
) -> list[ShardJob]:
    """One job for each part file of documents; beside it, each reads its shard's parts of the tables `per_shard`.

    config decides the result, places says where further inputs lie."""
    by_shard: dict[str, dict[str, list[PartFile]]] = defaultdict(lambda: {name: [] for name in per_shard})
    for name in per_shard:
        for part in lake.parts(name, snapshot=snapshot):
            by_shard[part.partition["shard"]][name].append(part)
    jobs = []
    pages = lake.parts("documents", snapshot=snapshot)
    paths: dict[str, list[str]] = defaultdict(list)
    for part in pages:
        paths[part.partition["shard"]].append(part.path)
    for part in pages:
        shard = part.partition["shard"]
        inputs: dict[str, list[PartFile]] = {"documents": [part], **by_shard[shard]}
        of_shard = paths[shard]
        where: dict[str, Any] = {
            "inputs": {name: lake.staging(name) for name in inputs},
            "outputs": {step: lake.staging(step)},
            "cache": str(lake.local / "cache"),
            **(places or {}),
        }
        number = f"/{of_shard.index(part.path) + 1} of {len(of_shard)}" if len(of_shard) > 1 else ""
        jobs.append(
            ShardJob(
                step=step,
                shard=f"{snapshot}/{shard}{number}",
                partition=part.partition,
                inputs={name: [asdict(p) for p in parts] for name, parts in inputs.items()},
                config=config or {},
                places=where,
                work=_work(lake),
                storage_options=lake.storage_options,
            )
        )
    return jobs


def _rows(lake: Lake, table: str, snapshot: str, columns: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """(shard, rows) of a table's part files, a row group at a time."""
    for part in lake.parts(table, snapshot=snapshot):
        for batch in read_batches(lake.staging(table), [part], columns, lake.storage_options, ROWS_PER_GROUP):
            yield part.partition["shard"], pa.Table.from_batches([batch])


@contextmanager
def _scratch(lake: Lake) -> Iterator[Path]:
    """A local folder that goes when the work is done."""
    with owned_folder(lake.local / "work", "scratch") as folder:
        yield folder


def _work(lake: Lake) -> str:
    return str(Path(lake.local) / "work" / "shards")
