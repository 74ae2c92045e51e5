"""Workers killed for memory, and two runs of one partition at once: bounded attempts, one result, nothing half."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assets.lake import Lake
from assets.steps.jobs import finished
from orchestration.engines.base import ShardFailed
from orchestration.engines.local import LocalEngine
from tests.faults.data_plane import left_over, make
from tests.orchestration.engines.test_local import SMALL, jobs, shas

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
LIMIT = 64 << 20
RUN = """
import json, sys
from pathlib import Path
from assets.lake import Lake
from orchestration.engines.local import LocalEngine
from tests.faults.data_plane import make
print(json.dumps(make(Lake(sys.argv[1]), Path(sys.argv[2]), LocalEngine(1), Path(sys.argv[3]))["versions"]))
"""


@pytest.fixture
def small_group():
    """A cgroup of 64 MB, in which a process that loads the tokenizers is killed."""
    parent, limit, swap = (
        (V1, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        if (V1 / "memory.limit_in_bytes").exists()
        else (V2, "memory.max", "memory.swap.max")
    )
    group = parent / f"stemma-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(LIMIT))
        if (group / swap).exists():
            (group / swap).write_text(str(LIMIT if parent == V1 else 0))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"NO MEMORY LIMIT TO MEET: cgroups cannot be made here ({error})")
    yield group
    group.rmdir()


def program(tmp_path: Path, group: Path, times: int) -> str:
    """Python, but the first so many processes of it are in the group."""
    path, mark = tmp_path / "python", tmp_path / "started"
    enter = f'if [ "$n" -le {times} ]; then echo $$ > {group}/cgroup.procs; fi'
    path.write_text(f'#!/bin/sh\necho x >> {mark}\nn=$(wc -l < {mark})\n{enter}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_a_worker_killed_for_memory_is_tried_again_with_the_same_bytes(small_group, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[1:])
    records = LocalEngine(1, python=program(tmp_path, small_group, 1)).run("documents", asked)
    assert (tmp_path / "started").read_text() == "x\n" * 2, "the first worker was killed"
    assert shas(records) == shas(LocalEngine(1).run("documents", jobs(bundled_crawl, tmp_path / "calm", SMALL[1:])))


def test_a_worker_that_always_needs_more_than_there_is_fails_its_shard(small_group, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[1:])
    with pytest.raises(ShardFailed, match="killed by SIGKILL 2 times"):
        LocalEngine(1, retries=1, python=program(tmp_path, small_group, 99)).run("documents", asked)
    assert (tmp_path / "started").read_text() == "x\n" * 2 and finished(asked[0]) is None


def test_two_runs_of_one_partition_at_once_end_with_one_result(crawl, calm, block_list_cache, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache, target_is_directory=True)
    words = [sys.executable, "-c", RUN, str(home), str(crawl), str(block_list_cache)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    both = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for run in both:
        out, err = run.communicate()
        assert run.returncode == 0, err
        assert out
    lake = Lake(home)
    assert make(lake, crawl, cache=block_list_cache) == calm
    assert not left_over(home)
    for table in calm["versions"]:
        paths = [part.path for part in lake.parts(table)]
        assert len(paths) == len(set(paths)), "no row twice"
