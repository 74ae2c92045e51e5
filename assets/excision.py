"""Takes documents out of artifacts: those in use are written again without them, older versions go.

Of token shards is left what `python -m models tokenize` would write for the corpus without these documents and with
the same tokenizer: spans in the same order, counts less theirs. Of made data, every row into which none of their text
went; what the manifest counts is as it was made, and `taken_out` says how many rows are gone since.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow.parquet as pq

from assets.descent import MADE_DATA, is_current, manifest_of, naming, origins, versions
from assets.lake import Lake
from kernels.tokens.shards import SplitReader, SplitWriter, write_manifest

REMOVED = ".removed-"  # how the name of a directory that is being removed begins
DERIVED = ("kind", "dtype", "vocab_size", "tokenizer_sha256", "splits", "files")  # what write_manifest says itself


class TokenizerMissing(LookupError):
    """The tokenizer that shards were made with is gone, so their bytes cannot be counted again."""


def excise(lake: Lake, ids: set[str]) -> int:
    """Takes the documents out of every version of token_shards; returns how many versions held them.

    Directories of the versions that held them are deleted, and work directories that do. Raises TokenizerMissing.
    """
    asset = "token_shards"
    holding = [directory for directory in versions(lake.artifacts.root, asset) if holds(directory, ids)]
    for directory in holding:
        if is_current(lake, directory):
            with TemporaryDirectory(dir=_scratch_of(lake)) as scratch:
                if without(directory, ids, lake, Path(scratch)):
                    lake.artifacts.commit(asset, Path(scratch))
    for directory in [*holding, *work_holding(lake.local / "work", ids)]:
        remove_whole(directory)
    return len(holding)


def excise_made(lake: Lake, ids: set[str]) -> int:
    """Takes the rows that were made from the documents out of all made data; returns as `excise`.

    Older versions that hold such rows are deleted, and so are the work directories of programs that made or read them.
    """
    root, work = lake.artifacts.root, lake.local / "work"
    holding = [
        directory
        for asset, name in MADE_DATA.items()
        for directory in versions(root, asset)
        if origins(directory / name, ids).documents
    ]
    # first, for once the made data are gone nobody can tell: an unfinished run says only at its end what it read
    unfinished = [path for path in _work_of_made(work) if not (path / "final").is_dir()] if holding else []
    for directory in {*_work_naming(work, ids), *unfinished}:
        remove_whole(directory)
    for directory in holding:
        if is_current(lake, directory):
            asset = directory.parent.name
            with TemporaryDirectory(dir=_scratch_of(lake)) as scratch:
                if without_rows(directory, MADE_DATA[asset], ids, Path(scratch)):
                    lake.artifacts.commit(asset, Path(scratch))
        remove_whole(directory)
    return len(holding)


def _scratch_of(lake: Lake) -> Path:
    """Where directories are written before they are committed; what a killed run leaves there is swept."""
    (lake.local / "work").mkdir(parents=True, exist_ok=True)
    return lake.local / "work"


def without_rows(directory: Path, name: str, ids: set[str], out: Path) -> bool:
    """Writes made data without the rows made from the documents to `out`; False where no row would be left."""
    from models.artifacts import seal

    table = pq.read_table(directory / name)
    left = table.filter((~naming(pl.DataFrame(pl.from_arrow(table)), ids)).to_arrow())
    if not left.num_rows:
        return False
    shutil.copytree(directory, out, dirs_exist_ok=True)
    pq.write_table(left, out / name)
    manifest = manifest_of(directory)
    identity = {key: value for key, value in manifest.items() if key not in ("kind", "files")}
    gone = manifest.get("taken_out", 0) + table.num_rows - left.num_rows
    seal(out, manifest["kind"], {**identity, "taken_out": gone})
    return True


def _work_of_made(work: Path) -> list[Path]:
    """Work directories in which made data, or judged texts, were made or read. Those of base models hold no text."""
    readers = ("sft_model", "rl_model", "quality_classifier")
    return [path for asset in (*MADE_DATA, *readers) for path in sorted((work / asset).glob("[!.]*"))]


def _work_naming(work: Path, ids: set[str]) -> list[Path]:
    """Those of them with made data, or with what a run consumed of it, that name one of the documents."""
    names = {*MADE_DATA.values(), "consumed.parquet"}
    return [
        directory
        for directory in _work_of_made(work)
        if any(origins(path, ids).documents for path in directory.rglob("*.parquet") if path.name in names)
    ]


def remove_whole(directory: Path) -> None:
    """Removes a directory so that an interruption leaves none that has lost its manifest alone: it is renamed first."""
    hidden = directory.with_name(f"{REMOVED}{uuid.uuid4().hex}")
    os.rename(directory, hidden)
    shutil.rmtree(hidden)


def holds(directory: Path, ids: set[str]) -> bool:
    """Whether a span of the shards in a directory is of one of the documents."""
    paths = sorted(directory.glob("*.spans.parquet"))
    wanted = pl.col("doc_id").is_in(sorted(ids))
    return bool(paths) and not pl.scan_parquet(paths).filter(wanted).head(1).collect().is_empty()


def work_holding(work: Path, ids: set[str]) -> list[Path]:
    """The work directories of programs in which shards with one of the documents lie."""
    found = {
        path.relative_to(work).parts[:2] for path in work.glob("*/*/**/*.spans.parquet") if holds(path.parent, ids)
    }
    return [work.joinpath(*parts) for parts in sorted(found)]


def without(directory: Path, ids: set[str], lake: Lake, out: Path) -> bool:
    """Writes the shards without the documents to `out`; False, and nothing of use, where a split would be empty."""
    manifest = manifest_of(directory)
    sizes = token_bytes(lake, manifest["tokenizer_sha256"])
    splits = {}
    for split, before in manifest["splits"].items():
        reader, writer = SplitReader(directory, split), SplitWriter(out, split, manifest["vocab_size"])
        removed = 0
        for index, doc_id in enumerate(reader.doc_ids):
            tokens = reader.document(index)
            if doc_id in ids:
                removed += sum(sizes[token] for token in tokens.tolist())
            else:
                writer.add(doc_id, tokens, 0)
        counts = writer.close()
        if not counts.documents:
            return False
        splits[split] = type(counts)(counts.tokens, counts.documents, before["text_bytes"] - removed)
    identity = {name: value for name, value in manifest.items() if name not in DERIVED}
    write_manifest(
        out,
        tokenizer_sha256=manifest["tokenizer_sha256"],
        vocab_size=manifest["vocab_size"],
        splits=splits,
        **identity,
    )
    return True


def token_bytes(lake: Lake, tokenizer_sha256: str) -> list[int]:
    """UTF-8 bytes of text that each token stands for; special tokens stand for none. Raises TokenizerMissing.

    In a byte-level vocabulary a token is spelled with one character a byte.
    """
    from models.data.tokenizer import load_tokenizer
    from models.data.tokenizer import tokenizer_sha256 as sha256_of

    for directory in versions(lake.artifacts.root, "tokenizer"):
        if sha256_of(directory) == tokenizer_sha256:
            tokenizer = load_tokenizer(directory)
            special = tokenizer.get_added_tokens_decoder()
            names = ((token, tokenizer.id_to_token(token)) for token in range(tokenizer.get_vocab_size()))
            return [0 if token in special else len(name or "") for token, name in names]
    raise TokenizerMissing(f"no tokenizer in {lake.artifacts.root} has the sha256 {tokenizer_sha256}: restore it")
