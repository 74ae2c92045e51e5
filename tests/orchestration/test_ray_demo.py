"""The whole graph with its shards on a real Ray cluster: the digests of the demo that ran on one machine."""

import json
from dataclasses import replace

import pytest

from tests.orchestration.engines import ray_cluster
from tests.orchestration.engines.ray_cluster import RayCluster, kill


@pytest.mark.slow
@pytest.mark.skipif(ray_cluster.missing is not None, reason=f"NO RAY HERE: {ray_cluster.missing}")
def test_demo_on_ray_with_workers_killed_gives_the_digests_of_the_local_demo(smoke, tmp_path, block_list_cache):
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    with RayCluster() as cluster, cluster.hunt(kill, times=3) as hit:
        settings = {**cluster.variables, "STEMMA_ENGINE": "ray", "STEMMA_RAY_ADDRESS": cluster.address}
        done = replace(smoke.elsewhere(home=home), settings=settings).stemma("demo", "--recipe", "smoke", "--json")
        cluster.wait_until_idle()
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(hit) == 3 and json.loads(done.stdout)["versions"] == smoke.report["versions"]
