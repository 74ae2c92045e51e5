"""A file of subscriptions says what is due and what it would move; a wrong one is refused by line and field."""

import gzip
import json
from pathlib import Path

import pytest

from assets.crawl_index import subscriptions
from assets.crawl_index.files import IndexMissing
from assets.crawl_index.published import main_snapshots
from assets.crawl_index.selection import Selection
from assets.crawl_index.spending import BudgetPassed
from assets.crawl_index.subscriptions import SubscriptionsUnusable, discover, find, load
from tests.assets.crawl_index.stand_in import SNAPSHOT

EXAMPLE = Path(subscriptions.__file__).with_name("subscriptions.example.yaml")
HEAD = "subscriptions:\n  - name: web\n    follow: newest\n"


@pytest.fixture
def written(tmp_path):
    """Writes a file of one subscription, the lines after its name and what it follows given; loads it."""

    def write(*lines: str, follow: str = "newest"):
        path = tmp_path / "subscriptions.yaml"
        head = f"subscriptions:\n  - name: web\n    follow: {follow}\n"
        path.write_text(head + "".join(f"    {line}\n" for line in lines))
        return load(path)

    return write


@pytest.fixture
def news(tmp_path, bundled_crawl) -> Path:
    """A source with two months of news: five files on three days."""
    warc = next(iter(sorted(bundled_crawl.rglob("cc-whirlwind.warc.gz")))).read_bytes()
    root = tmp_path / "news"
    for month, days in (("05", (17, 17, 18)), ("06", (1, 1))):
        folder = f"crawl-data/CC-NEWS/2024/{month}"
        names = [f"{folder}/CC-NEWS-2024{month}{day:02}12000{i}-0000{i}.warc.gz" for i, day in enumerate(days)]
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / name).write_bytes(warc)
        (root / folder / "warc.paths.gz").write_bytes(gzip.compress("".join(f"{n}\n" for n in names).encode()))
    return root


