"""Address rules: the decisions of datatrove's URLFilter, from hash arrays that processes share."""

import gzip
import multiprocessing
import random
import subprocess
import sys
import tarfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from xxhash import xxh3_64_intdigest

from assets.steps.warc import Page, read
from kernels.text.urls import PAGE, BlockListsMissing, SortedHashes, UrlRules

OUR_NAMES = {
    "domain": "blocked_domain",
    "subdomain": "blocked_fqdn",
    "url": "blocked_url",
    "hard_blacklisted": "banned_word",
    "soft_blacklisted": "soft_words",
    "blacklisted_subword": "banned_subword",
}


def write_lists(
    folder: Path, domains: str, urls: str = "", banned: str = "", soft: str = "", subwords: str = ""
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domains").write_text(domains)
    (folder / "urls").write_text(urls)
    with tarfile.open(folder / "url_filterblacklistsv0_3_0.tar.gz", "w:gz") as tar:
        for name in ("domains", "urls"):
            tar.add(folder / name, name)
    for name, words in (("banned_words", banned), ("soft_banned_words", soft), ("banned_subwords", subwords)):
        (folder / f"{name}.txt").write_text(words)
    return folder


@pytest.fixture
def rules(tmp_path):
    lists = write_lists(
        tmp_path / "lists",
        "# comment\nbad-site.com\nforum.mixed.co.uk\n",
        urls="http://a.com/page\n",
        banned="Ban-ned\n",
        soft="soft\nsecond\n",
        subwords="sub-word\n",
    )
    return UrlRules.load(tmp_path / "cache", lists)


@pytest.mark.parametrize(
    ("url", "flag"),
    [
        ("http://www.good.com/", None),
        ("http://www.bad-site.com/x", "blocked_domain"),
        ("http://forum.mixed.co.uk/x", "blocked_fqdn"),
        ("http://mixed.co.uk/x", None),
        ("http://a.com/page", "blocked_url"),
        ("http://a.com/page/", None),
        ("http://a.com/banned.html", "banned_word"),
        ("http://a.com/BANNED.html", None),
        ("http://a.com/abanned.html", None),
        ("http://a.com/soft", None),
        ("http://a.com/soft/soft", None),
        ("http://a.com/soft-second", "soft_words"),
        ("http://a.com/xs-UB/wordx", "banned_subword"),
    ],
)
def test_each_rule_flags_its_addresses(rules, url, flag):
    assert rules.flag(url) == flag


def test_empty_line_in_a_list_is_an_entry_as_in_datatrove(tmp_path):
    """Hosts without a registered domain are looked up as the empty string."""
    rules = UrlRules.load(tmp_path / "cache", write_lists(tmp_path / "lists", "a.com\n\nb.com\n"))
    assert rules.flag("http://localhost/") == "blocked_domain"
    assert rules.flag("http://c.com/") is None


def test_other_lists_are_other_files(tmp_path):
    first = UrlRules.load(tmp_path / "cache", write_lists(tmp_path / "lists", "a.com\n"))
    second = UrlRules.load(tmp_path / "cache", write_lists(tmp_path / "lists", "b.com\n"))
    assert (first.flag("http://a.com/"), second.flag("http://a.com/")) == ("blocked_domain", None)
    assert len(list((tmp_path / "cache").glob("url-domains-*.npy"))) == 2


def load_and_flag(folders: tuple[Path, Path]) -> str | None:
    return UrlRules.load(*folders).flag("http://d77-site.com/")


def test_processes_that_build_at_once_all_get_whole_lists(tmp_path):
    lists = write_lists(tmp_path / "lists", "".join(f"d{n}-site.com\n" for n in range(50_000)))
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(load_and_flag, [(tmp_path / "cache", lists)] * 6)) == ["blocked_domain"] * 6
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_missing_list_is_a_typed_error(tmp_path):
    lists = write_lists(tmp_path / "lists", "a.com\n")
    (lists / "banned_words.txt").unlink()
    with pytest.raises(BlockListsMissing, match="banned_words"):
        UrlRules.load(tmp_path / "cache", lists)


@pytest.fixture(scope="session")
def wheel_cache(tmp_path_factory) -> Path:
    """The cache of datatrove's own lists, built in a process of its own; its peak memory in MB stands beside it."""
    cache = tmp_path_factory.mktemp("url-cache")
    program = (
        "import sys; from pathlib import Path; from kernels.text.urls import UrlRules;"
        "r = UrlRules.load(sys.argv[1]);"
        "assert r.flag('http://www.pornhub.com/') == 'blocked_domain';"
        "status = Path('/proc/self/status').read_text();"
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)"
    )
    out = subprocess.run([sys.executable, "-c", program, str(cache)], capture_output=True, text=True, check=True)
    (cache / "peak_mb").write_text(out.stdout)
    return cache


