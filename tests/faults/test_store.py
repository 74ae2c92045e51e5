"""The data plane with its tables on S3, through a proxy that spoils answers: the same data versions, or an error."""

import socket
import subprocess
import sys
import time

import pytest

from assets.lake import Lake
from assets.parts import read_part
from assets.steps.pipeline import SNAPSHOT
from assets.verified import ATTEMPTS, PartDamaged
from tests.faults.data_plane import make, versions
from tests.faults.proxy import Fault, FaultProxy

PARTS, COMMITS = r"\.parquet", r"_delta_log/\d+\.json"
STORMS = {
    "503 storm": [Fault("503", chance=0.3)],
    "resets": [Fault("reset", chance=0.1), Fault("reset_midway", chance=0.1)],
    "parts cut short": [Fault("truncate", PARTS, chance=0.2)],
    "bits of parts flipped": [Fault("flip", PARTS, chance=0.2)],
    "replies lost after commits": [Fault("drop_reply", COMMITS, chance=0.3), Fault("drop_reply", chance=0.05)],
    "stalls": [Fault("stall", chance=0.05)],
    "all of them": [
        *(Fault(kind, chance=0.04) for kind in ("503", "reset", "reset_midway", "drop_reply", "stall")),
        *(Fault(kind, PARTS, chance=0.04) for kind in ("truncate", "flip")),
    ],
}


def options(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


@pytest.fixture(scope="module")
def port():
    """The port of a moto server in a process of its own, with the bucket `stemma-faults`."""
    import s3fs

    with socket.create_server(("127.0.0.1", 0)) as free:
        chosen = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(chosen)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 300
            while True:
                try:
                    socket.create_connection(("127.0.0.1", chosen)).close()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline, "moto_server did not start"
                    time.sleep(0.1)
            s3fs.S3FileSystem(key="test", secret="test", endpoint_url=f"http://127.0.0.1:{chosen}").mkdir(
                "stemma-faults"
            )
            yield chosen
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def undisturbed(port, crawl, block_list_cache, tmp_path_factory):
    """What a run through a proxy without faults makes, and how many requests it takes."""
    counting = Fault("503", chance=0.0)
    with FaultProxy(port, [counting]) as proxy:
        lake = Lake("s3://stemma-faults/calm", options(proxy.url), tmp_path_factory.mktemp("calm"))
        return make(lake, crawl, cache=block_list_cache), counting.seen


def test_tables_on_s3_have_the_data_versions_of_local_ones(undisturbed, calm):
    assert undisturbed[0] == calm


QUICK = ("bits of parts flipped",)


@pytest.mark.parametrize(
    "storm", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STORMS]
)
def test_no_storm_changes_a_data_version_and_attempts_are_bounded(
    storm, port, undisturbed, crawl, block_list_cache, tmp_path
):
    name, counting = storm.replace(" ", "-"), Fault("503", chance=0.0)
    with FaultProxy(port, [counting, *STORMS[storm]], seed=5, stall_s=1.0) as proxy:
        made = make(Lake(f"s3://stemma-faults/{name}", options(proxy.url), tmp_path), crawl, cache=block_list_cache)
    kinds = {kind for kind, _ in proxy.done}
    assert made == undisturbed[0]
    assert kinds == {fault.kind for fault in STORMS[storm]}, "each fault was met at least once"
    assert counting.seen < undisturbed[1] + 4 * len(proxy.done)
    print(f"{storm}: {len(proxy.done)} faults in {counting.seen} requests, {undisturbed[1]} without")
    calm = Lake(f"s3://stemma-faults/{name}", options(f"http://127.0.0.1:{port}"), tmp_path)
    assert versions(calm) == made["versions"]


def test_a_part_that_stays_damaged_or_was_exchanged_is_refused(port, undisturbed, tmp_path):
    lake = Lake("s3://stemma-faults/calm", options(f"http://127.0.0.1:{port}"), tmp_path)
    part = lake.parts("corpus", snapshot=SNAPSHOT)[0]
    with FaultProxy(port, [Fault("flip", PARTS)]) as proxy:
        spoilt = Lake(lake.root, options(proxy.url), tmp_path)
        with pytest.raises(PartDamaged, match=f"{ATTEMPTS} copies in turn were not the bytes"):
            read_part(spoilt.staging("corpus"), part, spoilt.storage_options)
        assert ATTEMPTS <= len(proxy.done) <= 6 * ATTEMPTS
        with pytest.raises(Exception, match="copies in turn were not the bytes"):
            spoilt.scan("corpus").collect()
    assert lake.scan("corpus").collect().height == undisturbed[0]["kept"]


@pytest.mark.slow
def test_a_store_that_is_away_ends_the_run_with_an_error_and_shows_nothing(port, crawl, block_list_cache, tmp_path):
    counting = Fault("503", chance=0.0)
    away = Fault("503", r"annotations")
    with FaultProxy(port, [counting, away]) as proxy:
        lake = Lake("s3://stemma-faults/away", options(proxy.url), tmp_path)
        with pytest.raises((OSError, Exception), match=r"(?i)slow|503|reduce"):
            make(lake, crawl, cache=block_list_cache)
        assert away.struck < 200, "attempts are bounded"
    calm = Lake("s3://stemma-faults/away", options(f"http://127.0.0.1:{port}"), tmp_path)
    assert calm.exists("documents", snapshot=SNAPSHOT) and not calm.exists("annotations")
