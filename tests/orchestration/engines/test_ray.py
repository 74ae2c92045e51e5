"""The Ray engine on a real cluster of several nodes: the local engine's bytes, whatever dies, hangs or differs."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assets.lake import Lake
from assets.policy import load
from assets.steps import evaluation_sets, stages
from assets.steps.jobs import ERRORS, ShardJob, finished
from assets.steps.ledger import Ledger
from assets.steps.pipeline import SNAPSHOT, run_stages
from assets.steps.scopes import scope
from orchestration.engines.base import ShardFailed
from orchestration.engines.choose import EngineUnknown, engine
from orchestration.engines.local import LocalEngine
from orchestration.engines.ray import ClusterLost, ClusterUnreachable, RayEngine
from tests.orchestration.engines import ray_cluster
from tests.orchestration.engines.ray_cluster import RayCluster, kill, kill_task, stop, wait_for
from tests.orchestration.engines.test_local import SMALL, jobs, shas

REPO = Path(__file__).resolve().parents[3]
TABLES = (
    "documents", "rejects", "record_counts", "annotations", "contamination", "page_quality", "decisions", "signatures",
    "corpus",
)  # fmt: skip
with_ray = pytest.mark.skipif(ray_cluster.missing is not None, reason=f"NO RAY HERE: {ray_cluster.missing}")


@pytest.fixture(scope="module")
def cluster():
    with RayCluster() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.variables.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """After every test that used the cluster no worker is left on it."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").wait_until_idle()


@pytest.fixture(scope="module")
def undisturbed(bundled_crawl, tmp_path_factory):
    return shas(LocalEngine(1).run("documents", jobs(bundled_crawl, tmp_path_factory.mktemp("undisturbed"))))


