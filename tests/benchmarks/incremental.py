"""Duplicates over all snapshots: what adding a snapshot costs against building the index, by size, and the peer.

With texts: documents of generated crawls (tests/benchmarks/generated.py: 2% copies, 10% near-duplicates of any earlier
document) lie in four snapshots; then one with 1% as many comes, then one with 10%, then the first of these goes. All
that the asset corpus_clusters does is counted: reading, shingling, the index, the table. With signatures alone, for
larger indexes: band hashes as tests/benchmarks/dedup.py makes them and sets of 16 numbers, no table.

The peer is datatrove's MinhashDedupBuckets, which compares a snapshot with an index of those before, on the same
signatures from sorted files; making these is not counted. It names pairs only: no clusters, no verification, no
deletion. Each side runs in a process of its own.
"""

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np

from tests.benchmarks import dedup
from tests.benchmarks.dedup import memory, reset_peak
from tests.benchmarks.timing import cpu_s, in_fresh_process, row

SIZES = (10_000, 100_000)
SYNTHETIC = (10_000, 100_000, 1_000_000)
PEER_SIZES = (10_000, 100_000)
SNAPSHOTS = 4
WRITTEN_AT_ONCE = 10_000  # documents of a shard
SHINGLES = 16
BUILD, ONE, TEN, REMOVE, NOTHING = "build", "add 1%", "add 10%", "remove that 1%", "nothing new"


def write_snapshot(lake, name: str, first: int, count: int) -> None:
    """Documents and corpus of some documents of the generated crawl, the columns that are not looked at empty."""
    import polars as pl
    import xxhash

    from assets import schemas
    from tests.benchmarks.generated import FIRST_DAY, Crawl

    crawl, parts = Crawl(), {"documents": [], "corpus": []}
    for shard, start in enumerate(range(first, first + count, WRITTEN_AT_ONCE)):
        rows = []
        for number in range(start, min(start + WRITTEN_AT_ONCE, first + count)):
            text, language = crawl.text(number)
            content_hash = xxhash.xxh3_128_hexdigest(text.encode())
            at = FIRST_DAY + timedelta(seconds=number)
            rows.append((crawl.doc_id(number), f"shard{shard}", at, content_hash, text, language, 1))
        columns = ["doc_id", "shard", "fetched_at", "content_hash", "text", "language", "cluster_size"]
        frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.lit(name).alias("snapshot"))
        for table, frames in parts.items():
            schema = schemas.table(table).schema
            known = [pl.lit(None).alias(one) for one in schema.names if one not in frame.columns]
            frames.append(frame.with_columns(known).select(schema.names))
    for table, frames in parts.items():
        lake.write(table, pl.concat(frames), replace={"snapshot": name})


