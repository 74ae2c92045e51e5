"""The Slurm engine on a real one-node cluster: the local engine's bytes, and an answer to whatever happens to a job."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from assets.steps.jobs import ERRORS, JOB, ShardJob, finished
from orchestration.engines.base import ShardFailed, worker_environment
from orchestration.engines.choose import EngineMissing, EngineUnknown, engine
from orchestration.engines.local import LocalEngine
from orchestration.engines.slurm import SlurmEngine
from orchestration.engines.slurm_queue import SlurmSettings
from tests.orchestration.engines.slurm_cluster import SlurmCluster, missing
from tests.orchestration.engines.test_local import SMALL, jobs, shas

LOOK_S = 0.2
with_slurm = pytest.mark.skipif(missing() is not None, reason=f"NO SLURM HERE: {missing()}")


@pytest.fixture(scope="module")
def cluster():
    with SlurmCluster() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.variables.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """After every test that used the cluster no job is in its queue."""
    yield
    if "cluster" in request.fixturenames:
        running = request.getfixturevalue("cluster")
        running.wait(lambda: not running.says("squeue", "-h").strip(), "the queue to be empty")


@pytest.fixture(scope="module")
def undisturbed(bundled_crawl, tmp_path_factory):
    return shas(LocalEngine(1).run("documents", jobs(bundled_crawl, tmp_path_factory.mktemp("undisturbed"))))


def slurm(**options) -> SlurmEngine:
    settings = SlurmSettings(**options.pop("settings", {}))
    return SlurmEngine(settings, **{"look_s": LOOK_S, "lag_s": 1.0, "bytes_per_task": 1, **options})


def stand_in(path: Path, text: str = "exec sleep 600") -> str:
    """A program instead of Python, for what does not need a worker."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def sleeper(tmp_path: Path, first: str) -> str:
    """Python, but the first time the program is started (in all) it does something else."""
    mark = tmp_path / "started"
    return stand_in(tmp_path / "python", f'if mkdir {mark} 2>/dev/null; then {first}; fi\nexec {sys.executable} "$@"')


def meanwhile(what) -> threading.Thread:
    thread = threading.Thread(target=what)
    thread.start()
    return thread


def test_settings_come_from_the_environment(monkeypatch):
    for name, value in {"PARTITION": "cpu", "TIME": "0-04:00:00", "OPTIONS": "--qos='a b'", "TASKS": "7"}.items():
        monkeypatch.setenv(f"STEMMA_SLURM_{name}", value)
    settings = SlurmSettings.from_environment(3)
    assert settings.words() == ["--partition=cpu", "--time=0-04:00:00", "--qos=a b"] and settings.tasks == 7
    monkeypatch.setenv("STEMMA_SLURM_TASKS", "0")
    with pytest.raises(ValueError, match="from 1 to 1000"):
        SlurmSettings.from_environment()


def test_a_machine_that_cannot_submit_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="sbatch is not here"):
        engine("slurm")


@pytest.mark.parametrize("renewed", [False, True])
def test_a_worker_ends_when_its_lease_stands_still_and_not_before(renewed, tmp_path):
    lease = tmp_path / "lease"
    lease.touch()
    environment = {**worker_environment(None, None), "STEMMA_LEASE": str(lease), "STEMMA_LEASE_S": "0.6"}
    words = [sys.executable, "-m", "assets.steps.worker"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment) as worker:
        for _ in range(60 if renewed else 0):
            os.utime(lease)
            time.sleep(0.05)
        assert not renewed or worker.poll() is None
        assert worker.wait(300) == 143


@with_slurm
def test_slurm_gives_the_bytes_of_the_local_engine_and_leaves_nothing(cluster, undisturbed, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path)
    seen = []
    records = slurm().run("documents", asked, lambda *at: seen.append(at))
    assert shas(records) == undisturbed
    assert [record.shard for record in records] == [job.shard for job in asked]
    assert [done for done, _, _ in seen] == [0, 1, 2]
    assert not list((tmp_path / "work" / "slurm").iterdir())
    known = ("squeue", "-h", "-t", "all", "-o", "%i")  # ids alone: a task that is done says so a moment later
    before = cluster.says(*known)
    assert shas(slurm().run("documents", asked)) == undisturbed
    assert cluster.says(*known) == before, "finished shards are not submitted"


