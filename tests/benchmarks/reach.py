"""`stemma reach` as people call it, start to finish, in a home of 100,000 documents with a model that read them all.

The rows are those of real pages under new names, in 100 shards; shards, models, made data and Dagster's history are
there as a run leaves them. The floor is the same interpreter reading the doc_id column of `documents`.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.lake import Lake
from assets.parts import PartWriter
from assets.schemas import table
from kernels.tokens.shards import SplitWriter, write_manifest
from models.artifacts import seal
from models.data.provenance import PROVENANCE, provenance
from tests.benchmarks.timing import CRAWL, cpu_s, row

REPO = Path(__file__).resolve().parents[2]
SNAPSHOT, SHARDS, PER_SHARD, HOSTS = "s1", 100, 1000, 97
TABLES = ("documents", "annotations", "decisions", "signatures", "duplicate_clusters", "corpus")
ROUNDS = 3


def doc_ids(shard: int) -> list[str]:
    """The names of the documents of a shard."""
    return [f"{shard:08x}-0000-4000-8000-{i:012x}" for i in range(PER_SHARD)]


def grow(small: Lake, big: Lake, shards: int = SHARDS) -> None:
    """Writes TABLES with so many shards of PER_SHARD rows, drawn from a lake of real pages."""
    for name in TABLES:
        rows, spec, parts = small.scan(name).collect(), table(name), []
        rows = rows[np.arange(PER_SHARD) % rows.height]
        for shard in range(shards):
            ids = doc_ids(shard)
            hosts = [f"host{i % HOSTS}.example.org" for i in range(PER_SHARD)]
            new = {"doc_id": ids, "cluster_id": ids, "content_hash": ids, "host": hosts}
            partition = {"snapshot": SNAPSHOT, "shard": f"{shard:012x}"}
            where = {column: partition[column] for column in spec.partition_by}
            with PartWriter(big.staging(name), spec.schema, where) as writer:
                columns = [pl.Series(column, values) for column, values in new.items() if column in rows.columns]
                writer.write(rows.with_columns(columns).to_arrow())
            parts.append(writer.part)
        big.commit(name, parts)


def grow_artifacts(lake: Lake, scratch: Path, shards: int = SHARDS) -> None:
    """Token shards with a span of every document, and models and made data that descend from all of them."""
    ids = [one for shard in range(shards) for one in doc_ids(shard)]
    shards_dir = scratch / "token_shards"
    shards_dir.mkdir(parents=True)
    writer = SplitWriter(shards_dir, "train", 10)
    for one in ids:
        writer.add(one, np.arange(5), 5)
    write_manifest(shards_dir, tokenizer_sha256="", vocab_size=10, splits={"train": writer.close()})
    lake.commit_dir("token_shards", shards_dir)
    read = {"doc_id": ids, "tokens": [5] * len(ids), "times": [1] * len(ids), "reads": [5] * len(ids)}
    parent = _artifact(lake, scratch, "base_model", "consumed.parquet", pa.table(read), {"parent": None})
    chosen = provenance(teacher="a teacher") | {"chosen_with": parent, "doc_ids": ids[:1]}
    made = pa.Table.from_pylist([chosen] * len(ids), schema=PROVENANCE)
    _artifact(lake, scratch, "sft_dataset", "sft.parquet", made, {})
    for asset in ("sft_model", "rl_model", "released_model"):
        parent = _artifact(lake, scratch, asset, "consumed.parquet", made, {"parent": parent})


def _artifact(lake: Lake, scratch: Path, asset: str, name: str, rows: pa.Table, identity: dict) -> str:
    folder = scratch / asset
    folder.mkdir()
    pq.write_table(rows, folder / name)
    seal(folder, asset, identity)
    return lake.commit_dir(asset, folder).data_version


def record_history(home: Path) -> None:
    """Prepares Dagster's and MLflow's stores, and records a materialization of every asset."""
    import dagster as dg

    from orchestration.definitions import defs
    from orchestration.home import prepare
    from orchestration.specs import order

    prepare(home)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("snapshot", [SNAPSHOT])
        for spec in order(defs):
            partition = SNAPSHOT if spec.partitions_def is not None else None
            tags = {"dagster/data_version": "0" * 32, "dagster/code_version": spec.code_version or ""}
            inputs = {dep.asset_key.to_user_string(): {partition or "": "0" * 32} for dep in spec.deps}
            metadata = {"stemma/inputs": dg.MetadataValue.json(inputs), "stemma/config_digest": ""}
            event = dg.AssetMaterialization(spec.key, metadata=metadata, partition=partition, tags=tags)
            instance.report_runless_asset_event(event)


def small_lake(root: Path) -> Lake:
    """A lake with all TABLES of a few bundled pages."""
    from assets import policy
    from assets.crawl import manifest_rows
    from assets.steps import stages
    from orchestration.engines.local import LocalEngine
    from tests.assets.takedown_crawl import write_crawl

    write_crawl(root / "crawl", CRAWL)
    lake, engine, rules = Lake(root / "small"), LocalEngine(), policy.load("fineweb")
    crawl = str(root / "crawl")
    lake.write("crawl_manifest", manifest_rows(crawl, SNAPSHOT), replace={"snapshot": SNAPSHOT})
    stages.documents(lake, engine, SNAPSHOT, crawl)
    stages.annotations(lake, engine, SNAPSHOT)
    stages.decisions(lake, SNAPSHOT, rules)
    stages.signatures(lake, engine, SNAPSHOT)
    stages.duplicate_clusters(lake, SNAPSHOT)
    stages.repeated_text(lake, SNAPSHOT, rules.dedup)
    stages.corpus(lake, engine, SNAPSHOT)
    return lake


def rows() -> list[dict]:
    """CPU seconds of the command, and seconds on the clock: a host with 1,000 pages, a document, an unknown address."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home = root / "home"
        record_history(home)
        lake = Lake(home)
        grow(small_lake(root), lake)
        grow_artifacts(lake, root / "artifacts")
        script = f"import polars as pl; pl.scan_delta({lake.staging('documents')!r}).select('doc_id').collect()"
        floor, _ = measured([sys.executable, "-c", script])
        asked = (("host", "host5.example.org"), ("doc", doc_ids(7)[9]), ("url", "https://nowhere.example/"))
        for kind, value in asked:
            command = [sys.executable, "-m", "orchestration.cli", "reach", f"--{kind}", value, "--home", str(home)]
            cpu, clock = measured([*command, "--json"])
            name = f"stemma reach --{kind}, {SHARDS * PER_SHARD:,} documents"
            floor_name = "read the column doc_id"
            found.append(row("reach", f"{name}, CPU of both processes", "s", cpu, None, "", floor, floor_name))
            found.append(row("reach", f"{name}, on the clock", "s", clock, None, "", floor, floor_name))
    return found


def measured(command: list[str]) -> tuple[float, float]:
    """(CPU seconds of the command and its children, seconds on the clock): the best of ROUNDS."""
    best = []
    for _ in range(ROUNDS):
        before, started = cpu_s(), time.perf_counter()
        subprocess.run(command, cwd=REPO, capture_output=True, check=True)
        best.append((cpu_s() - before, time.perf_counter() - started))
    return min(cpu for cpu, _ in best), min(clock for _, clock in best)
