"""Artifacts: immutable directories (tokenizer, shards, checkpoints, released model) under the digest of their manifest.

`<root>/<asset>/<digest>/` holds the files and a `manifest.json` with the sha256 of each. Which digest is current is
said by numbered pointers in `<root>/<asset>/versions/<partition>/`, each created if absent (a hard link), so two
writers never share a number and a reader never sees half a directory. Every file is verified before it is handed out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.parts import file_sha256, sync
from assets.temporary import owned_folder, write_new
from models.artifacts import canonical_json

MANIFEST = "manifest.json"
UNPARTITIONED = "all"


class ArtifactMissing(LookupError):
    """The artifact was never committed."""


class CorruptArtifact(RuntimeError):
    """A file of an artifact is absent, unlisted, or not the one that its manifest names."""


@dataclass(frozen=True)
class Commit:
    """What a commit left behind. `version` counts the commits of that table (or of that artifact's partition)."""

    data_version: str
    rows: int
    bytes: int
    version: int


def manifest_digest(manifest: dict[str, Any]) -> str:
    """First 32 hex of the sha256 of the manifest as canonical JSON: what models.artifacts calls its digest."""
    return hashlib.sha256(canonical_json(manifest)).hexdigest()[:32]


def verify(directory: Path) -> dict[str, Any]:
    """The manifest of a directory whose every file is the one that it names. Raises CorruptArtifact."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        listed = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"{path}: no readable manifest ({type(error).__name__}: {error})") from error
    present = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()} - {MANIFEST}
    if present != set(listed):
        absent, unlisted = sorted(set(listed) - present), sorted(present - set(listed))
        raise CorruptArtifact(f"{directory}: absent {absent}, not in the manifest {unlisted}")
    for name, entry in listed.items():
        if file_sha256(directory / name) != entry["sha256"]:
            raise CorruptArtifact(f"{directory / name}: its sha256 is not the manifest's; delete it and make it again")
    return manifest


class ArtifactStore:
    """The artifacts under one local root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def commit(self, asset: str, source: Path, partition: str | None = None) -> Commit:
        """Copies a directory in and points to it. Committing what is current already changes nothing.

        `source` holds a manifest that lists its files; where it holds none, one is made. Raises CorruptArtifact.
        """
        home = self.root / asset
        with owned_folder(home, "staged") as staged:
            shutil.copytree(source, staged, dirs_exist_ok=True)
            if not (staged / MANIFEST).exists():
                (staged / MANIFEST).write_text(json.dumps(_describe(asset, staged), indent=1, sort_keys=True))
            manifest = verify(staged)
            digest = manifest_digest(manifest)
            for path in [*staged.rglob("*"), staged]:
                sync(path)
            self._publish(staged, home / digest)
        version, current = self._current(asset, partition)
        if current != digest:
            version = self._point(asset, partition, digest)
        size = sum(int(entry["bytes"]) for entry in manifest["files"].values())
        return Commit(digest, int(manifest.get("rows", 0)), size, version)

    def open(self, asset: str, partition: str | None = None, digest: str | None = None) -> Path:
        """The verified directory: the current one, or the one of `digest`. Raises ArtifactMissing, CorruptArtifact."""
        if digest is None:
            digest = self.version_of(asset, partition)
        directory = self.root / asset / digest
        if not directory.is_dir():
            raise ArtifactMissing(f"{asset} has no version {digest} in {self.root}")
        manifest = verify(directory)
        if manifest_digest(manifest) != digest:
            raise CorruptArtifact(f"{directory / MANIFEST}: the manifest is not the one that was committed")
        return directory

    def version_of(self, asset: str, partition: str | None = None) -> str:
        """Digest of the current directory. Raises ArtifactMissing."""
        _, digest = self._current(asset, partition)
        if digest is None:
            where = f" for {partition}" if partition else ""
            raise ArtifactMissing(f"{asset}{where} is not in {self.root} yet: materialize the asset {asset} first")
        return digest

    def _publish(self, staged: Path, final: Path) -> None:
        if final.is_dir():
            try:
                verify(final)
                return
            except CorruptArtifact:
                os.replace(final, final.with_name(f".corrupt-{uuid.uuid4().hex}"))
        os.rename(staged, final)
        sync(final.parent)

    def _pointers(self, asset: str, partition: str | None) -> Path:
        return self.root / asset / "versions" / (partition or UNPARTITIONED)

    def _current(self, asset: str, partition: str | None) -> tuple[int, str | None]:
        numbers = [int(path.stem) for path in self._pointers(asset, partition).glob("[0-9]*.json")]
        if not numbers:
            return 0, None
        newest = self._pointers(asset, partition) / f"{max(numbers):08d}.json"
        return max(numbers), json.loads(newest.read_bytes())["digest"]

    def _point(self, asset: str, partition: str | None, digest: str) -> int:
        folder = self._pointers(asset, partition)
        number = self._current(asset, partition)[0] + 1
        while True:
            try:
                write_new(folder / f"{number:08d}.json", json.dumps({"digest": digest}).encode())
                return number
            except FileExistsError:
                number += 1


def _describe(kind: str, directory: Path) -> dict[str, Any]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    entries = {
        str(path.relative_to(directory)): {"sha256": file_sha256(path), "bytes": path.stat().st_size} for path in files
    }
    return {"kind": kind, "files": entries}