def measure_texts(n: int, folder: Path) -> dict:
    """CPU seconds of each step, bytes of the index and most memory, with texts."""
    from assets import dedup_index
    from assets.lake import Lake
    from assets.steps import stages

    small = Lake(folder / "small")  # compiled before it is measured, as the installed program is
    for k in range(2):
        write_snapshot(small, f"s{k}", 500 * k, 500)
        stages.corpus_clusters(small, line_filter="none")
    lake = Lake(folder / "home")
    for k in range(SNAPSHOTS):
        write_snapshot(lake, f"s{k}", n // SNAPSHOTS * k, n // SNAPSHOTS)
    found: dict = {}

    def step(what: str) -> None:
        before, started = reset_peak(), cpu_s()
        stages.corpus_clusters(lake, line_filter="none")
        found[what] = {"seconds": cpu_s() - started, "bytes": memory("VmHWM") - before}

    step(BUILD)
    index = sum(path.stat().st_size for path in (lake.local / dedup_index.FOLDER).iterdir())
    table = sum(part.bytes for part in lake.parts("corpus_clusters"))
    rows = lake.scan("corpus_clusters").collect()
    found |= {"index": index / rows.height, "table": table / rows.height, "removed": int((~rows["survivor"]).sum())}
    step(NOTHING)
    write_snapshot(lake, "s8", n, n // 100)
    step(ONE)
    write_snapshot(lake, "s9", n + n // 100, n // 10)
    step(TEN)
    for name in ("documents", "corpus"):
        lake.commit(name, [], replace={"snapshot": "s8"})
    step(REMOVE)
    return found


def synthetic_segment(folder: Path, first: int, count: int, n: int):
    """A segment of synthetic documents whose sets are as alike as their signatures."""
    from assets.dedup_index import segments
    from assets.dedup_index.segments import Members, Segment
    from kernels.text.buckets import band_hashes

    at_once = dedup.FILE_DOCUMENTS
    hashes, sets = [], []
    for start in range(first, first + count, at_once):
        signatures = dedup.synthetic(start, min(at_once, first + count - start), n)
        hashes.append(band_hashes(signatures).T)
        sets.append(np.sort(signatures[:, :SHINGLES], axis=1))
    numbers = np.arange(first, first + count)
    members = Members(
        np.array([b"%036x" % number for number in numbers.tolist()]),
        numbers,
        np.stack([numbers.astype(np.uint64) << np.uint64(20), numbers.astype(np.uint64)], axis=1),
        np.ones(count, np.int64),
        np.concatenate(hashes),
    )
    values = np.concatenate(sets)
    lengths = np.full(count, SHINGLES)
    digest, _ = segments.write(folder, members, lengths, lambda a, b: values[a:b].ravel())
    return Segment(folder, digest)


def measure_synthetic(n: int, folder: Path) -> dict:
    """CPU seconds of each step and most memory, with signatures alone. n: documents of the first snapshots."""
    from assets.dedup_index import deciding, standing
    from assets.dedup_index.segments import Segments

    every = n + n // 100 + n // 10

    def run(total: int, place: Path, sizes: list[int], timed: Callable[[str], None]) -> None:
        place.mkdir()
        kept, was, first = Segments([], []), deciding.alone(0), 0
        for name, size in zip((BUILD, ONE, TEN), sizes):
            timed("")
            each = size // SNAPSHOTS if name == BUILD else size
            made = [synthetic_segment(place, first + k * each, each, total) for k in range(size // each)]
            first += each * len(made)
            names = [*kept.snapshots, *(f"{name} {k}" for k in range(len(made)))]
            new = Segments([f"{k:03d}" for k in range(len(names))], [*kept.segments, *made])
            was = deciding.decide(kept, was, new, deciding.carried(kept, new), 0.75, place)
            standing.sizes(new, was)
            for k in range(len(new.snapshots)):
                standing.save(place, new, was, k)
            timed(name)
            kept = new

    found: dict = {}
    started = {"seconds": 0.0, "bytes": 0}

    def timed(name: str) -> None:
        if name:
            seconds, most = cpu_s() - started["seconds"], memory("VmHWM") - started["bytes"]
            found[name] = {"seconds": seconds, "bytes": most}
        started["bytes"], started["seconds"] = reset_peak(), cpu_s()

    run(2000, folder / "small", [1000, 100, 100], lambda name: None)
    run(every, folder / "made", [n, n // 100, n // 10], timed)
    found["index"] = sum(path.stat().st_size for path in (folder / "made").iterdir()) / every
    return found


def measure_peer(n: int, folder: Path) -> dict:
    """CPU seconds in which datatrove builds an index of n documents, and in which it looks 1% and 10% more up in it."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1", precision=64), num_buckets=14, hashes_per_bucket=8)
    every, found, first = n + n // 100 + n // 10, {}, 0
    for name, size in ((BUILD, n), (ONE, n // 100), (TEN, n // 10)):
        place = folder / name.replace(" ", "-").replace("%", "")
        write_buckets(place / "sorted", first, size, every)
        first += size
        started = cpu_s()
        for rank in range(14):
            MinhashDedupBuckets(
                str(place / "sorted"),
                str(place / "dups"),
                index_folder=str(folder / "index"),
                create_index_name=name.replace(" ", "-").replace("%", ""),
                config=config,
            ).run(rank=rank, world_size=14)
        found[name] = {"seconds": cpu_s() - started}
    return found


def write_buckets(folder: Path, first: int, count: int, n: int) -> None:
    """The synthetic documents as the peer's sorted bucket files."""
    signatures = dedup.synthetic(first, count, n)
    for band in range(14):
        place = folder / f"bucket_{band:03d}"
        place.mkdir(parents=True)
        records = np.empty(count, [(f"h{k}", "<u8") for k in range(8)] + [("doc", "<u4")])
        for k in range(8):
            records[f"h{k}"] = signatures[:, band * 8 + k]
        records["doc"] = np.arange(count)
        records.sort(order=records.dtype.names)
        records.tofile(place / "00000.minhash.sig")


def fresh(side: str, n: int) -> dict:
    """What one side measures in a process and a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="incremental-bench-"))
    try:
        return in_fresh_process(__name__, side, str(n), str(folder))
    finally:
        shutil.rmtree(folder)


def exponent(found: dict[int, dict], what: str) -> float:
    """Of growth between the smallest and the largest size."""
    small, large = min(found), max(found)
    return math.log(found[large][what]["seconds"] / found[small][what]["seconds"]) / math.log(large / small)


def rows(
    sizes: tuple[int, ...] = SIZES,
    synthetic: tuple[int, ...] = SYNTHETIC,
    peer_sizes: tuple[int, ...] = PEER_SIZES,
) -> list[dict]:
    made = []

    def say(name: str, unit: str, ours: float, *others) -> None:
        made.append(row("incremental", name, unit, ours, *others))

    for kind, of in (("texts", sizes), ("signatures", synthetic)):
        found = {n: fresh(kind, n) for n in of}
        for n, one in found.items():
            theirs = fresh("peer", n) if kind == "signatures" and n in peer_sizes else {}
            name, build = f"{n:,} with {kind}", one[BUILD]["seconds"]
            for what in [step for step in (BUILD, ONE, TEN, REMOVE, NOTHING) if step in one]:
                peer = theirs[what]["seconds"] if what in theirs else None
                say(f"{name}: {what}", "s", one[what]["seconds"], peer, "MinhashDedupBuckets" if peer else "")
            for what, share in ((ONE, 1.0), (TEN, 10.0)):
                said = f"{name}: {what} of building"
                say(said, "%", 100 * one[what]["seconds"] / build, None, "", share, "the share")
            say(f"{name}: index", "bytes/doc", one["index"])
            for what in (BUILD, ONE):
                say(f"{name}: most memory, {what}", "MiB", one[what]["bytes"] / 2**20)
        if len(found) > 1:
            for what in (BUILD, ONE, TEN):
                say(f"{kind}: growth exponent, {what}", "", exponent(found, what), None, "", 1.0, "linear")
    return made


if __name__ == "__main__":
    side = {"texts": measure_texts, "signatures": measure_synthetic, "peer": measure_peer}[sys.argv[1]]
    print(json.dumps(side(int(sys.argv[2]), Path(sys.argv[3]))))
