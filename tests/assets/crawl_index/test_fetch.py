"""A fetch ends with the same bytes whatever happens on the way, moves no record twice, and names what never came."""

import hashlib
import random
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import polars as pl
import pytest

from assets.crawl_index import fetch as fetching
from assets.crawl_index.fetch import FetchIncomplete, fetch
from assets.crawl_index.journal import AlreadyFetching, only_one
from assets.crawl_index.moving import Limits
from assets.crawl_index.plan import Plan, left_out_path, read_plan, write_plan
from assets.crawl_index.planning import make_plan
from assets.crawl_index.selection import Selection
from assets.crawl_index.sources import SourceRefused
from assets.crawl_roots import listing, snapshots
from assets.steps import warc
from assets.steps.ledger import Ledger as Takedowns
from assets.steps.scopes import scope
from tests.assets.crawl_index.outcome import held_spans, moved_again, visible, warcs
from tests.assets.crawl_index.stand_in import SNAPSHOT
from tests.faults.proxy import KINDS, Fault, FaultProxy
from tests.faults.range_server import RangeServer

QUICK = Limits(concurrency=4, attempts=6, wait_s=0.001, max_wait_s=0.01, timeout_s=0.5)
PAGE = r"\.warc\.gz"


class Interrupted(Exception):
    """Stands for whatever ends a fetch."""


def test_the_fetched_files_are_the_chosen_records_and_the_crawl_assets_read_them(
    plan_path, undisturbed, web, common_crawl, tmp_path
):
    seen = []
    outcome = fetch(plan_path, tmp_path, source=web.url, progress=lambda done, total: seen.append((done, total)))
    plan = read_plan(plan_path)
    assert warcs(tmp_path) == undisturbed == {name: digest for name, digest, _ in outcome.files}
    assert outcome.records == plan.records.height and outcome.rejects == {}
    assert (outcome.requests, outcome.bytes) == (plan.totals()["requests"], plan.totals()["bytes"])
    assert seen[-1] == (outcome.records, outcome.records)
    assert snapshots(str(tmp_path)) == [SNAPSHOT]
    assert [path for path, _ in listing(str(tmp_path), SNAPSHOT)] == sorted(undisturbed)
    records = pl.read_parquet(next(tmp_path.glob("fetches/*/records.parquet")))
    for name in undisturbed:
        pages = list(warc.read(tmp_path / name, name))
        mine = records.filter(pl.col("warc_path") == name)
        assert [page.url for page in pages] == mine["url"].to_list()
        assert [(page.warc_offset, page.warc_length) for page in pages] == list(
            mine.select("warc_offset", "warc_length").iter_rows()
        )
    kept = next(tmp_path.glob("fetches/*"))
    assert (kept / "plan.parquet").read_bytes() == plan_path.read_bytes()
    assert pl.read_parquet(kept / "plan.left-out.parquet").equals(plan.left_out)
    first = records.row(0, named=True)
    page = warc.read_record(common_crawl / first["source_filename"], "x", first["source_offset"], first["warc_length"])
    assert page.url == first["url"] and set(records["verified_by"]) == {"index"}


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_any_number_of_requests_at_once_gives_the_same_bytes(concurrency, plan_path, undisturbed, tmp_path):
    fetch(plan_path, tmp_path, limits=Limits(concurrency=concurrency))
    assert warcs(tmp_path) == undisturbed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_through_each_fault_it_ends_with_the_same_bytes(kind, protocol, plan_path, undisturbed, web, bucket, tmp_path):
    times = 3 if kind == "stall" else 6
    faults = [Fault(kind, PAGE, times=times)]
    port = web.port if protocol == "http" else bucket.port
    with FaultProxy(port, faults, seed=1, stall_s=2.0) as proxy:
        source = proxy.url if protocol == "http" else bucket.url
        options = bucket.options | {"AWS_ENDPOINT_URL": proxy.url}
        outcome = fetch(plan_path, tmp_path, source=source, storage_options=options, limits=QUICK)
    assert [one for one, _ in proxy.done] == [kind] * times
    assert warcs(tmp_path) == undisturbed and outcome.rejects == {}


def test_through_a_storm_of_all_faults_it_ends_with_the_same_bytes(plan_path, undisturbed, web, tmp_path):
    kinds = ("503", "reset", "reset_midway", "truncate", "flip", "wrong_range", "drop_reply")
    faults = [Fault(kind, PAGE, chance=0.07) for kind in kinds]
    with FaultProxy(web.port, faults, seed=2) as proxy:
        for _ in range(10):
            try:
                fetch(plan_path, tmp_path, source=proxy.url, limits=QUICK)
                break
            except FetchIncomplete:
                assert warcs(tmp_path) == {}, "nothing is visible before all is there"
    assert len(proxy.done) > 3
    assert warcs(tmp_path) == undisturbed