def test_the_example_holds_and_names_every_field():
    web, news = load(EXAMPLE)
    shown = EXAMPLE.read_text()
    for model in (type(web), type(web.select), type(web.per_night), type(web.budget)):
        assert [name for name in model.model_fields if name != "base" and f"{name}:" not in shown] == []
    assert web.selection("CC-MAIN-2024-22").languages == ("eng",) and news.by_files
    assert web.concerns("CC-MAIN-2024-22") and not web.concerns("CC-NEWS-2026-11-02")
    assert news.concerns("CC-NEWS-2026-11-02") and not news.concerns("CC-NEWS-2026-10-31")


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("subscriptions:\n  - name: [", 2, "YAML"),
        ("snapshots: []", 1, "subscriptions"),
        (HEAD + "    per_nigth: {records: 5}\n", 4, "per_nigth: unknown key"),
        (HEAD + "    per_night:\n      records: 0\n", 5, "per_night.records"),
        (HEAD + "    per_night: {records: 5, bytes: 5}\n", 4, "exactly one"),
        (HEAD + "    per_night: {records: 5}\n    select:\n      hosts: []\n      language: [eng]\n", 7, "language"),
        (HEAD + "    per_night: {records: 5}\n    select: {languages: [english]}\n", 2, "'english'"),
        (HEAD + "    per_night: {records: 5}\n    budget: {slice_usd: much}\n", 5, "budget.slice_usd"),
        (HEAD + "    per_night: {files: 5}\n    select: {languages: [eng]}\n", 2, "select"),
        (HEAD + "    per_night: {records: 5}\n    base: /etc\n", 5, "base: unknown key"),
        (HEAD, 2, "per_night"),
        ("subscriptions:\n  - name: news\n    follow: news\n    per_night: {files: 1}\n", 2, "since"),
        (HEAD + "    per_night: {records: 5}\n  - name: web\n    follow: [x]\n    per_night: {files: 1}\n", 5, "two"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_field(text, line, named, tmp_path):
    path = tmp_path / "subscriptions.yaml"
    path.write_text(text)
    with pytest.raises(SubscriptionsUnusable, match=rf"subscriptions\.yaml, line {line}: .*{named}"):
        load(path)


def test_where_there_is_no_file_nothing_is_followed_and_a_named_one_must_be_there(tmp_path, monkeypatch):
    monkeypatch.delenv("STEMMA_SUBSCRIPTIONS", raising=False)
    assert find(tmp_path) is None and load(None) == [] and discover([], str(tmp_path)) == []
    (tmp_path / "subscriptions.yaml").write_text("subscriptions: []")
    assert load(find(tmp_path)) == []
    monkeypatch.setenv("STEMMA_SUBSCRIPTIONS", str(tmp_path / "other.yaml"))
    with pytest.raises(SubscriptionsUnusable, match=r"other\.yaml"):
        load(find(tmp_path))


def test_the_newest_snapshot_is_found_in_a_folder_a_bucket_and_on_a_web_server(common_crawl, web, bucket, tmp_path):
    collections = tmp_path / "collinfo.json"
    collections.write_text(json.dumps([{"id": "CC-MAIN-2024-98"}, {"id": SNAPSHOT}, {"id": "CC-MAIN-2008-2009"}]))
    assert main_snapshots(str(common_crawl), None) == [SNAPSHOT]
    assert main_snapshots(bucket.url, None, bucket.options) == [SNAPSHOT]
    assert main_snapshots(web.url, str(collections)) == ["CC-MAIN-2024-98", SNAPSHOT]
    with pytest.raises(IndexMissing, match=r"collinfo\.json.*published"):
        main_snapshots(web.url, None)


def test_what_is_due_says_what_it_would_move_and_moves_nothing(written, common_crawl, tmp_path):
    asked = written(f"source: {common_crawl}", "select: {languages: [eng]}", "per_night: {records: 25}")
    (due,) = discover(asked, str(tmp_path / "crawl"))
    assert due.snapshot == SNAPSHOT and "published" in due.why
    totals = due.totals()
    assert totals["records"] == 25 and totals["bytes"] > 0 and totals["cost_usd"] == 0
    assert not (tmp_path / "crawl").exists()
    assert discover(asked, str(tmp_path / "crawl"), snapshot="CC-MAIN-2020-34") == []


def test_a_slice_is_at_most_a_night_s_bytes_and_the_whole_limit(written, common_crawl, tmp_path):
    source = f"source: {common_crawl}"
    by_bytes = written(source, "per_night: {bytes: 200000}")[0]
    plan = discover([by_bytes], str(tmp_path))[0].slice().plan
    sizes = plan.records["warc_length"]
    assert plan.records.height > 1 and sizes.sum() >= 200_000 and sizes.sum() - sizes.max() < 200_000
    limited = written(source, "per_night: {records: 50}", "select: {limit: 7}")[0]
    plan = discover([limited], str(tmp_path))[0].slice().plan
    assert plan.records.height == 7 and plan.facts["slice"]["to"] is None
    assert plan.facts["selection"] == Selection(SNAPSHOT, limit=7).to_json()


def test_a_slice_that_would_pass_the_budget_is_refused(written, common_crawl, tmp_path):
    lines = (f"source: {common_crawl}", "per_night: {records: 25}", "price: s3-internet")
    for budget in ("{slice_usd: 0.00001}", "{snapshot_usd: 0.00001}"):
        with pytest.raises(BudgetPassed, match="budget has"):
            discover(written(*lines, f"budget: {budget}"), str(tmp_path))[0].slice()
    assert discover(written(*lines, "budget: {slice_usd: 1}"), str(tmp_path))[0].totals()["cost_usd"] > 0.00001


def test_days_of_news_are_due_one_after_the_other(written, news, tmp_path):
    lines = (f"source: {news}", "since: 2024-05-17", "per_night: {files: 2}", "snapshots_per_night: 9")
    due = discover(written(*lines, follow="news"), str(tmp_path / "crawl"))
    assert [one.snapshot for one in due] == ["CC-NEWS-2024-05-17", "CC-NEWS-2024-05-18", "CC-NEWS-2024-06-01"]
    assert due[0].totals()["files"] == 2 and due[0].totals()["bytes"] > 0
    later = (*lines[:1], "since: 2024-05-18", *lines[2:3])
    assert [one.snapshot for one in discover(written(*later, follow="news"), str(tmp_path))] == ["CC-NEWS-2024-05-18"]
    with pytest.raises(IndexMissing):
        discover(written(lines[0], "since: 2023-01-01", lines[2], follow="news"), str(tmp_path))
