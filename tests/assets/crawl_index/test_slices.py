"""Slices follow each other without a gap or a repeat, whatever goes wrong on the way, and never pass their budget."""

import gzip
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from assets.crawl_index.accounts import table, unaccounted
from assets.crawl_index.fetches import Fetches
from assets.crawl_index.files import TABLE
from assets.crawl_index.journal import AlreadyFetching, only_one
from assets.crawl_index.moving import Limits
from assets.crawl_index.planning import make_plan
from assets.crawl_index.selection import Selection
from assets.crawl_index.spending import BudgetPassed
from assets.crawl_index.subscription import Subscription
from assets.crawl_index.subscriptions import discover
from assets.crawl_index.taking import take
from tests.assets.crawl_index.outcome import visible, warcs
from tests.assets.crawl_index.stand_in import SNAPSHOT, write_index
from tests.faults.proxy import Fault, FaultProxy

QUICK = Limits(concurrency=4, attempts=6, wait_s=0.001, max_wait_s=0.01, timeout_s=0.5, damaged=1000)


def subscription(source: object, records: int = 100, **fields) -> Subscription:
    return Subscription.model_validate(
        {"name": "web", "follow": [SNAPSHOT], "source": str(source), "per_night": {"records": records}} | fields
    )


def take_all(one: Subscription, out: Path, **options) -> int:
    """Slices until nothing is due; how many."""
    for number in range(100):
        due = discover([one], str(out))
        if not due:
            return number
        take(one, SNAPSHOT, str(out), out, **options)
    raise AssertionError("it never ends")


def places(out: Path) -> list[tuple[str, int]]:
    """(file, offset) of everything that was planned, slice by slice."""
    plans = [pl.read_parquet(out / "fetches" / done.name / "plan.parquet") for done in Fetches.read(str(out)).done]
    return [place for plan in plans for place in plan.select("warc_filename", "warc_offset").iter_rows()]