def test_building_from_the_wheel_stays_under_150_mb(wheel_cache):
    assert int((wheel_cache / "peak_mb").read_text()) < 150


def test_lists_of_the_wheel_are_complete_and_sorted(wheel_cache):
    rules = UrlRules.load(wheel_cache)
    assert (len(rules.domains), len(rules.urls)) == (4_558_940, 19_587)
    (path,) = wheel_cache.glob("url-domains-*.npy")
    assert np.all(np.diff(np.load(path)) > 0)


def test_look_ups_in_a_file_of_hashes_are_those_of_the_set(tmp_path):
    entries = [f"host-{i}.example" for i in range(2 * PAGE + 1)]
    for size in (0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1):
        np.save(tmp_path / "hashes.npy", np.sort(np.array([xxh3_64_intdigest(e) for e in entries[:size]], np.uint64)))
        hashes = SortedHashes(tmp_path / "hashes.npy")
        assert len(hashes) == size
        assert [entry in hashes for entry in entries] == [i < size for i in range(len(entries))]


def test_the_lists_take_little_memory(wheel_cache):
    program = (
        "import sys; from pathlib import Path; from kernels.text.urls import UrlRules;"
        "held = lambda: int(Path('/proc/self/status').read_text().partition('VmRSS:')[2].split()[0]) / 1024;"
        "before = held(); r = UrlRules.load(sys.argv[1]);"
        "[r.flag(f'http://host-{i}.example.com/page/{i}') for i in range(20_000)]; print(held() - before)"
    )
    out = subprocess.run([sys.executable, "-c", program, str(wheel_cache)], capture_output=True, text=True, check=True)
    assert float(out.stdout) < 30


def test_real_pages_of_the_bundled_crawl_are_hardly_ever_flagged(wheel_cache, bundled_crawl):
    rules = UrlRules.load(wheel_cache)
    urls = [
        page.url for path in sorted(bundled_crawl.glob("*/*")) for page in read(path, "f") if isinstance(page, Page)
    ]
    flagged = [url for url in urls if rules.flag(url)]
    assert len(urls) == 433
    assert len(flagged) < 0.03 * len(urls)


def mutations(url: str, draw: random.Random) -> list[str]:
    words = ["sex", "Porn", "xxx", "teen", "cam", "escort", "free-videos", "hot"]
    return [
        url,
        url.upper(),
        url.replace("://", f"://{draw.choice(words)}."),
        f"{url.rstrip('/')}/{draw.choice(words)}-{draw.choice(words)}/{draw.choice(words)}.html",
        url.rstrip("/"),
        url + "#" + draw.choice(words),
    ]


@pytest.mark.slow
def test_decisions_equal_datatroves(wheel_cache, bundled_crawl, shared_data, tmp_path, monkeypatch):
    """On real, listed and mutated addresses. The peer's lists take 0.8 GB and some seconds."""
    pytest.importorskip("fasteners", reason="datatrove's URLFilter asks for it: pip install fasteners")
    from datatrove.data import Document
    from datatrove.pipeline.filters import URLFilter, url_filter

    monkeypatch.setattr(url_filter, "cached_assets_path", lambda **_: str(tmp_path))  # not in the user's home

    draw = random.Random(6)
    urls = [
        page.url for path in sorted(bundled_crawl.glob("*/*")) for page in read(path, "f") if isinstance(page, Page)
    ]
    for path in sorted((shared_data / "urlfilter" / "ut1").glob("*.gz")):
        entries = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").split("\n")
        urls += [f"http://{entry}/" for entry in draw.sample(entries, min(100, len(entries))) if entry]
    lists = Path(sys.modules["datatrove"].__file__).parent / "assets"
    for name in ("banned_words", "soft_banned_words", "banned_subwords"):
        entries = (lists / f"{name}.txt").read_text().split("\n")
        urls += [f"https://a.example/{entry.replace(' ', '-')}/{draw.choice(entries)}" for entry in entries]
    with tarfile.open(lists / "url_filterblacklistsv0_3_0.tar.gz") as tar:
        listed = tar.extractfile("urls").read().decode().split("\n")
    urls += [url for url in draw.sample(listed, 500) if url]
    urls += [
        "http://localhost/",
        "http://1.2.3.4/",
        "http://[::1]/",
        "not a url",
        "http://.com/",
        "http://ü.example/sex",
    ]
    urls = [mutated for url in urls for mutated in mutations(url, draw)]
    peer = URLFilter()
    expected = []
    for url in urls:
        verdict = peer.filter(Document(text="", id="0", metadata={"url": url}))
        expected.append(None if verdict is True else OUR_NAMES[verdict[1]])
    rules = UrlRules.load(wheel_cache)
    assert [rules.flag(url) for url in urls] == expected
    assert len(urls) > 5_000
    assert set(expected) == {None, *OUR_NAMES.values()}
