"""The local engine: killed workers are tried again with the same bytes, errors are reported, records are used again."""

import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from assets.parts import file_sha256
from assets.steps.jobs import ERRORS, HEARTBEAT, RECORD, ShardJob, finished
from orchestration.engines.base import ShardFailed
from orchestration.engines.local import LocalEngine

SMALL = ("CC-MAIN-2020-34/CC-MAIN-20200808165417-20200808195417-00395.warc.gz", "web-sample-2024/cc-whirlwind.warc.gz")


def jobs(crawl: Path, home: Path, names: tuple[str, ...] = SMALL) -> list[ShardJob]:
    """Real jobs of the documents step, one a file."""
    tables = ("documents", "rejects", "record_counts")
    made = []
    for name in names:
        path, shard = crawl / name, hashlib.sha256(name.encode()).hexdigest()[:12]
        sha256 = file_sha256(path) if path.exists() else "absent"
        made.append(
            ShardJob(
                step="documents",
                shard=f"test/{shard}",
                partition={"snapshot": "test", "shard": shard},
                inputs={"sha256": sha256, "warc_path": name, "size_bytes": path.stat().st_size if path.exists() else 1},
                config={"range": [0, 1], "extractor": "trafilatura"},
                places={
                    "warc": str(path),
                    "home": str(home),
                    "outputs": {table: str(home / "lake" / table) for table in tables},
                },
                work=str(home / "work"),
            )
        )
    return made


def shas(records) -> list[list[str]]:
    return [sorted(part.sha256 for parts in record.parts.values() for part in parts) for record in records]


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        try:
            if "assets.steps.worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_when_busy(heartbeat: Path, times: int) -> threading.Thread:
    """Kills the engine's worker while it is at the job, so many times."""

    def hunt() -> None:
        killed: set[int] = set()
        deadline = time.monotonic() + 300
        while len(killed) < times and time.monotonic() < deadline:
            for worker in workers():
                if worker.pid not in killed and heartbeat.exists() and worker.cpu_times().user > 0.15:
                    worker.send_signal(signal.SIGKILL)
                    killed.add(worker.pid)
            time.sleep(0.01)

    thread = threading.Thread(target=hunt)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def undisturbed(bundled_crawl, tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed")
    seen: list[tuple[int, int, str]] = []
    records = LocalEngine(2).run("documents", jobs(bundled_crawl, home), lambda *at: seen.append(at))
    return home, records, seen


def test_records_come_in_the_order_of_jobs_and_progress_is_told(undisturbed, bundled_crawl):
    home, records, seen = undisturbed
    assert [record.shard for record in records] == [job.shard for job in jobs(bundled_crawl, home)]
    assert records[0].counts["page"] == 16
    assert [done for done, _, _ in seen] == [0, 1, 2] and {total for _, total, _ in seen} == {2}


def test_finished_shards_are_not_done_again_and_changed_ones_are(undisturbed, bundled_crawl):
    home, records, _ = undisturbed
    asked = jobs(bundled_crawl, home)
    before = [(job.folder / RECORD).stat().st_mtime_ns for job in asked]
    assert shas(LocalEngine(1).run("documents", asked)) == shas(records)
    assert [(job.folder / RECORD).stat().st_mtime_ns for job in asked] == before
    damaged = home / "lake" / "documents" / records[1].parts["documents"][0].path
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert finished(asked[1]) is None
    assert shas(LocalEngine(1).run("documents", asked)) == shas(records)
    after = [(job.folder / RECORD).stat().st_mtime_ns for job in asked]
    assert after[0] == before[0] and after[1] != before[1]


def test_a_job_is_known_by_its_inputs_and_config_and_not_by_place(bundled_crawl, tmp_path):
    one, two = jobs(bundled_crawl, tmp_path / "a")[0], jobs(bundled_crawl, tmp_path / "b")[0]
    assert one.digest == two.digest
    changed = ShardJob(**{**vars(one), "inputs": {**one.inputs, "sha256": "other"}})
    halved = ShardJob(**{**vars(one), "config": {"range": [0, 2], "extractor": "trafilatura"}})
    assert len({one.digest, changed.digest, halved.digest}) == 3


def test_a_worker_killed_in_the_middle_is_tried_again_with_the_same_bytes(undisturbed, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path)
    hunter = kill_when_busy(asked[0].folder / HEARTBEAT, times=2)
    records = LocalEngine(1).run("documents", asked)
    hunter.join()
    assert shas(records) == shas(undisturbed[1])
    assert not workers()


def test_a_worker_that_is_always_killed_fails_the_shard_and_nothing_hangs(bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[:1])
    hunter = kill_when_busy(asked[0].folder / HEARTBEAT, times=2)
    with pytest.raises(ShardFailed, match="was killed by SIGKILL 2 times"):
        LocalEngine(1, retries=1).run("documents", asked)
    hunter.join()
    assert finished(asked[0]) is None and not workers()


def test_a_worker_without_a_heartbeat_is_killed(bundled_crawl, tmp_path):
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    engine = LocalEngine(1, retries=1, stall_s=0.5, python=str(hanging))
    with pytest.raises(ShardFailed, match="SIGKILL 2 times"):
        engine.run("documents", jobs(bundled_crawl, tmp_path, SMALL[:1]))
    assert not workers()


def test_a_shard_that_raises_is_named_with_its_last_line_and_the_others_are_kept(bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, ("web-sample-2024/no-such-file.warc.gz", SMALL[1]))
    with pytest.raises(ShardFailed) as caught:
        LocalEngine(1).run("documents", asked)
    assert caught.value.step == "documents" and caught.value.shard == asked[0].shard
    assert "FileNotFoundError" in caught.value.cause and "no-such-file.warc.gz" in caught.value.cause
    assert "\n" not in str(caught.value)
    assert "Traceback" in (asked[0].folder / ERRORS).read_text()
    assert finished(asked[0]) is None and finished(asked[1]) is not None


def test_a_worker_that_cannot_start_is_an_error_of_its_shard(bundled_crawl, tmp_path):
    with pytest.raises(ShardFailed, match="could not be started"):
        LocalEngine(1, python="/nonexistent/python").run("documents", jobs(bundled_crawl, tmp_path))
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\nexec {sys.executable} -S -c 'import assets.nowhere'\n")
    broken.chmod(0o755)
    with pytest.raises(ShardFailed, match="exit code 1"):
        LocalEngine(1, python=str(broken)).run("documents", jobs(bundled_crawl, tmp_path))


def test_unknown_steps_and_bad_widths_are_refused(bundled_crawl, tmp_path):
    job = jobs(bundled_crawl, tmp_path)[0]
    with pytest.raises(ShardFailed, match="unknown step polish"):
        LocalEngine(1).run("polish", [ShardJob(**{**vars(job), "step": "polish"})])
    with pytest.raises(ValueError, match="at least 1"):
        LocalEngine(0)
    assert LocalEngine().workers == len(os.sched_getaffinity(0))


def test_secrets_of_the_store_are_not_written_down(bundled_crawl, tmp_path):
    job = ShardJob(**{**vars(jobs(bundled_crawl, tmp_path)[1]), "storage_options": {"AWS_SECRET_ACCESS_KEY": "canary"}})
    LocalEngine(1).run("documents", [job])
    assert "canary" not in repr(job)
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
