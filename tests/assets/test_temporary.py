"""Temporary names: what a process leaves when it is killed goes with the next one, and what is kept can be read."""

import os
import signal
import stat
from pathlib import Path

import polars as pl

from assets.crawl_index.plan import write_table
from assets.temporary import Owned

ROWS = pl.DataFrame({"url": ["https://a.example/"]}).to_arrow()


def killed_while_writing(path: Path) -> None:
    """A child writes the table and is killed just before the file gets its name."""
    child = os.fork()
    if not child:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        write_table(ROWS, path)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    killed_while_writing(tmp_path / "rejects.parquet")
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    write_table(ROWS, tmp_path / "rejects.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["rejects.parquet"]


def test_what_a_living_process_holds_stays(tmp_path):
    held = Owned(tmp_path, "rejects.parquet")
    write_table(ROWS, tmp_path / "rejects.parquet")
    assert held.path.exists()
    held.drop()


def test_colleagues_may_read_what_is_kept_and_strangers_no_private_copy(tmp_path):
    before = os.umask(0o022)
    try:
        shared, private = Owned(tmp_path, "part"), Owned(tmp_path, "copy", private=True)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(one.path.stat().st_mode) for one in (shared, private)] == [0o644, 0o600]
    shared.drop()
    private.drop()
