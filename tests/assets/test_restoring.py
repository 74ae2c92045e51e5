"""A version had again: the very bytes, under its name, or nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from assets.lake import Lake
from assets.parts import PartFile, data_version
from assets.restoring import CorruptVersion, FolderTaken, appearing, restore
from assets.versions import Versions, digest_of
from tests.assets.test_versions import decide

REPO = Path(__file__).resolve().parents[2]
DIE_AFTER = """
import os, sys
from pathlib import Path
from assets.lake import Lake
from assets.restoring import appearing, restore
from assets.versions import Versions

known, last = Versions(Lake(sys.argv[1])), int(sys.argv[3])
with appearing(Path(sys.argv[2])) as folder:
    restore(known, known.known[1], folder, lambda done, total: os.kill(os.getpid(), 9) if done == last else None)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def known(tmp_path) -> Versions:
    lake = Lake(tmp_path / "home")
    for snapshot in ("s1", "s2"):
        decide(lake, snapshot, ["a", "b"], {})
    decide(lake, "s1", ["a"], {"b": "language"})
    return Versions(lake)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_old_version_is_had_again_under_its_name(known, tmp_path):
    version = known.known[1]
    with appearing(tmp_path / "out") as folder:
        restore(known, version, folder)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    parts: dict[str, list[PartFile]] = {}
    for name, entry in manifest["files"].items():
        snapshot = name.split("/")[1].removeprefix("snapshot=")
        parts.setdefault(snapshot, []).append(PartFile(name, entry["sha256"], entry["rows"], entry["bytes"], {}))
    made = digest_of({snapshot: data_version(of) for snapshot, of in parts.items()})
    assert manifest["corpus_version"] == version.digest == made
    rows = pl.scan_parquet(tmp_path / "out" / "corpus" / "**/*.parquet", hive_partitioning=True).collect()
    assert sorted(rows.select("snapshot", "doc_id").iter_rows()) == [("s1", "a"), ("s1", "b"), ("s2", "a"), ("s2", "b")]
    with pytest.raises(FolderTaken), appearing(tmp_path / "out"):
        pass


@pytest.mark.parametrize("moment", ["1", "2", "3"], ids=["first file", "last file", "manifest written"])
def test_killed_while_writing_it_leaves_nothing_of_that_name(known, tmp_path, moment):
    out = tmp_path / "out"
    command = [sys.executable, "-c", DIE_AFTER, known.lake.root, str(out), moment]
    assert subprocess.run(command, cwd=REPO).returncode == -signal.SIGKILL
    assert not out.exists()
    with appearing(out) as folder:
        restore(known, known.known[1], folder)
    assert len(contents(out)) == 3


def test_bytes_that_are_not_the_versions_are_refused(known, tmp_path):
    part = known.rows(known.known[1])[0].parts[0]
    path = Path(known.lake.staging("corpus"), part.path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptVersion, match=known.known[1].digest), appearing(tmp_path / "out") as folder:
        restore(known, known.known[1], folder)
    assert not (tmp_path / "out").exists() and [one.name for one in tmp_path.iterdir()] == ["home"]


def test_a_version_on_s3_is_the_same_folder(known, s3, tmp_path):
    there = Lake("s3://stemma-test/restored", s3, local=tmp_path / "local")
    for snapshot in ("s1", "s2"):
        decide(there, snapshot, ["a", "b"], {})
    with appearing(tmp_path / "one") as folder:
        restore(known, known.known[1], folder)
    with appearing(tmp_path / "two") as folder:
        restore(Versions(there), Versions(there).current, folder)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
