"""Immutable result directories: sealed by a manifest with a sha256 per file, published by one rename, then verified.

A sealed directory holds `manifest.json`: {"kind", "files": {name: {"sha256", "bytes"}}, …identity fields}. It carries
no time, no host and no absolute path, so the same inputs give the same bytes and the same digest anywhere.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.config import InputError

MANIFEST = "manifest.json"


class CorruptArtifact(ValueError):
    """A sealed directory misses its manifest or a file, or a file's bytes are not the ones that were sealed."""


class ArtifactConflict(RuntimeError):
    """The place of publication already holds a sealed directory with other content."""


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: sorted keys, two-space indent, UTF-8, no NaN, a final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a torso."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of the canonical JSON."""
    write_atomic(path, canonical_json(value))


def seal(directory: Path, kind: str, identity: dict[str, Any]) -> dict[str, Any]:
    """Hash every file under `directory` and write its manifest last; returns the manifest.

    `identity` are the manifest's other fields; they must be a pure function of the inputs.
    """
    files = {
        path.relative_to(directory).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {**identity, "kind": kind, "files": files}
    write_json(directory / MANIFEST, manifest)
    return manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a sealed directory, unverified; InputError when there is none."""
    path = directory / MANIFEST
    if not path.is_file():
        raise InputError(f"{directory} is not a sealed directory: it has no {MANIFEST}")
    return json.loads(path.read_bytes())


def verify(directory: Path) -> dict[str, Any]:
    """The manifest, after checking the size and sha256 of every file it names; CorruptArtifact names the bad file."""
    manifest = read_manifest(directory)
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise CorruptArtifact(f"{path} is named by the manifest but missing")
        if path.stat().st_size != expected["bytes"] or sha256_file(path) != expected["sha256"]:
            raise CorruptArtifact(f"{path} is not the file that was sealed: size or sha256 differs")
    return manifest


def digest(directory: Path) -> str:
    """First 32 hex digits of the sha256 of the manifest: the identity of a sealed directory."""
    return hashlib.sha256(canonical_json(read_manifest(directory))).hexdigest()[:32]


def publish(temporary: Path, final: Path) -> None:
    """Move a sealed directory to its final name in one rename, after its bytes are on disk.

    Publishing the same content twice is a no-op; other content at `final` raises ArtifactConflict.
    """
    read_manifest(temporary)
    for path in sorted(temporary.rglob("*")):
        _sync(path)
    _sync(temporary)
    if final.exists():
        if digest(final) != digest(temporary):
            raise ArtifactConflict(f"{final} already holds another result; remove it to publish a new one")
        shutil.rmtree(temporary)
        return
    os.rename(temporary, final)
    _sync(final.parent)


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """An empty directory beside `final` to build in; the caller seals and publishes it, anything left is removed."""
    temporary = final.with_name(f".{final.name}.building")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