@with_slurm
def test_a_killed_batch_script_is_tried_again_with_the_same_bytes(cluster, undisturbed, bundled_crawl, tmp_path):
    python = sleeper(tmp_path, "kill -9 $$")
    # both shards in one task: the first is tried again alone, the second just goes back
    records = slurm(python=python, bytes_per_task=1 << 30).run("documents", jobs(bundled_crawl, tmp_path))
    assert shas(records) == undisturbed
    ended = cluster.says("squeue", "-h", "-r", "-t", "FAILED", "-o", "%T")
    assert "FAILED" in ended, "Slurm does not start a killed script again: we do"


@with_slurm
def test_a_worker_that_is_always_killed_fails_its_shard(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[:1])
    with pytest.raises(ShardFailed, match=r"killed by signal 9; so it went 2 times") as caught:
        slurm(retries=1, python=stand_in(tmp_path / "python", "kill -9 $$")).run("documents", asked)
    assert caught.value.shard == asked[0].shard and finished(asked[0]) is None


@with_slurm
def test_a_requeued_task_goes_on_and_ends_with_the_same_bytes(cluster, undisturbed, bundled_crawl, tmp_path):
    python = sleeper(tmp_path, "exec sleep 600")

    def requeue():
        cluster.wait((tmp_path / "started").exists, "the task to start")
        [task] = cluster.tasks()
        cluster.says("scontrol", "requeue", task)
        cluster.wait(lambda: task in cluster.tasks("PENDING"), "the task to wait again")
        cluster.says("scontrol", "update", f"JobId={task}", "StartTime=now")

    hand = meanwhile(requeue)
    records = slurm(python=python, bytes_per_task=1 << 30).run("documents", jobs(bundled_crawl, tmp_path))
    hand.join()
    assert shas(records) == undisturbed


@with_slurm
def test_a_shard_that_raises_is_named_and_the_others_are_kept(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, ("web-sample-2024/no-such-file.warc.gz", SMALL[1]))
    with pytest.raises(ShardFailed) as caught:
        slurm(bytes_per_task=1 << 30).run("documents", asked)
    assert caught.value.shard == asked[0].shard and "FileNotFoundError" in caught.value.cause
    assert "Traceback" in (asked[0].folder / ERRORS).read_text()
    assert finished(asked[0]) is None and finished(asked[1]) is not None


@with_slurm
def test_jobs_that_cannot_start_or_hang_or_break_are_answered(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[:1])
    hanging, broken = stand_in(tmp_path / "hanging"), stand_in(tmp_path / "broken", "echo no numpy >&2; exit 1")
    refused = {
        "Invalid partition": slurm(settings={"partition": "nowhere"}),
        "cannot start: JobHeldUser": slurm(settings={"options": ("--hold",)}),
        "no heartbeat for 0.5 s": slurm(python=hanging, stall_s=0.5, retries=0),
        "could not be started: no numpy": slurm(python=broken, retries=0),
        "nothing started for 0.5 s": slurm(settings={"options": ("--begin=now+600",)}, queue_s=0.5),
    }
    for said, chosen in refused.items():
        with pytest.raises(ShardFailed, match=said):
            chosen.run("documents", asked)
        cluster.wait(lambda: not cluster.says("squeue", "-h").strip(), f"the queue to be empty after {said!r}")


@with_slurm
def test_a_cancelled_job_ends_the_run(cluster, bundled_crawl, tmp_path):
    def cancel():
        cluster.wait(lambda: len(cluster.tasks()) == 2, "both tasks to run")
        cluster.says("scancel", cluster.tasks()[0])

    hand = meanwhile(cancel)
    with pytest.raises(ShardFailed, match="was cancelled by someone"):
        slurm(python=stand_in(tmp_path / "python")).run("documents", jobs(bundled_crawl, tmp_path))
    hand.join()


DRIVER = """
import sys
from pathlib import Path
from orchestration.engines.slurm import SlurmEngine
from orchestration.engines.slurm_queue import SlurmSettings
from tests.orchestration.engines.test_local import jobs
asked = jobs(Path(sys.argv[1]), Path(sys.argv[2]))
SlurmEngine(SlurmSettings(), look_s=0.2, python=sys.argv[3]).run("documents", asked)
"""


