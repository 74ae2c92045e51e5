"""Fixtures of the graph's rooms: S3 servers of our own, an engine that starts no process."""

from importlib import import_module

import pytest

from assets.steps.jobs import ShardRecord, finished
from assets.steps.worker import STEPS


class HereEngine:
    """Jobs in this process, those that are not finished yet; `done` names the steps that ran."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self, step, jobs, on_progress=None):
        return [finished(job) or self._do(job) for job in jobs]

    def _do(self, job):
        self.done.append(job.step)
        job.folder.mkdir(parents=True, exist_ok=True)
        parts, counts = import_module(STEPS[job.step]).run(job, lambda: None)
        record = ShardRecord(job.digest, job.step, job.shard, parts, counts)
        record.write(job.folder)
        return record


@pytest.fixture(scope="session")
def here_engine() -> type[HereEngine]:
    """The engine's class: what is tested is not the engine, and code that changes meanwhile disturbs nothing."""
    return HereEngine


@pytest.fixture(scope="session")
def s3():
    """deltalake options of a moto server on a free port, with the bucket `stemma-test`."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    options = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=endpoint)
    fs.makedirs("stemma-test", exist_ok=True)  # servers of one process share their buckets
    yield options
    server.stop()


@pytest.fixture(scope="session")
def ceph(tmp_path_factory):
    """The same of Ceph's gateway, which is stricter; skipped, with the reason, where its programs are absent."""
    import s3fs

    gateway = import_module("tests.assets.gateway")
    if absent := gateway.missing():
        pytest.skip(f"Ceph's gateway cannot run, {', '.join(absent)} absent: apt-get install {gateway.PACKAGES}")
    with gateway.gateway(tmp_path_factory.mktemp("ceph")) as endpoint:
        s3fs.S3FileSystem(key=gateway.KEY, secret=gateway.SECRET, endpoint_url=endpoint).mkdir("stemma-test")
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": gateway.KEY,
            "AWS_SECRET_ACCESS_KEY": gateway.SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
