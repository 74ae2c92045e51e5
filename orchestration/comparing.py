"""All that the diff page shows of two corpora, made once for a pair and kept: a function of the pair's digests.

What `stemma diff` says (assets/differences.py), and beside it pages that only one side has, the WARC files that they
come from, and the words that tell them apart. It lies in STEMMA_HOME/cache/diff/<key>.json, written whole or not at
all. Addresses and words of pages are in it, so a takedown empties that folder.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from assets import policy
from assets.configs import digest
from assets.differences import compare
from assets.lake import Lake
from assets.parts import sync
from assets.searching.texts import texts_of
from assets.sides import Side
from assets.steps.ledger import FOUND, Ledger, removals
from assets.versions import CORPUS
from assets.vocabulary import frequencies, sample, telling
from orchestration.diff import Sides

FOLDER = Path("cache", "diff")
FORMAT = 2  # raised when the same pair would give another report
KEPT = 200  # reports that are kept; the oldest go
SHOWN = 40  # pages named of each side
FILES = 25  # WARC files named, those that differ most
READ = 1500  # texts of each group that words are counted in
WORDS = 30  # of each side,
SURE = 1.96  # and only those that are so many standard errors from none
PLACED = {"doc_id": pl.String, "snapshot": pl.String, "shard": pl.String, "warc_path": pl.String}
# what a policy's side is made from, and where texts are read
TABLES = ("documents", "annotations", "contamination", "page_quality")

OnStage = Callable[[str, int, int], None]  # what is done, how much of it, of how much


def key_of(lake: Lake, a: dict[str, Any], b: dict[str, Any]) -> str:
    """The name of a pair's report. a, b: what each side is (`identity`)."""
    ledger = Ledger(lake.local)
    begun = [entry.number for entry in ledger.entries() if ledger.read(entry.number, FOUND) is not None]
    return digest({"format": FORMAT, "a": a, "b": b, "taken_down": begun, "tables": table_versions(lake)})


def identity(sides: Sides, name: str) -> dict[str, Any]:
    """What a name means now: equal where the same rows are meant. Raises what `Sides.of` raises."""
    if (folder := sides.folder_of(name)) is not None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        states = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return {"folder": str(folder.absolute()), "files": digest(states)}
    if sides.is_policy(name):
        return {"policy": policy.load(name, sides.home).digest}
    version = sides.version_of(name)
    made_from = sides.known.decided_from(version)
    return {
        "version": version.digest,
        "made_from": {n: [held.data_version for held in h] for n, h in made_from.items()},
    }


def table_versions(lake: Lake) -> dict[str, str]:
    """The data versions of the tables that every report reads."""
    return {name: lake.version_of(name) for name in TABLES if lake.exists(name)}


def kept(home: Path, key: str) -> dict[str, Any] | None:
    """The report that was made of a pair, None where it was not, or cannot be read any more."""
    try:
        return json.loads((home / FOLDER / f"{key}.json").read_bytes())
    except (OSError, ValueError):
        return None


def keep(home: Path, key: str, report: dict[str, Any]) -> None:
    """Writes a report, atomically, and removes the oldest beyond KEPT."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}"
    temporary.write_text(json.dumps(report, separators=(",", ":"), default=str))
    sync(temporary)
    os.replace(temporary, folder / f"{key}.json")
    reports = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in reports[:-KEPT]:
        path.unlink(missing_ok=True)


def report_of(
    lake: Lake, a: Side, b: Side, tokens: tuple[int | None, int | None] = (None, None), on_stage: OnStage | None = None
) -> dict[str, Any]:
    """The report. Raises AccountingError and what the sides raise."""
    say = on_stage or (lambda what, done, total: None)
    say("pages are compared", 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        found = compare(
            a,
            b,
            removed=removals(lake.local),
            tokens=tokens,
            out=Path(scratch),
            on_range=lambda done, total: say("pages are compared", done, total),
        )
        only = [pl.read_parquet(Path(scratch) / f"only_in_{one}.parquet") for one in "ab"]
    report = found.to_json()
    report["lengths"] = [{str(bits): n for bits, n in one.lengths.items()} for one in (found.a, found.b)]
    say("pages are placed", 0, 1)
    placed = _placed(lake, (a, b))
    report["files"] = _files(only, placed)
    report["samples"] = [_samples(rows) for rows in only]
    report["vocabulary"] = _vocabulary(lake, a, b, only, placed, say)
    return report


def _placed(lake: Lake, sides: tuple[Side, Side]) -> pl.DataFrame:
    """Columns PLACED of the documents as they are now, and of those of folders."""
    frames = [pl.DataFrame(schema=PLACED)]
    if lake.exists("documents"):
        frames.append(lake.scan("documents").select(list(PLACED)).collect())
    for files in map(_files_of, sides):
        if files:
            rows = pl.scan_parquet(files, hive_partitioning=False)
            known = rows.collect_schema().names()
            columns = [pl.col(n) if n in known else pl.lit(None, pl.String).alias(n) for n in PLACED]
            frames.append(rows.select(columns).collect())
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True)


def _files_of(side: Side) -> list[Path]:
    """The Parquet files that hold the texts of a folder's pages."""
    if side.kind not in ("folder", "restored version"):
        return []
    folder = Path(side.name, "documents" if side.kind == "folder" else CORPUS)
    return sorted(folder.rglob("*.parquet"))


