"""A crawl root in a bucket: fetched files are put there from a local folder, each whole, verified, and never replaced.

WARC files go first, the manifest that names them last, so whoever sees a manifest can read all of it. An object is
created if absent (one PUT, `If-None-Match: *`; a large file in parts, which appears when the last is there) and read
back; one of that name with other bytes is an error. Only the list of a snapshot's whole files is replaced as it grows.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl

from assets.crawl_index.fetches import FOLDER, MANIFEST
from assets.crawl_index.plan import write_table
from assets.parts import file_sha256, filesystem

ONE_PUT_BYTES = 64 << 20
READ_BYTES = 1 << 20
LISTS = ".files.parquet"


class WrongObject(RuntimeError):
    """An object of the crawl root does not hold what was put there, or somebody else put something else under its
    name."""


class Mirror:
    """A remote crawl root and its local folder. The folder keeps `fetches/` and loses WARC files that are there."""

    def __init__(self, root: str, stage: Path, storage_options: dict[str, str] | None = None) -> None:
        self.fs, base = filesystem(root, storage_options)
        self.base, self.stage = base.rstrip("/"), stage

    def pull(self) -> None:
        """Brings what was fetched before, the WARC files excepted."""
        self.fs.invalidate_cache()
        for remote in sorted(self.fs.find(f"{self.base}/{FOLDER}")):
            here = self.stage / remote.removeprefix(f"{self.base}/")
            if here.name.endswith(LISTS):
                self._merge(here)
            elif not here.is_file():
                here.parent.mkdir(parents=True, exist_ok=True)
                temporary = here.with_name(f".{here.name}.tmp")
                self.fs.get_file(remote, str(temporary))
                temporary.replace(here)

    def push(self) -> None:
        """Puts what the folder has and the root has not. Raises WrongObject."""
        self.fs.invalidate_cache()
        there = set(self.fs.find(f"{self.base}/{FOLDER}"))
        for manifest in sorted(self.stage.glob(f"{FOLDER}/*/{MANIFEST}")):
            if self._key(manifest) not in there:
                said = json.loads(manifest.read_bytes())
                warcs = [self.stage / name for name, _, _ in said["files"]]
                beside = [path for path in sorted(manifest.parent.iterdir()) if path not in (manifest,)]
                lists = sorted(self.stage.glob(f"left-out/*/{manifest.parent.name}.parquet"))
                for path in [*warcs, *beside, *lists, manifest]:
                    self._put(path)
                for path in warcs:
                    path.unlink()
        for noted in sorted(self.stage.glob(f"{FOLDER}/*{LISTS}")):
            self._push_files(noted)
        self.fs.invalidate_cache()

    def _push_files(self, noted: Path) -> None:
        names = pl.read_parquet(noted)["warc_path"].drop_nulls().to_list()
        fresh = [self.stage / name for name in names if (self.stage / name).is_file()]
        for path in fresh:
            self._put(path)
        self._merge(noted)
        content = noted.read_bytes()
        if not self.fs.exists(self._key(noted)) or self.fs.cat_file(self._key(noted)) != content:
            self.fs.pipe_file(self._key(noted), content)
        for path in fresh:
            path.unlink()

    def _merge(self, here: Path) -> None:
        """Adds what the root's list of files has to the local one."""
        lists = [pl.read_parquet(here)] if here.is_file() else []
        if self.fs.exists(self._key(here)):
            with self.fs.open(self._key(here), "rb") as file:
                lists.append(pl.read_parquet(file))
        if lists:
            rows = pl.concat(lists).unique("source_filename", keep="last").sort("source_filename")
            write_table(rows.to_arrow(), here)

    def _key(self, path: Path) -> str:
        return f"{self.base}/{path.relative_to(self.stage).as_posix()}"

    def _put(self, path: Path) -> None:
        key = self._key(path)
        if path.stat().st_size > ONE_PUT_BYTES:
            if not self.fs.exists(key):
                self.fs.put_file(str(path), key)
        else:
            self._create(key, path.read_bytes())
        self.fs.invalidate_cache()
        if self._sha256(key) != file_sha256(path):
            raise WrongObject(f"{key} has other bytes than {path}: look who put it there, remove it, and run again")

    def _create(self, key: str, content: bytes) -> None:
        bucket, _, name = key.partition("/")
        try:
            self.fs.call_s3("put_object", Bucket=bucket, Key=name, Body=content, IfNoneMatch="*")
        except OSError as error:
            cause = error.__cause__
            code = getattr(cause, "response", {}).get("Error", {}).get("Code", "")
            if code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            # somebody created it, perhaps we ourselves and the answer was lost: its bytes decide

    def _sha256(self, key: str) -> str:
        hasher = hashlib.sha256()
        with self.fs.open(key, "rb") as file:
            while block := file.read(READ_BYTES):
                hasher.update(block)
        return hasher.hexdigest()
