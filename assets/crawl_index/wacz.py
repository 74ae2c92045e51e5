"""The WARC files inside a WACZ file (a ZIP with archive/, indexes/ and datapackage.json), put into a crawl root.

WACZ 1.1.1 (Webrecorder). Sizes and sha256 that the data package states are checked; entries that would leave the
folder, hold what they do not say, or swell out of proportion are refused. Files appear when all of them are whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from assets.parts import sync
from assets.temporary import Owned

ARCHIVE = "archive/"
SUFFIXES = (".warc", ".warc.gz")
MOST_PACKAGE_BYTES = 16 << 20
BOMB_BYTES = 64 << 20  # an entry may inflate to this size whatever its ratio,
BOMB_RATIO = 50  # and beyond it only up to this many times its stored size
PIECE_BYTES = 1 << 20


class BadWacz(ValueError):
    """The file is no WACZ, or one whose contents are not what it says."""


def unpack(path: Path, folder: Path) -> list[tuple[str, int, str]]:
    """Writes the WARC files of a WACZ into `folder` as `<its name>-<entry>`: (name, bytes, sha256) of each, sorted.

    Raises BadWacz, before anything is visible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "".join(c if c.isalnum() or c in "._-" else "_" for c in path.name.removesuffix(".wacz")).lstrip(".")
    made: list[tuple[str, int, str]] = []
    temporaries: list[Owned] = []
    try:
        with zipfile.ZipFile(path) as archive:
            stated = _stated(archive)
            for entry in sorted(archive.infolist(), key=lambda one: one.filename):
                name = entry.filename.removeprefix(ARCHIVE)
                if not entry.filename.startswith(ARCHIVE) or not name.endswith(SUFFIXES):
                    continue
                if not all(c.isalnum() or c in "._-+=@" for c in name) or name.startswith("."):
                    raise BadWacz(f"{path}: the entry {entry.filename[:200]!r} would leave its folder")
                temporary = Owned(folder, "wacz")
                temporaries.append(temporary)
                made.append((f"{prefix}-{name}", *_copy(archive, entry, temporary.path)))
                _compare(path, entry.filename, stated.get(entry.filename), *made[-1][1:])
        if not made:
            raise BadWacz(f"{path} has no WARC file under {ARCHIVE}")
        for temporary, (name, _, _) in zip(temporaries, made):
            os.replace(temporary.path, folder / name)
        sync(folder)
    except (
        FileNotFoundError,
        IsADirectoryError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise BadWacz(f"{path} cannot be read as a WACZ: {error}") from error
    finally:
        for temporary in temporaries:
            temporary.drop()
    return made


def _stated(archive: zipfile.ZipFile) -> dict[str, dict[str, Any]]:
    """What datapackage.json says of each entry; nothing where there is none."""
    try:
        entry = archive.getinfo("datapackage.json")
    except KeyError:
        return {}
    if entry.file_size > MOST_PACKAGE_BYTES:
        raise BadWacz(f"its datapackage.json has {entry.file_size} bytes")
    try:
        package = json.loads(archive.read(entry))
        return {str(one["path"]): dict(one) for one in package.get("resources", [])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWacz(f"its datapackage.json cannot be read: {error}") from error


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> tuple[int, str]:
    """Copies an entry, its CRC-32 checked by zipfile; (bytes, sha256)."""
    most = max(BOMB_BYTES, BOMB_RATIO * entry.compress_size)
    hasher, size = hashlib.sha256(), 0
    with archive.open(entry) as source, open(to, "wb") as file:
        while piece := source.read(PIECE_BYTES):
            size += len(piece)
            if size > most:
                raise BadWacz(f"{entry.filename} swells to over {most} bytes out of {entry.compress_size}")
            hasher.update(piece)
            file.write(piece)
    sync(to)
    return size, hasher.hexdigest()


def _compare(path: Path, name: str, stated: dict[str, Any] | None, size: int, digest: str) -> None:
    if stated is None:
        return
    said = str(stated.get("hash", ""))
    if stated.get("bytes", size) != size or (said.startswith("sha256:") and said != f"sha256:{digest}"):
        raise BadWacz(f"{path}: {name} has {size} bytes and sha256:{digest}; the data package says otherwise")
