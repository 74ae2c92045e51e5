"""The whole data plane on anyone's files, without Dagster: from WARC files to OUT/documents, corpus, rejects, a funnel.

OUT/documents holds every page with its verdict, OUT/annotations all that was measured of it (`stemma policy` reads
them), OUT/corpus the kept and scrubbed text, OUT/rejects the bytes that are no readable record; all Parquet, in the
order of files and offsets, and the same bytes for the same input whatever the number of workers. OUT appears whole or
not at all: work goes on in a hidden folder beside it, where an interrupted run is taken up again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from assets import schemas
from assets.lake import Lake
from assets.parts import PartFile, PartWriter, file_sha256
from assets.policy import Policy, load, looked_at
from assets.policy.rules import CURATED
from assets.steps import decide, evaluation_sets, funnel, stages
from assets.steps.clusters import EXACT_DUPLICATE
from assets.steps.funnel import Funnel

SNAPSHOT = "files"
OnStage = Callable[[str, int, int, str], None]  # stage, finished jobs, all jobs, what just finished


class InputMissing(FileNotFoundError):
    """An input file is absent or no file."""

    def __str__(self) -> str:
        return str(self.args[0])


class OutputTaken(FileExistsError):
    """OUT holds something that this program did not write, or another run is writing it."""

    def __str__(self) -> str:
        return str(self.args[0])


def _documents_schema() -> pa.Schema:
    page, kind = schemas.table("documents").schema, schemas.field
    names = ("warc_path", "warc_offset", "warc_length", "warc_inner_offset", "payload_digest", "fetched_at", "host")
    decided = schemas.table("decisions").schema
    clustered = schemas.table("duplicate_clusters").schema
    return pa.schema(
        [
            page.field("doc_id"),
            page.field("url"),
            page.field("text"),
            schemas.LANGUAGE,
            schemas.LANGUAGE_SCORE,
            decided.field("verdict"),
            kind("reason", pa.string(), "first rule failed, or exact_duplicate, near_duplicate; null: kept"),
            decided.field("score"),
            decided.field("threshold"),
            decided.field("policy"),
            clustered.field("cluster_id"),
            clustered.field("cluster_size"),
            *[page.field(name) for name in names],
            page.field("content_hash"),
        ]
    )


def run_corpus(
    warc_paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    engine: stages.Engine,
    policy: str | Policy = "fineweb",
    on_progress: OnStage | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Funnel:
    """From WARC files to a corpus in the folder `out`, which is new, empty, or the result of an earlier run.

    engine: where shards run (orchestration/engines). policy: a name or a YAML file. cache: folder of the block lists'
    hash arrays, which take some seconds to build (default: built for this run alone).
    Raises InputMissing, PolicyError, OutputTaken before anything is written; ShardFailed (engine) later.
    """
    chosen = policy if isinstance(policy, Policy) else load(policy)
    root, names = _common_root(warc_paths)
    target = Path(os.path.abspath(out))
    _refuse_foreign(target)
    scratch = target.parent / f".{target.name}.partial"
    with _alone(scratch):
        lake = Lake(scratch / "home")
        if cache is not None:
            _link_cache(scratch / "home" / "cache", Path(cache))
        run_stages(lake, engine, root, names, chosen, on_progress)
        counted = funnel.count(lake, chosen, SNAPSHOT)
        result = scratch / "result"
        shutil.rmtree(result, ignore_errors=True)
        _assemble(lake, result, counted, chosen.dedup.similarity)
        _publish(result, target)
    return counted


def run_stages(
    lake: Lake, engine: stages.Engine, root: str, names: list[str], policy: Policy, on_progress: OnStage | None = None
) -> None:
    """All stages over the files `names` below the folder `root`, into the tables of a lake. Raises ShardFailed."""
    lake.write("crawl_manifest", _manifest(root, names), replace={"snapshot": SNAPSHOT})

    def shown(stage: str) -> Callable[[int, int, str], None] | None:
        return partial(on_progress, stage) if on_progress else None

    stages.documents(
        lake,
        engine,
        SNAPSHOT,
        root,
        shown("documents"),
        extractor=policy.extractor,
        opt_outs=policy.opt_outs == "honoured",
    )
    stages.annotations(lake, engine, SNAPSHOT, shown("annotations"))
    if "contaminated_by" in looked_at(policy):
        stages.contamination(lake, engine, SNAPSHOT, evaluation_sets.load(), shown("contamination"))
    if CURATED in looked_at(policy):
        stages.page_quality(lake, engine, SNAPSHOT, None, shown("page_quality"))
    stages.decisions(lake, SNAPSHOT, policy)
    stages.signatures(lake, engine, SNAPSHOT, shown("signatures"), policy.line_filter)
    stages.duplicate_clusters(lake, SNAPSHOT, policy.dedup.similarity, policy.line_filter)
    if policy.dedup.cuts:
        stages.repeated_text(lake, SNAPSHOT, policy.dedup)
    stages.corpus(lake, engine, SNAPSHOT, shown("corpus"), policy.dedup.cuts, policy.line_filter)


def _common_root(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, list[str]]:
    """(folder, names below it) of the files, sorted, each once. Raises InputMissing."""
    if not paths:
        raise InputMissing("no input files")
    for path in paths:
        if not os.path.isfile(path):
            raise InputMissing(
                f"{os.fspath(path)}: " + ("a folder, not a file" if os.path.isdir(path) else "no such file")
            )
    real = sorted({os.path.abspath(path) for path in paths})
    root = os.path.commonpath([os.path.dirname(path) for path in real])
    return root, [Path(path).relative_to(root).as_posix() for path in real]


def _manifest(root: str, names: list[str]) -> pl.DataFrame:
    rows = [
        {
            "snapshot": SNAPSHOT,
            "warc_path": name,
            "shard": hashlib.sha256(name.encode()).hexdigest()[:12],
            "size_bytes": os.path.getsize(Path(root, name)),
            "sha256": file_sha256(Path(root, name)),
        }
        for name in names
    ]
    return pl.DataFrame(rows)


def _assemble(lake: Lake, result: Path, counted: Funnel, least_similarity: float) -> None:
    """Writes everything that OUT will hold."""
    decided = lake.scan("decisions").select("doc_id", "verdict", "reason", "score", "threshold", "policy")
    measured = lake.scan("annotations").select("doc_id", "language", "language_score")
    clustered = lake.scan("duplicate_clusters").drop("snapshot").rename({"reason": "copy_of_survivor"})
    extra = decided.join(measured, on="doc_id").join(clustered, on="doc_id", how="left").collect(engine="streaming")
    removed, copied = ~pl.col("survivor").fill_null(True), pl.col("copy_of_survivor") == EXACT_DUPLICATE
    extra = extra.with_columns(
        pl.when(removed).then(pl.lit("dropped")).otherwise("verdict").alias("verdict"),
        pl.coalesce("copy_of_survivor", "reason").alias("reason"),
        pl.when(copied).then(1.0).when(removed).then("similarity").otherwise("score").alias("score"),
        pl.when(copied).then(1.0).when(removed).then(least_similarity).otherwise("threshold").alias("threshold"),
    )
    _write_annotations(lake, result)
    for number, page in enumerate(_in_order(lake, "documents")):
        joined = page.join(extra, on="doc_id", how="left", maintain_order="left")
        _write(result / "documents", number, joined, _documents_schema())
    corpus = schemas.table("corpus")
    fields = pa.schema([column for column in corpus.schema if column.name not in corpus.partition_by])
    for number, rows in enumerate(_in_order(lake, "corpus")):
        _write(result / "corpus", number, rows, fields)
    rejects = lake.scan("rejects").drop("snapshot", "shard").sort("warc_path", "warc_offset", "reason", "detail")
    kept = [column for column in schemas.table("rejects").schema if column.name not in ("snapshot", "shard")]
    _write(result / "rejects", 0, rejects.collect(), pa.schema(kept))
    (result / "funnel.json").write_text(json.dumps(counted.to_json(), indent=1) + "\n")


def _write_annotations(lake: Lake, result: Path) -> None:
    """All that is known of every page, for asking about other policies: shard by shard, in the order of doc_ids."""
    known = decide.annotated(lake)
    spec = schemas.table("annotations").schema
    there = known.collect_schema().names()
    extra = [field for field in (schemas.CONTAMINATED_BY, schemas.CURATED_QUALITY) if field.name in there]
    shards = sorted(lake.scan("annotations").select("shard").unique().collect()["shard"])
    for number, shard in enumerate(shards):
        rows = known.filter(pl.col("shard") == shard).sort("doc_id").collect(engine="streaming")
        _write(result / "annotations", number, rows, pa.schema([*spec, *extra]))


def _in_order(lake: Lake, table: str) -> Iterator[pl.DataFrame]:
    """The parts of a table in the order of files and offsets, one in memory at a time."""
    place = ["warc_path", "warc_offset", "warc_inner_offset"]

    def first(part: PartFile) -> tuple:
        return pl.scan_parquet(f"{lake.staging(table)}/{part.path}").select(place).head(1).collect().row(0)

    for part in sorted(lake.parts(table), key=first):
        yield pl.read_parquet(f"{lake.staging(table)}/{part.path}").sort(place, maintain_order=True)


def _write(folder: Path, number: int, rows: pl.DataFrame, schema: pa.Schema) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"part-{number:05d}.parquet"
    with PartWriter(str(folder), schema, {}) as writer:
        writer.write(rows.select(schema.names).to_arrow())
    if writer.part:
        os.replace(folder / writer.part.path, place)


def _refuse_foreign(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise OutputTaken(f"{target} is a file: give a folder that is new")
    if target.is_dir() and any(target.iterdir()) and not (target / "funnel.json").is_file():
        raise OutputTaken(f"{target} holds other files: give a folder that is new or empty")


def _publish(result: Path, target: Path) -> None:
    """Puts the finished folder in the place of the target, whose earlier content goes."""
    if target.exists():
        old = result.with_name("replaced")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    os.replace(result, target)


@contextlib.contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """The scratch folder, locked; removed after success, kept after a failure. Raises OutputTaken if it is in use."""
    scratch.mkdir(parents=True, exist_ok=True)
    with open(scratch / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputTaken(f"another run is at work in {scratch}") from error
        yield
        shutil.rmtree(scratch)


def _link_cache(link: Path, cache: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(cache.absolute(), target_is_directory=True)
