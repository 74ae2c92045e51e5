"""Temporary names: what a process leaves when it is killed goes with the next one, and what is kept can be read."""

import os
import signal
import stat
from pathlib import Path

import polars as pl
import pytest

from assets.crawl_index.plan import write_table
from assets.temporary import Owned, owned_folder, write_new, write_whole

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


@pytest.mark.parametrize("nameless", [True, False])
def test_a_new_file_is_there_at_once_and_never_instead_of_another(tmp_path, monkeypatch, nameless):
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    write_new(tmp_path / "folder" / "1.json", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "folder" / "1.json", b"second")
    assert [path.read_bytes() for path in (tmp_path / "folder").iterdir()] == [b"first"]


def test_a_kill_before_a_new_file_has_its_name_leaves_nothing(tmp_path):
    child = os.fork()
    if not child:
        os.link = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        write_new(tmp_path / "1.json", b"first")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_at_once(tmp_path):
    for content in (b"first", b"second"):
        write_whole(tmp_path / ".policy", content)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {".policy": b"second"}


def test_a_folder_that_another_swept_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    opened, swept = os.open, []

    def late(path, *given, **named):
        if not swept:
            swept.append(path)
            os.rmdir(path)
        return opened(path, *given, **named)

    monkeypatch.setattr(os, "open", late)
    with owned_folder(tmp_path, "staged") as made:
        assert made.is_dir() and made != swept[0]
    assert list(tmp_path.iterdir()) == []
