"""A small whole home for takedowns: every table of the small crawl, a tokenizer, shards and a chain of models."""

from pathlib import Path

import polars as pl

from assets import policy
from assets.crawl import manifest_rows
from assets.lake import Lake
from assets.schemas import TABLES
from assets.steps import stages
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from models.artifacts import seal
from models.data import tokenize, tokenizer
from tests.assets.takedown_crawl import SNAPSHOT, WebPage, write_crawl

RULES = policy.load("fineweb")
PROGRAM = {"recipe": "smoke", "heldout_fraction": 0.4}
WORK_OF_SHARDS = Path("work", "token_shards", "0123456789abcdef")


def write_home(home: Path, root: Path, scratch: Path, bundled_crawl: Path, cache: Path, engine) -> list[list[WebPage]]:
    """Makes the crawl under `root` and all of the home; returns the pages of the crawl's files."""
    files, lake = write_crawl(root, bundled_crawl), Lake(home)
    home.mkdir()
    (home / "cache").symlink_to(cache)
    make_tables(lake, engine, root)
    tokenizer.run({**PROGRAM, "corpus_files": lake.files("corpus")}, scratch / "tokenizer", lambda line: None)
    lake.commit_dir("tokenizer", scratch / "tokenizer" / "final")
    shards(lake, home / WORK_OF_SHARDS)
    parent = None
    for asset in ("base_model", "sft_model", "rl_model", "released_model"):
        folder = scratch / asset
        folder.mkdir()
        if parent is None:
            ids = sorted(page.doc_id for page in files[0])
            rows = {"doc_id": ids, "tokens": [9] * len(ids), "times": [1] * len(ids)}
            pl.DataFrame(rows).write_parquet(folder / "consumed.parquet")
        seal(folder, asset, {"parent": parent})
        parent = lake.commit_dir(asset, folder).data_version
    return files


def make_tables(lake: Lake, engine, root, snapshot: str = SNAPSHOT) -> None:
    lake.write("crawl_manifest", manifest_rows(str(root), snapshot), replace={"snapshot": snapshot})
    stages.documents(lake, engine, snapshot, str(root))
    stages.annotations(lake, engine, snapshot)
    stages.annotation_statistics(lake, snapshot)
    stages.decisions(lake, snapshot, RULES)
    stages.signatures(lake, engine, snapshot)
    stages.duplicate_clusters(lake, snapshot)
    stages.repeated_text(lake, snapshot, RULES.dedup)
    stages.corpus(lake, engine, snapshot)
    stages.corpus_clusters(lake)


def shards(lake: Lake, out) -> str:
    """Digest of the token shards of the present corpus with the present tokenizer."""
    config = {**PROGRAM, "corpus_files": lake.files("corpus"), "tokenizer_dir": str(lake.open_dir("tokenizer"))}
    tokenize.run(config, out, lambda line: None)
    return lake.commit_dir("token_shards", out / "final").data_version


def ask(home, kind: str, value: str) -> int:
    return Ledger(home).add(scope(kind, value), "Ann", "hers")[0].number


def table_versions(lake: Lake) -> dict[str, str]:
    """All but the statistics, whose means are summed in whatever order the threads come."""
    return {name: lake.version_of(name) for name in TABLES if lake.exists(name) and name != "annotation_statistics"}


def decoder(home):
    found = tokenizer.load_tokenizer(Lake(home).open_dir("tokenizer"))
    return lambda ids: found.decode(ids, skip_special_tokens=False)


def add_made_data(home: Path, scratch: Path, pages: list[WebPage]) -> None:
    """Made data with a page's text in each row, in use and of an earlier version, and a run that was reading them."""
    lake = Lake(home)
    rows = {"doc_ids": [[page.doc_id] for page in pages], "prompt": [page.text for page in pages]}
    for name, n in (("earlier", len(pages) - 1), ("in-use", len(pages))):
        folder = scratch / name
        folder.mkdir()
        pl.DataFrame(rows).head(n).write_parquet(folder / "sft.parquet")
        seal(folder, "sft_dataset", {"rows": n})
        lake.commit_dir("sft_dataset", folder)
    done, begun = home / "work" / "sft_dataset" / "0123456789abcdef" / "final", home / "work" / "sft_model" / "fedcba98"
    for folder in (done, begun):
        folder.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(done / "sft.parquet")
    (begun / "batch.txt").write_text(pages[0].text)
