"""Whole files come by the published list, equal to the source whatever happens on the way, and never twice."""

import gzip
import shutil
from pathlib import Path

import polars as pl
import pytest

from assets.crawl_index.files import IndexMissing, IndexUnreadable
from assets.crawl_index.moving import Limits
from assets.crawl_index.whole import fetch_files
from assets.crawl_roots import listing
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.range_server import RangeServer

NEWS, DAY = "CC-NEWS-2024-05", "CC-NEWS-2024-05-17"
QUICK = Limits(concurrency=2, attempts=6, wait_s=0.001, max_wait_s=0.01, timeout_s=0.5)


class Interrupted(Exception):
    """Stands for whatever ends a fetch."""


@pytest.fixture(scope="module")
def news(tmp_path_factory, bundled_crawl) -> Path:
    """A news crawl of two days in Common Crawl's layout."""
    root = tmp_path_factory.mktemp("news")
    folder = root / "crawl-data" / "CC-NEWS" / "2024" / "05"
    folder.mkdir(parents=True)
    names = []
    for number, path in enumerate(sorted(bundled_crawl.rglob("*.warc.gz"))):
        names.append(f"CC-NEWS-202405{16 + number % 2}030241-{number:05}.warc.gz")
        shutil.copyfile(path, folder / names[-1])
    lines = "".join(f"crawl-data/CC-NEWS/2024/05/{name}\n" for name in names)
    (folder / "warc.paths.gz").write_bytes(gzip.compress(lines.encode()))
    return root


def same(out: Path, snapshot: str, root: Path) -> int:
    """How many files are there, each equal to the source's."""
    found = list((out / snapshot).glob("*.warc.gz"))
    for path in found:
        assert path.read_bytes() == (root / "crawl-data/CC-NEWS/2024/05" / path.name).read_bytes()
    return len(found)


def test_a_month_or_a_day_of_news_comes_slice_by_slice(news, tmp_path):
    planned, made = fetch_files(str(news), NEWS, None, most=100)
    assert len(planned) == 7 and made.files == [] and all(size for _, size in planned)
    for came, there in ((2, 2), (1, 3), (0, 3)):
        sized, made = fetch_files(str(news), DAY, tmp_path, most=2)
        assert len(sized) == len(made.files) == came and same(tmp_path, DAY, news) == there
    assert all("CC-NEWS-20240517" in path for path, _ in listing(str(tmp_path), DAY))
    rows = pl.read_parquet(tmp_path / "fetches" / f"{DAY}.files.parquet")
    assert rows.height == 3 and rows["damaged_at"].is_null().all()
    assert rows["bytes"].to_list() == [size for _, size in listing(str(tmp_path), DAY)]


@pytest.mark.parametrize("kind", ["503", "reset_midway", "truncate", "stall", "wrong_range", "flip"])
def test_through_each_fault_the_files_equal_the_source(kind, news, tmp_path):
    with RangeServer(news) as server, FaultProxy(server.port, [Fault(kind, r"-0000\d", times=4)], stall_s=2) as proxy:
        _, made = fetch_files(proxy.url, NEWS, tmp_path, most=4, limits=QUICK)
    assert len(proxy.done) == 4 and len(made.files) == 4
    assert same(tmp_path, NEWS, news) == 4


def test_an_interrupted_file_goes_on_from_its_last_good_byte_and_is_not_seen_before_it_is_whole(news, tmp_path):
    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    with RangeServer(news) as server:
        faults = [Fault("truncate", r"-0000\d", after=7)]  # the sizes pass, then every body is cut
        with FaultProxy(server.port, faults) as proxy, pytest.raises(Interrupted):
            fetch_files(proxy.url, NEWS, tmp_path, most=7, limits=QUICK, progress=interrupt)
        assert {path.suffix for path in (tmp_path / ".fetch").rglob("*.*") if path.is_file()} == {".part"}
        before, held = same(tmp_path, NEWS, news), sum(p.stat().st_size for p in tmp_path.rglob("*.part"))
        assert held > 0
        fetch_files(server.url, NEWS, tmp_path, most=7)
        last = {name: start for name, start, end in server.served if end - start > 1}
    assert same(tmp_path, NEWS, news) == 7 > before
    assert any(start > 0 for start in last.values())


def test_what_is_damaged_at_the_source_comes_with_a_note_and_what_is_missing_is_named(news, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(news, root)
    files = sorted((root / "crawl-data/CC-NEWS/2024/05").glob("CC*"), key=lambda path: path.name[-13:])
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-500])
    _, made = fetch_files(str(root), NEWS, tmp_path / "out", most=3)
    assert [Path(name).name for name in made.missing] == [files[0].name]
    assert {Path(row[0]).name: row[-1] is not None for row in made.files} == {files[1].name: True, files[2].name: False}


def test_lists_that_are_absent_or_lead_outside_are_refused(news, tmp_path):
    with pytest.raises(IndexMissing):
        fetch_files(str(news), "CC-MAIN-1999-01", None)
    with pytest.raises(IndexMissing, match="lists no warc file"):
        fetch_files(str(news), "CC-NEWS-2024-05-30", None)
    folder = tmp_path / "crawl-data" / "CC-MAIN-2024-22"
    folder.mkdir(parents=True)
    (folder / "warc.paths.gz").write_bytes(gzip.compress(b"../../etc/passwd\n"))
    with pytest.raises(IndexUnreadable, match="no path"):
        fetch_files(str(tmp_path), "CC-MAIN-2024-22", None)
    (folder / "warc.paths.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(IndexUnreadable):
        fetch_files(str(tmp_path), "CC-MAIN-2024-22", None)
