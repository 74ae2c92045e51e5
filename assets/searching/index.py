"""The full-text index: which pages of a shard have a word in text, url or host; tantivy's files, one folder a shard.

`<home>/search/<snapshot>/<shard>/<name>/`. A shard is what a night adds and a takedown touches, so both cost no more
than that. A folder appears whole or not at all, with a manifest of its files.

The name is a function of the shard's documents and of FORMAT, not of the index's bytes: tantivy gives segments random
names and merges them in threads, so two indexes of the same pages differ in bytes and in no answer. They are a cache of
documents: the same inputs, the same name.

No text is kept: a row number and, in a file beside, its doc_id. But words and their order are a page's text in another
form, so `held` names these folders to whoever asks what holds a page, and a takedown has them made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl

from assets.artifacts import Commit
from assets.configs import digest
from assets.lake import Lake, TableMissing
from assets.parts import PartFile, data_version, file_sha256, read_batches, sync
from assets.searching.words import LONGEST_BYTES, PATTERN, fold
from assets.temporary import owned_folder
from assets.verified import PartDamaged, check

if TYPE_CHECKING:
    import tantivy

FOLDER, MANIFEST, IDS = "search", "manifest.json", "documents.parquet"
UNFINISHED, REMOVED = ".search-", ".removed-"  # how names of folders begin that are no index yet, or no more
FORMAT = 1  # raised when the same documents would give other answers
HEAP_BYTES = 64 << 20  # of words that the writer holds before it writes a segment
WORDS = "words"  # the tokenizer's name inside an index
READ = ["doc_id", "url", "host", "text"]

OnShard = Callable[[int, int, str], None]  # shards done, shards in all, the shard's name


class CorruptSearchIndex(RuntimeError):
    """A file of an index is absent or not the one that was written."""


@dataclass(frozen=True)
class Place:
    """Where the index of a shard lies, or would: `home/search/snapshot/shard/name`."""

    home: Path
    snapshot: str
    shard: str
    name: str

    @property
    def folder(self) -> Path:
        return self.home / FOLDER / self.snapshot / self.shard / self.name

    @property
    def is_there(self) -> bool:
        return (self.folder / MANIFEST).is_file()


def version_of(documents: str) -> str:
    """The data version of a snapshot's index, by the data version of its documents."""
    return digest({"documents": documents, "format": FORMAT})


def wanted(lake: Lake, snapshot: str | None = None) -> dict[Place, list[PartFile]]:
    """The index that each shard of the documents (of a snapshot) should have, and the parts it is of.

    Raises TableMissing.
    """
    by_shard: dict[tuple[str, str], list[PartFile]] = {}
    for part in lake.parts("documents", snapshot=snapshot):
        by_shard.setdefault((part.partition["snapshot"], part.partition["shard"]), []).append(part)
    return {Place(lake.local, *key, version_of(data_version(parts))): parts for key, parts in by_shard.items()}


def make(lake: Lake, snapshot: str, on_shard: OnShard | None = None) -> Commit:
    """Indexes every shard of a snapshot that has no index of its present documents, and removes indexes of others.

    Raises TableMissing, PartDamaged. Killed, it leaves whole shards, and the next call makes the rest.
    """
    places = wanted(lake, snapshot)
    for number, (place, parts) in enumerate(places.items()):
        if on_shard:
            on_shard(number, len(places), place.shard)
        if not place.is_there:
            _write(lake, place, parts)
    discard(lake.local / FOLDER / snapshot, {place.folder for place in places})
    parts = [part for own in places.values() for part in own]
    size = sum(entry["bytes"] for place in places for entry in manifest_of(place)["files"].values())
    return Commit(version_of(data_version(parts)), sum(part.rows for part in parts), size, 1)


def put_right(lake: Lake) -> None:
    """Makes the indexes that are there those of the documents as they are now; all else goes. Alone in the home."""
    for path in (lake.local / FOLDER).glob(f"*/*/{UNFINISHED}*"):
        shutil.rmtree(path)
    for folder in _folders(lake.local / FOLDER):
        try:
            make(lake, folder.name)
        except TableMissing:
            shutil.rmtree(folder)


def discard(folder: Path, used: set[Path]) -> None:
    """Removes every index below a snapshot's folder that is not used; what another run is writing stays."""
    for shard in _folders(folder):
        for path in _folders(shard):
            if path not in used and not path.name.startswith(UNFINISHED):
                _remove(path)
        if not any(shard.iterdir()):
            shard.rmdir()


