"""Records of shard jobs: they count while every part is the bytes that it names; unchanged parts are read once."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assets.steps.jobs import ShardJob, ShardRecord, finished

SCHEMA = pa.schema([("numbers", pa.int64())])


@pytest.fixture
def job(tmp_path) -> ShardJob:
    places = {"outputs": {"rows": str(tmp_path / "rows")}}
    made = ShardJob("rows", "s", {"shard": "s"}, {}, {}, places, str(tmp_path / "work"))
    numbers = np.random.default_rng(0).integers(0, 1 << 62, 200_000)
    with made.writer("rows", SCHEMA) as writer:
        writer.write(pa.table({"numbers": numbers}, SCHEMA))
    assert writer.part
    made.folder.mkdir(parents=True)
    ShardRecord(made.digest, made.step, made.shard, {"rows": [writer.part]}, {}).write(made.folder)
    return made


def part(job: ShardJob) -> Path:
    return next(Path(job.places["outputs"]["rows"]).rglob("*.parquet"))


def read_bytes() -> int:
    """Bytes that this process has asked the system for so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what a process reads")
def test_an_unchanged_part_is_read_once(job):
    size, before = part(job).stat().st_size, read_bytes()
    assert finished(job) is not None
    first = read_bytes() - before
    assert finished(job) is not None
    assert first >= size > 1_000_000 and read_bytes() - before - first < size // 10


@pytest.mark.parametrize("seen", [True, False])
def test_a_changed_byte_makes_a_record_void_even_with_the_old_times(job, seen):
    if seen:
        assert finished(job) is not None
    path = part(job)
    times, value = path.stat(), bytearray(path.read_bytes())
    value[len(value) // 2] ^= 1
    path.write_bytes(value)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert finished(job) is None


def test_a_part_that_went_makes_a_record_void(job):
    assert finished(job) is not None
    part(job).unlink()
    assert finished(job) is None


def test_a_part_written_again_with_the_same_bytes_counts(job):
    assert finished(job) is not None
    value = part(job).read_bytes()
    path = part(job)
    path.unlink()
    path.write_bytes(value)
    assert finished(job) is not None


def test_a_spoilt_note_of_what_was_read_is_no_harm(job):
    assert finished(job) is not None
    (job.folder / "read.json").write_text("[1")
    assert finished(job) is not None
