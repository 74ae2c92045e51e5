"""The funnel of all snapshots: the sum of theirs, each counted once for the data that it was counted from."""

import shutil

import polars as pl
import pyarrow as pa
import pytest

from assets import schemas
from assets.lake import Lake
from assets.policy import load
from assets.steps import counted, funnel

POLICY = load("fineweb")
PAGES = {"A": [None, "language", "near_duplicate"], "B": [None, None, "curly_bracket", "language", "exact_duplicate"]}


def write(lake: Lake, table: str, snapshot: str, rows: list[dict]) -> None:
    whole = [{"snapshot": snapshot, "shard": "s", **row} for row in rows]
    frame = pa.Table.from_pylist(whole, schema=schemas.table(table).schema)
    lake.write(table, pl.DataFrame(pl.from_arrow(frame)), replace={"snapshot": snapshot})


def write_snapshot(lake: Lake, snapshot: str, reasons: list[str | None]) -> None:
    ids = [f"{snapshot}{i}" for i in range(len(reasons))]
    kept = [doc_id for doc_id, reason in zip(ids, reasons) if reason is None or reason in funnel.REASONS]
    stay = [doc_id for doc_id, reason in zip(ids, reasons) if reason is None]
    clusters = [(doc_id, reason) for doc_id, reason in zip(ids, reasons) if doc_id in kept]
    verdicts = [(doc_id, None if doc_id in kept else reason) for doc_id, reason in zip(ids, reasons)]
    kinds = [("page", len(ids)), ("reject", 1), ("skipped:status", 2)]
    write(lake, "crawl_manifest", snapshot, [{"warc_path": f"{snapshot}/x", "size_bytes": 9, "sha256": "0"}])
    write(lake, "record_counts", snapshot, [{"warc_path": "x", "kind": kind, "records": n} for kind, n in kinds])
    write(lake, "rejects", snapshot, [{"warc_path": "x", "reason": "truncated"}])
    write(lake, "documents", snapshot, [{"doc_id": i, "text": i, "payload_bytes": 7, "extraction": "ok"} for i in ids])
    write(lake, "annotations", snapshot, [{"doc_id": i, "language": f"{snapshot}_Latn"} for i in ids])
    write(
        lake,
        "decisions",
        snapshot,
        [{"doc_id": i, "verdict": "dropped" if r else "kept", "reason": r} for i, r in verdicts],
    )
    write(lake, "duplicate_clusters", snapshot, [{"doc_id": i, "reason": r, "survivor": not r} for i, r in clusters])
    write(lake, "corpus", snapshot, [{"doc_id": i, "text": i, "text_bytes": 2} for i in stay])


@pytest.fixture
def lake(tmp_path) -> Lake:
    made = Lake(tmp_path)
    for snapshot, reasons in PAGES.items():
        write_snapshot(made, snapshot, reasons)
    return made


def test_the_sum_over_snapshots_is_the_count_of_all(lake):
    found, languages = counted.count(lake, POLICY)
    whole = funnel.count(lake, POLICY)
    assert found == whole
    for name in ("dropped", "skipped", "rejects", "over_limits"):
        assert list(getattr(found, name)) == list(getattr(whole, name))
    assert languages == {"A_Latn": 3, "B_Latn": 5}


def test_a_snapshot_is_counted_once_for_the_same_data(lake):
    first = counted.count(lake, POLICY)
    shutil.rmtree(lake.local / "lake" / "documents" / "snapshot=A")  # nobody looks into it again
    assert counted.count(lake, POLICY) == first


def test_new_data_is_counted_anew_and_nothing_else(lake):
    counted.count(lake, POLICY)
    shutil.rmtree(lake.local / "lake" / "documents" / "snapshot=A")
    write_snapshot(lake, "B", [None, "language"])
    found, languages = counted.count(lake, POLICY)
    assert (found.pages, found.kept, languages["B_Latn"]) == (5, 2, 2)


def test_a_spoilt_memory_is_counted_again(lake):
    first = counted.count(lake, POLICY)
    for path in (lake.local / "cache" / "funnels").iterdir():
        path.write_text(path.read_text()[:40])
    assert counted.count(lake, POLICY) == first