@pytest.mark.parametrize("records", [37, 100, 1000])
def test_slices_of_any_size_make_up_the_selection(records, common_crawl, tmp_path):
    whole = make_plan(str(common_crawl), Selection(SNAPSHOT))
    one = subscription(common_crawl, records)
    assert take_all(one, tmp_path) == -(-whole.records.height // records) + (whole.records.height % records == 0)
    found = places(tmp_path)
    assert sorted(found) == list(whole.records.select("warc_filename", "warc_offset").iter_rows())
    assert unaccounted(str(tmp_path), SNAPSHOT) == {}
    left_out = pl.read_parquet(tmp_path / "left-out" / SNAPSHOT / "*.parquet")
    assert set(left_out["reason"]) <= {"same_payload", "held", "opt_out:noai"}


def test_an_index_that_was_published_anew_is_begun_again_and_nothing_comes_twice(common_crawl, tmp_path):
    root = tmp_path / "bucket"
    shutil.copytree(common_crawl, root)
    one, out = subscription(root, 150), tmp_path / "crawl"
    take(one, SNAPSHOT, str(out), out)
    folder = root / TABLE / f"crawl={SNAPSHOT}" / "subset=warc"
    rows = pl.concat(pl.read_parquet(path, hive_partitioning=False) for path in sorted(folder.iterdir()))
    shutil.rmtree(folder)
    write_index(rows.to_dicts()[::-1], folder / "part-other.gz.parquet")
    take_all(one, out)
    records = pl.concat(
        pl.read_parquet(out / "fetches" / done.name / "records.parquet") for done in Fetches.read(str(out)).done
    )
    assert records["content_digest"].is_unique().all()
    assert records.height >= make_plan(str(common_crawl), Selection(SNAPSHOT)).records.height - 1


def test_what_came_is_another_subscription_s_too(common_crawl, tmp_path):
    take(subscription(common_crawl, 60), SNAPSHOT, str(tmp_path), tmp_path)
    other = subscription(common_crawl, 1000, name="other", select={"languages": ["eng"]})
    plan = discover([other], str(tmp_path))[0].slice().plan
    before = pl.read_parquet(next(tmp_path.glob("fetches/*/records.parquet")))
    assert not set(plan.records["content_digest"]) & set(before["content_digest"])
    assert plan.totals()["left_out"]["held"] > 0


def test_retries_count_and_the_budget_is_never_passed(common_crawl, web, tmp_path):
    calm = subscription(common_crawl, 60, price="s3-internet")
    take(calm, SNAPSHOT, str(tmp_path / "calm"), tmp_path / "calm")
    cost = Fetches.read(str(tmp_path / "calm")).done[0].cost
    assert cost["moved"]["usd"] == pytest.approx(cost["planned"]["cost_usd"])
    budget = {"snapshot_usd": cost["planned"]["cost_usd"] * 1.2}
    index = {"index": str(common_crawl), "price": "s3-internet", "budget": budget}
    with FaultProxy(web.port, [Fault("flip", r"\.warc\.gz")]) as proxy:
        one = subscription(proxy.url, 60, **index)
        web.served.clear()
        patient = replace(QUICK, damaged=10_000)  # what is damaged every time ends with the money, not as a reject
        with pytest.raises(BudgetPassed, match="go on"):
            take(one, SNAPSHOT, str(tmp_path / "wild"), tmp_path / "wild", limits=patient)
        moved = sum(end - start for _, start, end in web.served) * 0.09e-9 + len(web.served) * 4e-7
        assert 0 < moved <= budget["snapshot_usd"] and warcs(tmp_path / "wild") == {}
        proxy.faults.clear()
        richer = one.model_copy(update={"budget": type(one.budget)(snapshot_usd=1.0)})
        take(richer, SNAPSHOT, str(tmp_path / "wild"), tmp_path / "wild", limits=QUICK)
    # not byte for byte: a flipped bit in the time of a gzip member's header passes every check
    wild, whole = (
        pl.read_parquet(next((tmp_path / name).glob("fetches/*/records.parquet"))) for name in ("wild", "calm")
    )
    assert wild["content_digest"].to_list() == whole["content_digest"].to_list()
    assert Fetches.read(str(tmp_path / "wild")).done[0].cost["moved"]["usd"] > cost["moved"]["usd"]


def test_two_nights_at_once_are_one_too_many(common_crawl, tmp_path):
    with only_one(tmp_path / ".fetch" / "next"), pytest.raises(AlreadyFetching):
        take(subscription(common_crawl), SNAPSHOT, str(tmp_path), tmp_path)
    assert visible(tmp_path) == {}


def test_through_a_storm_of_503_slices_come_whole(common_crawl, web, tmp_path):
    with FaultProxy(web.port, [Fault("503", chance=0.3)], seed=4) as proxy:
        stormy = subscription(proxy.url, 80)
        take(stormy, SNAPSHOT, str(tmp_path / "wild"), tmp_path / "wild", limits=QUICK)
        assert len(proxy.done) > 3
    take(subscription(common_crawl, 80), SNAPSHOT, str(tmp_path / "calm"), tmp_path / "calm")
    assert list(warcs(tmp_path / "wild").values()) == list(warcs(tmp_path / "calm").values())


def test_a_clock_that_jumps_changes_no_byte(common_crawl, tmp_path, monkeypatch):
    one, coin = subscription(common_crawl, 60), random.Random(0)
    take(one, SNAPSHOT, str(tmp_path / "calm"), tmp_path / "calm")
    monkeypatch.setattr(time, "time", lambda: coin.uniform(0, 4e9))
    monkeypatch.setattr(time, "time_ns", lambda: coin.randrange(4 * 10**18))
    take(one, SNAPSHOT, str(tmp_path / "wild"), tmp_path / "wild")
    assert visible(tmp_path / "wild") == visible(tmp_path / "calm")


ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=700k none "$3"
"$0" -c "$1" "$2" "$3/crawl" 2> "$3/../first" && exit 9
ls "$3/crawl/"
mount -o remount,size=60m "$3"
"$0" -c "$1" "$2" "$3/crawl"
cp -r "$3/crawl" "$3/../kept"
"""
FETCH = (
    "import sys; from pathlib import Path; from assets.crawl_index.fetch import fetch; fetch(*map(Path, sys.argv[1:]))"
)


def test_a_disk_that_fills_ends_the_fetch_and_loses_nothing(plan_path, undisturbed, tmp_path):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("a disk of our own to fill needs root and unshare")
    (tmp_path / "disk").mkdir()
    command = ["unshare", "-m", "sh", "-c", ON_A_SMALL_DISK, sys.executable, FETCH, plan_path, tmp_path / "disk"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "mount" in done.stderr and not (tmp_path / "first").exists():
        pytest.skip(f"no mount here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "nothing is visible on the full disk"
    assert "StateUnwritable" in (tmp_path / "first").read_text()
    assert warcs(tmp_path / "kept") == undisturbed


def test_days_of_news_come_file_by_file_and_a_missing_one_stops_nothing(common_crawl, tmp_path):
    warc = next(iter(sorted((common_crawl / "crawl-data" / SNAPSHOT).rglob("cc-whirlwind.warc.gz")))).read_bytes()
    root, folder = tmp_path / "source", "crawl-data/CC-NEWS/2024/05"
    names = [f"{folder}/CC-NEWS-20240517120{i}00-0000{i}.warc.gz" for i in range(3)]
    (root / folder).mkdir(parents=True)
    (root / folder / "warc.paths.gz").write_bytes(gzip.compress("".join(f"{name}\n" for name in names).encode()))
    for name in names[1:]:
        (root / name).write_bytes(warc)
    fields = {"name": "news", "follow": "news", "since": "2024-05-17", "per_night": {"files": 1}}
    one = Subscription.model_validate({"source": str(root), **fields})
    out, nights = tmp_path / "crawl", []
    while due := discover([one], str(out)):
        nights.append(take(one, due[0].snapshot, str(out), out))
        assert len(nights) < 9
    assert [(night.records, night.rejects) for night in nights] == [(0, {"missing_file": 1}), (1, {}), (1, {})]
    row = table(str(out), "CC-NEWS-2024-05-17").row(0, named=True)
    assert (row["kind"], row["planned_records"], row["fetched_records"]) == ("files", 3, 2)
    assert row["rejected"] == [{"reason": "missing_file", "records": 1}] and len(warcs(out)) == 2