@pytest.fixture
def store():
    """deltalake options of an S3 server whose secret would be noticed wherever it were written down."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "canary-of-the-store",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    keys = {"key": options["AWS_ACCESS_KEY_ID"], "secret": options["AWS_SECRET_ACCESS_KEY"]}
    fs = s3fs.S3FileSystem(**keys, endpoint_url=options["AWS_ENDPOINT_URL"])
    fs.makedirs("stemma-test", exist_ok=True)  # servers of one process share their buckets
    yield options
    server.stop()


def data_plane(lake: Lake, runs_on, crawl: Path, names: list[str], cache: Path) -> dict[str, str]:
    """The data versions of everything from documents to corpus."""
    lake.local.mkdir(parents=True, exist_ok=True)
    (lake.local / "cache").symlink_to(cache)
    run_stages(lake, runs_on, str(crawl), names, load("fineweb"))
    stages.contamination(lake, runs_on, SNAPSHOT, evaluation_sets.load())
    stages.page_quality(lake, runs_on, SNAPSHOT)
    return {name: lake.version_of(name) for name in TABLES}


@with_ray
def test_data_versions_are_those_of_the_local_engine_with_a_worker_killed_on_the_way(
    cluster, bundled_crawl, block_list_cache, tmp_path
):
    names = [*SMALL, "web-sample-2024/cc-whirlwind.warc.wet.gz"]
    here = data_plane(Lake(tmp_path / "here"), LocalEngine(2), bundled_crawl, names, block_list_cache)
    with cluster.hunt(kill, times=1) as hit:
        on_ray = RayEngine(address=cluster.address)
        assert data_plane(Lake(tmp_path / "ray"), on_ray, bundled_crawl, names, block_list_cache) == here
    assert hit and on_ray.peak_worker_bytes > 50 << 20


@with_ray
@pytest.mark.parametrize("shot", [kill, kill_task])
def test_whatever_process_is_killed_the_shard_is_tried_again_with_the_same_bytes(
    cluster, undisturbed, bundled_crawl, tmp_path, shot
):
    seen = []
    with cluster.hunt(shot, times=2) as hit:
        engine = RayEngine(address=cluster.address)
        records = engine.run("documents", jobs(bundled_crawl, tmp_path), lambda *at: seen.append(at))
    assert len(hit) == 2 and shas(records) == undisturbed
    assert [done for done, _, _ in seen] == [0, 1, 2] and {total for _, total, _ in seen} == {2}


@with_ray
def test_a_node_that_dies_gives_its_shards_to_the_others(cluster, undisturbed, bundled_crawl, tmp_path):
    def fell(_) -> None:
        for node in list(cluster.nodes):
            cluster.remove(node)
        cluster.add()
        cluster.add()

    with cluster.hunt(fell, times=1) as hit:
        records = RayEngine(address=cluster.address).run("documents", jobs(bundled_crawl, tmp_path))
    assert hit and shas(records) == undisturbed


@with_ray
def test_a_task_that_hangs_is_cancelled_by_force_and_tried_again(cluster, undisturbed, bundled_crawl, tmp_path):
    with cluster.hunt(stop, times=1) as hit:
        records = RayEngine(address=cluster.address, stall_s=8.0).run("documents", jobs(bundled_crawl, tmp_path))
    assert hit and shas(records) == undisturbed


@with_ray
def test_a_shard_that_always_hangs_or_dies_fails_and_the_run_ends(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[:1])
    with cluster.hunt(stop, times=1), pytest.raises(ShardFailed, match="no sign of life for 4 s, 1 times, last on"):
        RayEngine(address=cluster.address, retries=0, stall_s=4.0).run("documents", asked)
    with cluster.hunt(kill, times=2), pytest.raises(ShardFailed, match="was killed by SIGKILL, 2 times"):
        RayEngine(address=cluster.address, retries=1).run("documents", asked)
    assert finished(asked[0]) is None


@with_ray
def test_a_shard_that_raises_is_named_with_its_last_line_and_the_others_are_kept(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, ("web-sample-2024/no-such-file.warc.gz", SMALL[1]))
    with pytest.raises(ShardFailed) as caught:
        RayEngine(address=cluster.address).run("documents", asked)
    assert caught.value.shard == asked[0].shard and "FileNotFoundError" in caught.value.cause
    assert caught.value.cause.endswith(f"no-such-file.warc.gz' (exit code 1); all of it: {asked[0].folder / ERRORS}")
    assert "Traceback" in (asked[0].folder / ERRORS).read_text()
    assert finished(asked[0]) is None and finished(asked[1]) is not None


@with_ray
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_leaves_no_task(cluster, bundled_crawl, tmp_path, how):
    program = (
        "import sys; from pathlib import Path; from orchestration.engines.ray import RayEngine;"
        "from tests.orchestration.engines.test_local import jobs;"
        "names = ('web-sample-2024/web-sample-2024-00000.warc.gz', 'web-sample-2024/web-sample-2024-00001.warc.gz');"
        "RayEngine(address=sys.argv[1]).run('documents', jobs(Path(sys.argv[2]), Path(sys.argv[3]), names))"
    )
    command = [sys.executable, "-c", program, cluster.address, str(bundled_crawl), str(tmp_path)]
    driver = subprocess.Popen(command, cwd=REPO, stderr=subprocess.DEVNULL)
    wait_for(cluster.workers, "a worker")
    driver.send_signal(how)
    assert driver.wait() != 0
    cluster.wait_until_idle()


@with_ray
def test_a_node_with_other_code_is_refused(cluster, bundled_crawl, tmp_path):
    other = tmp_path / "other"
    for room in ("orchestration", "assets", "kernels"):
        shutil.copytree(REPO / room, other / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "kernels" / "text" / "html.py").open("a") as source:
        source.write("\n# one line more\n")
    node = cluster.add(f"--memory={64 << 30}", PYTHONPATH=str(other))
    only_there = RayEngine(address=cluster.address, memory_bytes=60 << 30)
    try:
        with pytest.raises(ShardFailed, match=r"has other code than this one: install the same Stemma .* there$"):
            only_there.run("documents", jobs(bundled_crawl, tmp_path, SMALL[1:]))
    finally:
        cluster.remove(node)


@with_ray
def test_tables_that_the_nodes_do_not_share_are_noticed(cluster, bundled_crawl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = jobs(bundled_crawl, tmp_path, SMALL[1:])[0]
    elsewhere = {**job.places, "outputs": {name: f"not-shared/{name}" for name in job.places["outputs"]}}
    with pytest.raises(ShardFailed, match=r"not to be seen here: .* STEMMA_LAKE on s3://"):
        RayEngine(address=cluster.address).run("documents", [ShardJob(**{**vars(job), "places": elsewhere})])


@with_ray
def test_a_page_of_a_takedown_is_refused_on_nodes_that_do_not_see_the_home(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[:1])
    before = RayEngine(address=cluster.address).run("documents", asked)[0].counts
    pages = Lake(tmp_path)
    pages.commit("documents", LocalEngine(1).run("documents", asked)[0].parts["documents"], replace={})
    host = pages.scan("documents").select("host").collect()["host"][0]
    Ledger(tmp_path).add(scope("host", host), "Ann <ann@example.org>", "her pages")
    shutil.rmtree(tmp_path / "work")
    after = RayEngine(address=cluster.address).run("documents", asked)[0].counts
    assert after["page"] < before["page"]


@with_ray
def test_tables_on_s3_are_written_from_the_nodes_and_no_secret_is_written_down(
    cluster, store, bundled_crawl, block_list_cache, tmp_path
):
    names = list(SMALL[1:])
    here = data_plane(Lake(tmp_path / "here"), LocalEngine(1), bundled_crawl, names, block_list_cache)
    lake = Lake("s3://stemma-test/ray", store, local=tmp_path / "ray")
    assert data_plane(lake, RayEngine(address=cluster.address), bundled_crawl, names, block_list_cache) == here
    places = [*tmp_path.rglob("*"), *cluster.folder.rglob("*")]
    assert not [path for path in places if path.is_file() and b"canary-of-the-store" in path.read_bytes()]


@with_ray
def test_a_cluster_without_room_for_a_shard_is_an_error_and_no_wait(cluster, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path, SMALL[1:])
    with pytest.raises(ClusterLost, match="no node of the cluster has room for a shard, which asks for 64 CPUs"):
        RayEngine(address=cluster.address, cpus=64, stall_s=2.0).run("documents", asked)


@with_ray
@pytest.mark.slow
def test_the_loss_of_the_head_ends_the_run(bundled_crawl, tmp_path, monkeypatch):
    with RayCluster(nodes=1) as doomed:
        for name, value in doomed.variables.items():
            monkeypatch.setenv(name, value)
        with (
            doomed.hunt(lambda _: doomed.behead(), times=1),
            pytest.raises(ClusterLost, match="start again when it is"),
        ):
            RayEngine(address=doomed.address).run("documents", jobs(bundled_crawl, tmp_path, SMALL[:1]))


@with_ray
def test_finished_shards_need_no_cluster(cluster, undisturbed, bundled_crawl, tmp_path):
    asked = jobs(bundled_crawl, tmp_path)
    LocalEngine(1).run("documents", asked)
    assert shas(RayEngine(address="127.0.0.1:1").run("documents", asked)) == undisturbed


@with_ray
def test_nobody_without_the_token_gets_in(cluster, bundled_crawl, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ClusterUnreachable, match="RAY_AUTH_TOKEN where it asks for one"):
        RayEngine(address=cluster.address).run("documents", jobs(bundled_crawl, tmp_path, SMALL[1:]))


@with_ray
def test_no_cluster_is_ever_started(bundled_crawl, tmp_path, monkeypatch):
    asked = jobs(bundled_crawl, tmp_path, SMALL[1:])
    with pytest.raises(ClusterUnreachable, match="start one with `ray start --head`"):
        RayEngine(address="127.0.0.1:1").run("documents", asked)
    for address in ("local", "ray://127.0.0.1:10001"):
        monkeypatch.setenv("STEMMA_RAY_ADDRESS", address)
        with pytest.raises(ClusterUnreachable, match="no address of a cluster"):
            engine("ray")


@with_ray
def test_the_settings_of_ray_come_from_the_environment(monkeypatch):
    for name, value in {"ADDRESS": "10.0.0.1:6379", "CPUS": "2", "MEMORY_MB": "1500"}.items():
        monkeypatch.setenv(f"STEMMA_RAY_{name}", value)
    made = engine("ray", workers=7)
    assert isinstance(made, RayEngine) and (made.address, made.workers) == ("10.0.0.1:6379", 7)
    assert (made.cpus, made.memory_bytes) == (2, 1500 << 20)
    monkeypatch.setenv("STEMMA_RAY_CPUS", "many")
    with pytest.raises(EngineUnknown, match="STEMMA_RAY_CPUS"):
        engine("ray")