def held(home: Path, ids: set[str]) -> Iterator[tuple[str, str, int, str]]:
    """(snapshot, data version, documents of those asked for, folder) of every snapshot's index that has words of them.

    Also what was left of an index that was being written or removed.
    """
    for snapshot in _folders(home / FOLDER) if ids else ():
        files = [path for shard in _folders(snapshot) for folder in _folders(shard) for path in [folder / IDS]]
        there = [path for path in files if path.is_file()]
        if not there:
            continue
        rows = pl.scan_parquet(there, hive_partitioning=False).filter(pl.col("doc_id").is_in(sorted(ids)))
        if n := rows.select(pl.col("doc_id").n_unique()).collect(engine="streaming").item():
            whole = [path.parent for path in there if not path.parent.name.startswith((UNFINISHED, REMOVED))]
            documents = {part["sha256"]: part["rows"] for folder in whole for part in _manifest(folder)["documents"]}
            lines = [PartFile("", sha256, rows, 0, {}) for sha256, rows in documents.items()]
            yield snapshot.name, version_of(data_version(lines)), n, str(snapshot)


def manifest_of(place: Place) -> dict[str, Any]:
    """The manifest of an index that is there, unverified."""
    return _manifest(place.folder)


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_bytes())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _remove(folder: Path) -> None:
    """Renames first, so that what a kill leaves of it is no index."""
    gone = folder if folder.name.startswith(REMOVED) else folder.with_name(f"{REMOVED}{folder.name}")
    if gone != folder:
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(folder, gone)
    shutil.rmtree(gone)


def _schema() -> tantivy.Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", fast=True)
    builder.add_text_field("text", tokenizer_name=WORDS)
    builder.add_text_field("url", tokenizer_name=WORDS)
    builder.add_text_field("host", tokenizer_name="raw", index_option="basic")
    return builder.build()


def analyzer() -> tantivy.TextAnalyzer:
    """What cuts folded text into words; `words.words` does the same."""
    import tantivy

    short = tantivy.Filter.remove_long(LONGEST_BYTES)
    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(PATTERN)).filter(short).build()


def domains(host: str) -> list[str]:
    """The host and every domain above it: what `host:` may name. Few labels: a host with thousands is no host."""
    labels = host.lower().strip(".").split(".")[-32:]
    return [".".join(labels[i:]) for i in range(len(labels))]


def _write(lake: Lake, place: Place, parts: list[PartFile]) -> None:
    """One shard's index, in one thread, in the order of parts and rows."""
    import tantivy

    with owned_folder(place.folder.parent, "search") as scratch:
        index = tantivy.Index(_schema(), path=str(scratch))
        index.register_tokenizer(WORDS, analyzer())
        writer, ids = index.writer(heap_size=HEAP_BYTES, num_threads=1), []
        for batch in read_batches(lake.staging("documents"), parts, READ, lake.storage_options):
            for doc_id, url, host, text in zip(*(batch.column(name).to_pylist() for name in READ), strict=True):
                page = tantivy.Document()
                page.add_unsigned("row", len(ids))
                page.add_text("text", fold(text or ""))
                page.add_text("url", fold(unquote(url or "")))
                for name in domains(host or ""):
                    page.add_text("host", name)
                writer.add_document(page)
                ids.append(doc_id)
        writer.commit()
        writer.wait_merging_threads()
        pl.DataFrame({"doc_id": ids}, schema={"doc_id": pl.String}).write_parquet(scratch / IDS)
        files = [path for path in sorted(scratch.iterdir()) if not path.name.endswith(".lock")]
        manifest = {
            "format": FORMAT,
            "documents": [{"sha256": part.sha256, "rows": part.rows} for part in parts],
            "files": {path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for path in files},
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for path in [*files, scratch / MANIFEST, scratch]:
            sync(path)
        os.rename(scratch, place.folder)
        sync(place.folder.parent)


class ShardIndex:
    """The index of one shard, opened: its files are mapped, and stay readable to whoever opened them."""

    def __init__(self, place: Place) -> None:
        """Compares every file with its sha256 first. Raises CorruptSearchIndex."""
        import tantivy

        self.place = place
        try:
            for name, entry in manifest_of(place)["files"].items():
                check(place.folder / name, entry["sha256"])
            index = tantivy.Index.open(str(place.folder))
        except (OSError, ValueError, KeyError, PartDamaged) as error:
            again = f"delete {place.folder} and materialize search_index of {place.snapshot} again"
            raise CorruptSearchIndex(f"{place.folder}: no readable index ({error}): {again}") from error
        index.register_tokenizer(WORDS, analyzer())
        index.config_reader("manual")  # the folder never changes: no thread looks for commits
        self.schema, self.searcher = index.schema, index.searcher()

    @cached_property
    def doc_ids(self) -> pl.Series:
        """By row."""
        return pl.read_parquet(self.place.folder / IDS)["doc_id"]

    @property
    def n_documents(self) -> int:
        return self.searcher.num_docs

    def matching(self, query: tantivy.Query) -> tuple[pl.Series, pl.Series]:
        """(rows, relevance) of every page that matches."""
        found = self.searcher.search(query, limit=max(1, self.n_documents), count=False).hits
        rows = self.searcher.fast_field_values("row", [address for _, address in found])
        scores = [score for score, _ in found]
        return pl.Series("row", rows, pl.UInt32), pl.Series("relevance", scores, pl.Float64)
