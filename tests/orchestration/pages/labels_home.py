"""A small home for labels: two dozen real pages and a hostile one, measured, decided, clustered and scored."""

from pathlib import Path

from assets.judgements import training
from assets.lake import Lake
from assets.steps import stages
from assets.steps.documents import documents_of
from models.config import QualityConfig
from tests.assets.conftest import HereEngine
from tests.assets.takedown_crawl import SNAPSHOT, WebPage, write_wet
from tests.assets.takedown_home import make_tables

NAME = "dolma-sample-0000.warc.gz"
HOSTILE = "<script>alert(1)</script> \u202eevil\u202c " + "long " * 9000


def write_home(place: Path, bundled_crawl: Path, block_list_cache: Path) -> Path:
    """Makes the crawl and the home below a folder; returns the home."""
    home = place / "home"
    documents, _, _ = documents_of(bundled_crawl / "web-sample-2024" / NAME, NAME, SNAPSHOT, "0")
    rows = zip(documents["url"].to_pylist(), documents["text"].to_pylist(), strict=True)
    pages = [WebPage(url, text, 1) for url, text in rows if text]
    write_wet(place / "crawl" / SNAPSHOT / "pages.warc.wet", [*pages, WebPage("https://evil.org/<b>", HOSTILE, 2)])
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    (home / "home.json").write_text('{"id": "0123"}')
    lake = Lake(home)
    make_tables(lake, HereEngine(), place / "crawl")
    stages.page_quality(lake, HereEngine(), SNAPSHOT)
    training.publish_packaged(lake, QualityConfig())
    return home
