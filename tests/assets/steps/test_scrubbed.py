"""Personal data that is left in a corpus is found, whether this process looks or workers do."""

import polars as pl
import pyarrow as pa
import pytest

from assets import schemas
from assets.lake import Lake
from assets.steps import scrubbed

CLEAN = "The river rises in the hills above the town and runs for forty miles before it meets the sea."


@pytest.fixture
def lake(tmp_path) -> Lake:
    made, schema = Lake(tmp_path), schemas.table("corpus").schema
    rows = [
        {
            "doc_id": f"{shard}{i}",
            "snapshot": "a",
            "shard": shard,
            "text": f"{CLEAN} Write to x@y.org." if i == 3 else CLEAN,
        }
        for shard in ("s", "t", "u")
        for i in range(5 if shard != "t" else 3)
    ]
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schema)))
    made.write("corpus", frame, replace={"snapshot": "a"})
    return made


@pytest.mark.parametrize("read_here", [0, 10_000])
def test_the_rows_that_hold_something_are_named(lake, here_engine, monkeypatch, read_here):
    monkeypatch.setattr(scrubbed, "READ_HERE_ROWS", read_here)
    engine = here_engine()
    assert sorted(scrubbed.documents_with_personal_data(lake, engine, "a")) == ["s3", "u3"]
    assert len(engine.done) == (0 if read_here else 3)


def test_a_part_is_looked_through_once(lake, here_engine, monkeypatch):
    monkeypatch.setattr(scrubbed, "READ_HERE_ROWS", 0)
    engine = here_engine()
    for _ in range(2):
        scrubbed.documents_with_personal_data(lake, engine, "a")
    assert len(engine.done) == 3
