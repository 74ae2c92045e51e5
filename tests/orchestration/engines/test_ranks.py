"""A training on several processes gives the same model here, on a real Slurm cluster and on a real Ray cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.artifacts import digest
from tests.assets.test_programs import RECIPE, REPO, shards
from tests.orchestration.engines import ray_cluster, slurm_cluster
from tests.orchestration.engines.ray_cluster import RayCluster
from tests.orchestration.engines.slurm_cluster import SlurmCluster

with_slurm = pytest.mark.skipif(slurm_cluster.missing() is not None, reason=f"NO SLURM HERE: {slurm_cluster.missing()}")
with_ray = pytest.mark.skipif(ray_cluster.missing is not None, reason=f"NO RAY HERE: {ray_cluster.missing}")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A pretraining of a few steps."""
    folder = tmp_path_factory.mktemp("training")
    few = RECIPE | {"pretrain": RECIPE["pretrain"] | {"steps": 20, "eval_every": 20, "sample_every": 20}}
    (folder / "config.json").write_text(json.dumps({"recipe": "smoke", "overrides": few, **shards(folder)}))
    return folder / "config.json"


def started(config: Path, out: Path, **variables: str) -> subprocess.Popen[bytes]:
    words = ["-m", "models", "pretrain", "--config", str(config), "--out", str(out)]
    command = [sys.executable, "-m", "orchestration.engines.ranks", "--name", f"stemma-{out.name}", "--", *words]
    unset = ("STEMMA_NODES", "STEMMA_RANKS", "STEMMA_ENGINE")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | variables
    out.mkdir(exist_ok=True)
    with (out / "said.log").open("ab") as log:
        return subprocess.Popen(command, cwd=REPO, env=environment, stdout=log, stderr=log)


def trained(config: Path, out: Path, **variables: str) -> str:
    """The digest of the model that a training to its end gives."""
    process = started(config, out, **variables)
    assert process.wait(600) == 0, (out / "said.log").read_text()[-3000:]
    return digest(out / "final")


@pytest.fixture(scope="module")
def here(config, tmp_path_factory) -> str:
    return trained(config, tmp_path_factory.mktemp("here"), STEMMA_RANKS="2")


@with_slurm
def test_on_slurm_after_a_driver_that_lost_power(config, here, tmp_path):
    """srun dies without a word; the next attempt ends the job that it left, and goes on from the last whole state."""
    out = tmp_path / "there"
    with SlurmCluster() as cluster:
        there = {"STEMMA_ENGINE": "slurm", "STEMMA_RANKS": "2", **cluster.variables}
        first = started(config, out, **there)
        deadline = time.monotonic() + 300
        while not list((out / "checkpoints").glob("step-*/manifest.json")):
            assert first.poll() is None and time.monotonic() < deadline, (out / "said.log").read_text()[-3000:]
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert trained(config, out, **there) == here
        cluster.wait(lambda: not cluster.says("squeue", "-h").strip(), "the queue to be empty")


@with_slurm
def test_a_refusal_of_slurm_is_told_and_nothing_waits(config, tmp_path):
    with SlurmCluster() as cluster:
        wrong = {"STEMMA_ENGINE": "slurm", "STEMMA_RANKS": "2", "STEMMA_SLURM_PARTITION": "nowhere"}
        process = started(config, tmp_path / "refused", **wrong, **cluster.variables)
        assert process.wait(300) != 0
    assert "invalid partition" in (tmp_path / "refused" / "said.log").read_text()


@pytest.mark.slow
@with_ray
def test_on_two_nodes_of_ray(config, here, tmp_path):
    with RayCluster() as cluster:
        there = {"STEMMA_ENGINE": "ray", "STEMMA_RANKS": "1", "STEMMA_NODES": "2"}
        there |= {"STEMMA_RAY_ADDRESS": cluster.address, **cluster.variables}
        assert trained(config, tmp_path / "there", **there) == here


def test_several_machines_need_a_cluster(config, tmp_path):
    process = started(config, tmp_path / "alone", STEMMA_RANKS="2", STEMMA_NODES="2")
    assert process.wait(300) != 0
    assert "STEMMA_NODES=2 needs STEMMA_ENGINE=slurm or ray" in (tmp_path / "alone" / "said.log").read_text()
