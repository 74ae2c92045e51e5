"""Comparing two versions of the corpus: CPU seconds and peak memory at several sizes, beside a scan of their ids.

Two versions of generated pages, of which 20% and 25% are dropped or duplicates; every part file differs, so every page
is compared. Each size is measured in a process of its own, for memory is never given back.
"""

import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.lake import Lake
from assets.parts import PartWriter
from assets.schemas import table

SIZES = (10_000, 100_000, 1_000_000)
SHARDS = 8
SNAPSHOT = "s"


def rows() -> list[dict[str, Any]]:
    """One row a size; the floor is a scan of the doc_ids of both versions, which nobody can do without."""
    found = []
    for n in SIZES:
        with tempfile.TemporaryDirectory() as home:
            write(Path(home), n, 1, 0.2)
            write(Path(home), n, 2, 0.25)
            command = [sys.executable, "-m", "tests.benchmarks.differences", home]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured = json.loads(done.stdout.splitlines()[-1])
        common = {"bench": "differences", "peer": None, "peer_name": None, "ratio": None}
        floor = {"floor": measured["floor_s"], "floor_name": "reading the doc_ids of both"}
        found.append({**common, "row": f"{n:,} pages", "unit": "CPU s", "ours": measured["cpu_s"], **floor})
        none = {"floor": measured["before_mb"], "floor_name": "the process before it compares"}
        found.append(
            {**common, "row": f"{n:,} pages, memory", "unit": "MB at most", "ours": measured["peak_mb"], **none}
        )
    return found


def write(home: Path, n: int, seed: int, lost: float) -> None:
    """Makes one version of the tables; the pages depend on `n` alone, what is kept of them on the seed."""
    lake, parts = Lake(home), {}
    for shard in range(SHARDS):
        pages = _pages(n // SHARDS, shard)
        draw = pl.Series(np.random.default_rng([seed, shard]).random(pages.height))
        dropped, copied = draw < lost / 2, (draw >= lost / 2) & (draw < lost)
        reason = pl.select(pl.when(dropped).then(pl.lit("language_score")))[:, 0].alias("reason")
        kept = pages.filter(~dropped)
        survivor = ~copied.filter(~dropped)
        made = {
            "documents": pages,
            "decisions": pages.with_columns(
                reason, policy=pl.lit("generated@1"), score=pl.lit(0.3), threshold=pl.lit(0.65)
            ),
            "duplicate_clusters": kept.with_columns(
                survivor=survivor,
                cluster_id=pl.when(survivor).then("doc_id").otherwise(pl.col("doc_id").first()),
                reason=pl.when(~survivor).then(pl.lit("near_duplicate")),
            ),
            "corpus": kept.filter(survivor).with_columns(text_bytes=pl.lit(3000)),
        }
        for name, frame in made.items():
            schema = table(name).schema
            empty = pl.DataFrame(pl.from_arrow(schema.empty_table()))
            here = [column for column in frame.columns if column in empty.columns]
            whole = pl.concat([empty, frame.select(here).cast({c: empty.schema[c] for c in here})], how="diagonal")
            where = {"snapshot": SNAPSHOT, "shard": str(shard)}
            with PartWriter(lake.staging(name), schema, where, lake.storage_options) as writer:
                writer.write(whole.select(empty.columns).to_arrow())
            parts.setdefault(name, []).append(writer.part)
    for name, of in parts.items():
        lake.commit(name, of, replace={"snapshot": SNAPSHOT})
        lake.parts(name, snapshot=SNAPSHOT)  # so that the next commit says what it was made from


def _pages(n: int, shard: int) -> pl.DataFrame:
    random = np.random.default_rng([7, shard])
    raw = random.bytes(16 * n)
    ids = [str(uuid.UUID(bytes=raw[16 * i : 16 * i + 16])) for i in range(n)]
    hosts = [f"host{number}.example.org" for number in random.zipf(1.3, n) % 50_000]
    languages = np.array(["eng_Latn", "deu_Latn", "fra_Latn"])[random.integers(0, 3, n)]
    frame = pl.DataFrame({"doc_id": ids, "host": hosts, "language": languages, "content_hash": ids})
    return frame.with_columns(
        pl.lit(SNAPSHOT).alias("snapshot"),
        pl.lit(str(shard)).alias("shard"),
        pl.format("https://{}/{}", "host", pl.col("doc_id").str.slice(0, 8)).alias("url"),
    )


def measure(home: str) -> dict[str, float]:
    """CPU seconds of comparing the two versions of a home, and the memory of this process."""
    from assets.differences import compare
    from assets.history import rows_of
    from assets.sides import of_version
    from assets.versions import Versions

    before = most_held()
    started = time.process_time()
    known = Versions(Lake(home))
    found = compare(of_version(known, known.known[0]), of_version(known, known.known[-1]))
    cpu_s, peak = time.process_time() - started, most_held()
    assert found.only_a.count.documents and found.only_b.count.documents
    started = time.process_time()
    for version in known.known:
        rows_of(known.lake, known.rows(version), "corpus").select(pl.col("doc_id").str.len_bytes().sum()).collect()
    floor_s = time.process_time() - started
    return {"cpu_s": cpu_s, "floor_s": floor_s, "before_mb": before, "peak_mb": peak}


def most_held() -> float:
    """The most resident memory of this program so far, in MB; what its parent held does not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
