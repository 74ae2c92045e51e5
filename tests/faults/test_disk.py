"""A disk that fills while the data plane writes: no final name appears half, and with room again the digests are those
of an undisturbed run. The disk is a small tmpfs in a mount namespace of its own, which needs root."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.data_plane import make

# $1 size, $2 mount point, $3 python, $4 crawl, $5 cache, $6 room for the second run
SCRIPT = """
set -e
mount -t tmpfs -o size=$1 tmpfs "$2"
"$3" -m tests.faults.test_disk "$2" "$4" "$5" full
mount -o remount,size=64m "$2"
"$3" -m tests.faults.test_disk "$2" "$4" "$5" roomy
"""


def can_mount() -> bool:
    words = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="NO DISK TO FILL: mounting a tmpfs needs root and unshare")
@pytest.mark.parametrize("size_kib", [48, *(pytest.param(size, marks=pytest.mark.slow) for size in (16, 80, 112, 144))])
def test_a_full_disk_leaves_no_half_file_and_room_brings_the_same_digests(
    size_kib, crawl, calm, block_list_cache, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", f"{size_kib}k", str(disk), sys.executable, str(crawl)]
    done = subprocess.run([*words, str(block_list_cache)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    full, roomy = (json.loads(line) for line in done.stdout.splitlines())
    print(f"{size_kib} KiB: {full['error']}; tables then: {', '.join(full['versions']) or 'none'}")
    assert "No space left" in full["error"] or "os error 28" in full["error"], full["error"]
    assert full["versions"].items() <= calm["versions"].items(), "a table is half"
    assert not full["torn"], "a name of a part file holds other bytes"
    assert {name: roomy[name] for name in calm} == calm
    assert not roomy["left_over"]


def main(disk: Path, crawl: Path, cache: Path) -> None:
    """Makes everything as far as the disk allows, and says what is there."""
    from assets.lake import Lake
    from assets.parts import file_sha256
    from tests.faults.data_plane import left_over, versions

    lake, said = Lake(disk / "home"), {"error": ""}
    try:
        said |= make(lake, crawl, cache=cache)
    except Exception as error:  # noqa: BLE001  what is asked is which error it is
        said["error"] = " ".join(f"{type(error).__name__}: {error}".split())
    said |= {"versions": versions(lake), "left_over": left_over(disk / "home")}
    parts = (disk / "home" / "lake").rglob("[0-9a-f]*.parquet")
    said["torn"] = [str(path) for path in parts if path.parent.name != "_delta_log" and file_sha256(path) != path.stem]
    print(json.dumps(said))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
