"""A corpus version as a folder of its own: its rows as Parquet, byte for byte, under a manifest that names the version.

`OUT/corpus/snapshot=…/shard=…/<sha256>.parquet` are the part files that the version held, `OUT/manifest.json` lists
them. Every file's bytes are compared with its name while they are copied, and the version's digest is computed again
from them. The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.history import Held
from assets.lake import Lake
from assets.parts import PartFile, data_version, filesystem, sync
from assets.temporary import owned_folder
from assets.versions import CORPUS, CorpusVersion, Versions, digest_of

MANIFEST = "manifest.json"
BLOCK = 1 << 20

OnFile = Callable[[int, int], None]  # files copied, files in all


class FolderTaken(FileExistsError):
    """The folder to write is there already."""

    def __str__(self) -> str:
        return str(self.args[0])


class CorruptVersion(RuntimeError):
    """The bytes that were read are not those of the version."""


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes its name at the end; an error or a kill leaves nothing of that name.

    Raises FolderTaken.
    """
    if folder.exists():
        raise FolderTaken(f"{folder} is there already: name a folder that is not")
    with owned_folder(folder.parent, folder.name) as scratch:
        yield scratch
        for path in [*scratch.rglob("*"), scratch]:
            sync(path)
        os.rename(scratch, folder)
        sync(folder.parent)


def restore(known: Versions, version: CorpusVersion, folder: Path, on_file: OnFile | None = None) -> dict[str, Any]:
    """Writes a version's rows and its manifest into a folder that is there; returns the manifest.

    Raises VersionGone, CorruptVersion.
    """
    copied = copy_rows(known.lake, known.rows(known.readable(version)), folder, on_file)
    found = digest_of({snapshot: data_version(parts) for snapshot, parts in copied.items()})
    if found != version.digest:
        raise CorruptVersion(f"the files of the corpus version {version.digest} are damaged: they make {found}")
    manifest = {
        "kind": "corpus_version",
        "corpus_version": version.digest,
        "snapshots": version.snapshots,
        "policies": list(version.policies),
        "rows": version.rows,
        "bytes": version.bytes,
        "files": {
            f"{CORPUS}/{part.path}": {"sha256": part.sha256, "bytes": part.bytes, "rows": part.rows}
            for parts in copied.values()
            for part in parts
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def copy_rows(
    lake: Lake, rows: Sequence[Held], folder: Path, on_file: OnFile | None = None
) -> dict[str, list[PartFile]]:
    """Copies the part files of one table below `folder/<table>`; by snapshot, what was really copied."""
    done, total = 0, sum(len(held.parts) for held in rows)
    copied: dict[str, list[PartFile]] = {held.snapshot: [] for held in rows}
    for held in rows:
        fs, base = filesystem(lake.staging(held.table), lake.storage_options)
        for part in held.parts:
            sha256 = _copy(fs, f"{base}/{part.path}", folder / held.table / part.path)
            copied[held.snapshot].append(PartFile(part.path, sha256, part.rows, part.bytes, part.partition))
            done += 1
            if on_file:
                on_file(done, total)
    return copied


def _copy(fs: Any, source: str, target: Path) -> str:
    """Copies a file; returns the sha256 of what was written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with fs.open(source, "rb") as reading, target.open("wb") as writing:
        while block := reading.read(BLOCK):
            digest.update(block)
            writing.write(block)
    return digest.hexdigest()