@with_slurm
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_ends_leaves_no_job_behind(how, cluster, bundled_crawl, tmp_path):
    words = [sys.executable, "-c", DRIVER, str(bundled_crawl), str(tmp_path), stand_in(tmp_path / "python")]
    driver = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, stderr=subprocess.DEVNULL)
    try:
        cluster.wait(lambda: cluster.tasks() or driver.poll() is not None, "the tasks to run")
        driver.send_signal(how)
        assert driver.wait(300) != 0
    finally:
        driver.kill()
        driver.wait()
    cluster.wait(lambda: not cluster.says("squeue", "-h").strip(), "the queue to be empty")
    cluster.wait(lambda: not list((tmp_path / "work" / "slurm").iterdir()), "the run's folder to go")


@with_slurm
def test_a_controller_that_goes_away_and_comes_back_loses_nothing(cluster, undisturbed, bundled_crawl, tmp_path):
    python = sleeper(tmp_path, "sleep 4")

    def restart():
        cluster.wait((tmp_path / "started").exists, "the task to start")
        cluster.stop("slurmctld")
        time.sleep(2)
        cluster.start_controller()

    hand = meanwhile(restart)
    records = slurm(python=python).run("documents", jobs(bundled_crawl, tmp_path))
    hand.join()
    assert shas(records) == undisturbed


@with_slurm
@pytest.mark.slow
def test_a_controller_that_forgot_the_jobs_or_stays_away_is_answered(cluster, undisturbed, bundled_crawl, tmp_path):
    def forget():
        cluster.wait((tmp_path / "started").exists, "the task to start")
        cluster.stop("slurmctld")
        cluster.start_controller("-c")

    hand = meanwhile(forget)
    python = sleeper(tmp_path, "exec sleep 600")
    records = slurm(python=python, bytes_per_task=1 << 30).run("documents", jobs(bundled_crawl, tmp_path))
    hand.join()
    assert shas(records) == undisturbed
    try:
        cluster.stop("slurmctld")
        with pytest.raises(ShardFailed, match="silent for 5 s"):
            slurm(away_s=5.0).run("documents", jobs(bundled_crawl, tmp_path / "other"))
    finally:
        cluster.start_controller()


@with_slurm
@pytest.mark.slow
def test_a_task_at_its_time_limit_is_tried_again_and_then_told(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[:1])
    with pytest.raises(ShardFailed, match="time limit"):
        slurm(settings={"time": "1"}, python=stand_in(tmp_path / "python"), retries=0).run("documents", asked)


@with_slurm
def test_the_queue_never_holds_more_tasks_than_asked_and_small_shards_share_one(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[1:])
    # eight jobs that do nothing: the step is unknown, and each says so
    many = [ShardJob(**{**vars(asked[0]), "shard": f"test/{n}", "inputs": {"n": n}}) for n in range(8)]
    python = stand_in(tmp_path / "python", f"cp /dev/stdin {tmp_path}/$SLURM_ARRAY_TASK_ID.$$; kill -9 $$")
    most = 0

    def watch():
        nonlocal most
        while not over.wait(0.1):
            most = max(most, len(cluster.tasks("PENDING,RUNNING")))

    over = threading.Event()
    hand = meanwhile(watch)
    with pytest.raises(ShardFailed):
        slurm(settings={"tasks": 2}, retries=0, python=python).run("documents", many)
    over.set()
    hand.join()
    assert 1 <= most <= 2
    small = [ShardJob(**{**vars(job), "inputs": {**job.inputs, "size_bytes": 10}}) for job in many]
    with pytest.raises(ShardFailed):
        slurm(retries=0, python=python, bytes_per_task=1000).run("documents", small)
    assert max(len(path.read_text().splitlines()) for path in tmp_path.glob("0.*")) == len(small)


@with_slurm
def test_secrets_of_the_store_are_in_no_file_that_others_read(cluster, bundled_crawl, tmp_path):
    job = ShardJob(**{**vars(jobs(bundled_crawl, tmp_path)[1]), "storage_options": {"AWS_SECRET_ACCESS_KEY": "canary"}})
    slurm().run("documents", [job])
    assert (job.folder / JOB).exists()
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "canary" not in cluster.says("scontrol", "show", "job", "-dd")
    for path in (cluster.folder / "state").rglob("*"):
        assert path.is_dir() or b"canary" not in path.read_bytes() or path.stat().st_mode & 0o077 == 0


def test_bad_settings_are_an_unknown_engine(monkeypatch):
    monkeypatch.setenv("STEMMA_SLURM_TASKS", "many")
    if missing() is None:
        with pytest.raises(EngineUnknown, match="a number of tasks"):
            engine("slurm")