def _files(only: list[pl.DataFrame], placed: pl.DataFrame) -> list[tuple[str, int, int]]:
    """[WARC file, pages only in A, pages only in B], those that differ most first; "" for pages that are gone."""
    where = placed.select("doc_id", "warc_path")
    counted = [
        rows.join(where, on="doc_id", how="left").group_by(pl.col("warc_path").fill_null("")).len(name)
        for name, rows in zip("ab", only)
    ]
    both = counted[0].join(counted[1], on="warc_path", how="full", coalesce=True).with_columns(pl.all().fill_null(0))
    order = pl.max_horizontal("a", "b").cast(pl.Int64)
    return both.sort(order, "warc_path", descending=[True, False]).head(FILES).select("warc_path", "a", "b").rows()


def _samples(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Some pages of every reason, as many of each as there is room for, drawn by their ids."""
    by_reason = rows.partition_by("reason", maintain_order=True)
    each = max(1, SHOWN // max(1, len(by_reason)))
    drawn = [some.filter(pl.col("doc_id").is_in(sample(some["doc_id"], each))) for some in by_reason]
    found = pl.concat(drawn) if drawn else rows
    return found.sort("reason", "doc_id").head(SHOWN).to_dicts()


def _vocabulary(
    lake: Lake, a: Side, b: Side, only: list[pl.DataFrame], placed: pl.DataFrame, say: OnStage
) -> dict[str, Any]:
    """Words that tell pages only in A from pages only in B. Where one has none of its own, from those of both.

    Texts are as extracted, of pages that are still there, so that placeholders of one side are no difference.
    """
    own = [set(rows["doc_id"]) for rows in only]
    common = set(a.kept(pl.lit(True)).select("doc_id").collect()["doc_id"]) - own[0]
    drawn = [sample(ids, READ) for ids in (*own, common)]
    counted, read = [], 0
    for ids in drawn:
        say("words are counted", read, sum(map(len, drawn)))
        counted.append(frequencies(_texts(lake, (a, b), placed.filter(pl.col("doc_id").is_in(ids)))))
        read += len(ids)
    first, second, background = counted
    groups = ["only" if group[1] else "common" for group in (first, second)]
    one, two = (group if group[1] else background for group in (first, second))
    every = (first[0] + second[0] + background[0], first[1] + second[1] + background[1])
    telling_words = telling(one, two, every, WORDS) if "only" in groups else ([], [])
    return {
        "groups": groups,
        "texts": [one[1], two[1], every[1]],
        "words": [[asdict(word) for word in words if abs(word.z) >= SURE] for words in telling_words],
    }


def _texts(lake: Lake, sides: tuple[Side, Side], rows: pl.DataFrame) -> Iterator[str]:
    """The texts of some documents: of the home, else of a folder."""
    at_home = rows.drop_nulls(["snapshot", "shard"]).select("snapshot", "shard", "doc_id").rows()
    found = {i: text for (_, i), text in texts_of(lake, at_home).items()} if lake.exists("documents") else {}
    yield from found.values()
    left = set(rows["doc_id"]) - set(found)
    for files in map(_files_of, sides):
        if files and left:
            wanted = pl.scan_parquet(files, hive_partitioning=False).filter(pl.col("doc_id").is_in(sorted(left)))
            some = wanted.select("doc_id", "text").collect()
            left -= set(some["doc_id"])
            yield from some["text"].fill_null("")