def test_a_broken_stream_goes_on_from_the_last_good_byte(plan_path, web, tmp_path):
    with FaultProxy(web.port, [Fault("truncate", PAGE, times=4)]) as proxy:
        outcome = fetch(plan_path, tmp_path, source=proxy.url, limits=QUICK)
    totals = read_plan(plan_path).totals()
    assert outcome.bytes <= totals["bytes"] and outcome.requests == totals["requests"] + 4


@pytest.mark.parametrize("seed", range(20))
def test_interrupted_anywhere_it_goes_on_without_moving_a_record_twice(seed, plan_path, undisturbed, web, tmp_path):
    coin, plan = random.Random(seed), read_plan(plan_path)
    for _ in range(coin.randint(1, 3)):
        left = coin.randint(0, 45)

        def interrupt(done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Interrupted

        asked = len(web.served)
        before = held_spans(plan, tmp_path) if (tmp_path / ".fetch").is_dir() else set()
        with pytest.raises(Interrupted):
            fetch(plan_path, tmp_path, source=web.url, progress=interrupt, limits=Limits(coin.randint(1, 8)))
        assert visible(tmp_path) == {}, "nothing half-done is visible"
        assert moved_again(before, web.served[asked:]) == []
    before, asked = held_spans(plan, tmp_path), len(web.served)
    outcome = fetch(plan_path, tmp_path, source=web.url)
    assert moved_again(before, web.served[asked:]) == []
    assert warcs(tmp_path) == undisturbed and outcome.records == plan.records.height
    assert not list((tmp_path / ".fetch").iterdir())


@pytest.mark.parametrize("seed", range(5))
def test_torn_state_after_a_power_cut_is_noticed_and_fetched_again(seed, plan_path, undisturbed, tmp_path):
    coin = random.Random(seed)

    def interrupt(done: int, total: int) -> None:
        if done > 50:
            raise Interrupted

    with pytest.raises(Interrupted):
        fetch(plan_path, tmp_path, progress=interrupt)
    for path in [path for path in (tmp_path / ".fetch").glob("*/0*.*") if coin.random() < 0.8]:
        content = bytearray(path.read_bytes())
        if content:
            content[coin.randrange(len(content))] ^= 1 << coin.randrange(8)
            path.write_bytes(content[: coin.randint(len(content) // 2, len(content))])
    fetch(plan_path, tmp_path)
    assert warcs(tmp_path) == undisturbed


def test_interrupted_while_publishing_it_publishes_the_rest(plan_path, undisturbed, web, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "write_table", fail)
        with pytest.raises(Interrupted):
            fetch(plan_path, tmp_path, source=web.url)
    asked = len(web.served)
    fetch(plan_path, tmp_path, source=web.url)
    assert warcs(tmp_path) == undisturbed and len(web.served) == asked
    assert {Path(name).name for name in visible(tmp_path)} >= {"records.parquet", "rejects.parquet", "manifest.json"}


def test_a_fetch_that_is_done_asks_for_nothing(plan_path, web, tmp_path):
    first = fetch(plan_path, tmp_path, source=web.url)
    asked, made = len(web.served), visible(tmp_path)
    again = fetch(plan_path, tmp_path, source=web.url)
    assert (again.requests, again.bytes, again.files) == (0, 0, first.files)
    assert len(web.served) == asked and visible(tmp_path) == made


def test_two_at_once_are_one_too_many(plan_path, tmp_path):
    name = hashlib.sha256(plan_path.read_bytes()).hexdigest()[:12]
    with only_one(tmp_path / ".fetch" / name), pytest.raises(AlreadyFetching):
        fetch(plan_path, tmp_path)


def test_a_source_that_stays_broken_is_given_up_and_all_that_came_is_kept(plan_path, undisturbed, web, tmp_path):
    last = read_plan(plan_path).records["warc_filename"][-1].rsplit("/", 1)[1]
    with (
        FaultProxy(web.port, [Fault("wrong_range", last)]) as proxy,
        pytest.raises(FetchIncomplete, match=r"wrong_range.*go on"),
    ):
        fetch(plan_path, tmp_path, source=proxy.url, limits=QUICK)
    assert visible(tmp_path) == {} and held_spans(read_plan(plan_path), tmp_path)
    fetch(plan_path, tmp_path, source=web.url)
    assert warcs(tmp_path) == undisturbed


def test_a_bucket_that_refuses_us_ends_the_fetch(plan_path, bucket, tmp_path):
    with pytest.raises(SourceRefused, match="no-such-bucket"):
        fetch(plan_path, tmp_path, source="s3://no-such-bucket", storage_options=bucket.options, limits=QUICK)


def damaged_copy(common_crawl: Path, tmp_path: Path, plan_path: Path):
    """The stand-in's files in a folder of their own, and the plan's records."""
    root = tmp_path / "damaged"
    shutil.copytree(common_crawl / "crawl-data", root / "crawl-data")
    return root, read_plan(plan_path).records


@pytest.mark.parametrize("protocol", ["folder", "http"])
def test_what_the_source_does_not_have_is_rejected_by_name_and_the_rest_comes(
    protocol, common_crawl, plan_path, sliced, tmp_path
):
    root, records = damaged_copy(common_crawl, tmp_path, plan_path)
    names = records["warc_filename"].unique().sort().to_list()
    (root / names[0]).unlink()
    cut = records.filter(pl.col("warc_filename") == names[-1])
    half = cut.height // 2
    content = bytearray((root / names[-1]).read_bytes()[: cut["warc_offset"][half] + 10])
    swapped = cut.row(2, named=True)
    other = sliced(common_crawl, cut[3:4])[: swapped["warc_length"]].ljust(swapped["warc_length"], b"\0")
    content[swapped["warc_offset"] : swapped["warc_offset"] + len(other)] = other
    (root / names[-1]).write_bytes(content)
    missing = records.filter(pl.col("warc_filename") == names[0]).height
    if protocol == "folder":
        outcome = fetch(plan_path, tmp_path / "out", source=str(root))
    else:
        with RangeServer(root) as server:
            outcome = fetch(plan_path, tmp_path / "out", source=server.url, limits=QUICK)
    assert outcome.rejects.pop("missing_file") == missing
    assert outcome.rejects.pop("outside_file") == cut.height - half
    assert sum(outcome.rejects.values()) == 1, "the swapped record"
    assert outcome.records == records.height - missing - (cut.height - half) - 1
    rejects = pl.read_parquet(next((tmp_path / "out").glob("fetches/*/rejects.parquet")))
    assert rejects.height == records.height - outcome.records
    assert rejects.filter(pl.col("source_offset") == swapped["warc_offset"])["url"].to_list() == [swapped["url"]]


def test_a_payload_that_is_not_the_index_s_is_rejected_and_a_page_that_opts_out_is_not_kept(common_crawl, tmp_path):
    plan = make_plan(str(common_crawl), Selection(SNAPSHOT), source=str(common_crawl))
    wrong = plan.records["url"][0]
    records = plan.records.with_columns(
        pl.when(pl.col("url") == wrong).then(pl.lit("A" * 32)).otherwise("content_digest").alias("content_digest")
    )
    write_plan(Plan(records, plan.left_out, plan.facts), tmp_path / "plan.parquet")
    assert left_out_path(tmp_path / "plan.parquet").is_file()
    outcome = fetch(tmp_path / "plan.parquet", tmp_path / "out")
    assert outcome.rejects == {"digest_mismatch": 1, "opt_out:noai": 1}
    rejects = pl.read_parquet(next((tmp_path / "out").glob("fetches/*/rejects.parquet")))
    fetched = b"".join((tmp_path / "out" / name).read_bytes() for name in warcs(tmp_path / "out"))
    assert wrong in rejects["url"].to_list()
    for row in rejects.iter_rows(named=True):
        original = (common_crawl / row["source_filename"]).read_bytes()
        piece = original[row["source_offset"] : row["source_offset"] + row["source_length"]]
        assert piece not in fetched and zlib.decompress(piece, 31)


def test_a_takedown_after_the_plan_is_not_moved(plan_path, web, tmp_path):
    plan, takedowns = read_plan(plan_path), Takedowns(tmp_path)
    gone = plan.records.row(30, named=True)
    takedowns.add(scope("url", gone["url"]), "a person", "asked")
    outcome = fetch(plan_path, tmp_path / "out", source=web.url, refusal=takedowns.refusal())
    assert outcome.rejects == {"takedown:1": 1} and outcome.records == plan.records.height - 1
    span = (gone["warc_filename"], gone["warc_offset"], gone["warc_offset"] + gone["warc_length"])
    assert moved_again({span}, web.served) == []


DISK_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # a file that would grow further meets an error
from pathlib import Path
from assets.crawl_index.fetch import fetch
fetch(Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("room", [900, 100_000, 400_000])
def test_a_full_disk_ends_the_fetch_and_loses_nothing(room, plan_path, undisturbed, tmp_path):
    command = [sys.executable, "-c", DISK_FULL, str(room), str(plan_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "StateUnwritable" in done.stderr
    assert visible(tmp_path) == {}
    fetch(plan_path, tmp_path)
    assert warcs(tmp_path) == undisturbed
