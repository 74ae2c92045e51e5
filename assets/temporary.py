"""Temporary names: files and folders that belong to a living process, and the removal of those whose process is gone.

The owner holds a lock (flock) on what it made; the lock goes with the process, however it ends. Whoever works in the
same folder next removes what nobody holds. On network file systems locks may be known on one machine only, so a name
holds its machine's, and another machine's leftovers go when they are a week older than a file made just now: both times
are the file server's, no clock of ours is asked.

`write_whole` and `write_new` are what most need: a small file that is there at once or not at all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WEEK_S = 7 * 86400
SUFFIX = ".tmp"


class Owned:
    """A temporary file of this process. Rename it to keep it; `drop` ends the ownership and removes what is left.

    Others may read it as the umask says; a private one (in a folder that strangers share) is its owner's alone.
    """

    def __init__(self, folder: Path, kind: str, *, private: bool = False) -> None:
        self.path, self._handle = _made(folder, kind, folders=False, mode=0o600 if private else 0o666)

    def drop(self) -> None:
        """Removes the file, unless it was renamed."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Lets go of the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def write_whole(path: Path, content: bytes) -> None:
    """The file under its name at once, instead of what is there; synced. What a killed one left goes with the next."""
    temporary = Owned(path.parent, path.name.lstrip("."))
    try:
        temporary.path.write_bytes(content)
        sync(temporary.path)
        os.replace(temporary.path, path)
        sync(path.parent)
    finally:
        temporary.drop()


def write_new(path: Path, content: bytes) -> None:
    """The file under a name that nothing has, at once; synced. Raises FileExistsError.

    On Linux it has no name until it has this one, so that a kill leaves nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # another system, or a file system that has no files without a name
        return _linked(path, content)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(handle)
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)  # naming a folder makes it follow the symbolic link
    finally:
        os.close(handle)
    sync(path.parent)


def _linked(path: Path, content: bytes) -> None:
    temporary = Owned(path.parent, "new")
    try:
        temporary.path.write_bytes(content)
        sync(temporary.path)
        os.link(temporary.path, path)
    finally:
        temporary.drop()
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def owned_folder(folder: Path, kind: str) -> Iterator[Path]:
    """A temporary folder of this process, which goes at the end."""
    path, handle = _made(folder, kind, folders=True, mode=0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _made(folder: Path, kind: str, *, folders: bool, mode: int) -> tuple[Path, int]:
    """A new name and the handle that holds its lock."""
    folder.mkdir(parents=True, exist_ok=True)
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())
    mine = f".{kind}-{host}-"
    while True:
        name = folder / f"{mine}{uuid.uuid4().hex}{SUFFIX}"
        if folders:
            name.mkdir(mode)
        try:
            handle = os.open(name, os.O_RDONLY if folders else os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileNotFoundError:
            if folders:  # somebody swept it before it was opened
                continue
            raise
        with suppress(OSError):  # a file system without locks: nothing of ours is swept there either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if name.exists():  # else somebody swept it before it was locked
            break
        os.close(handle)
    _sweep(folder, kind, mine, os.fstat(handle).st_mtime)
    return name, handle


def _sweep(folder: Path, kind: str, mine: str, now: float) -> None:
    """Removes what is in the folder of that kind and nobody holds."""
    for path in folder.glob(f".{kind}-*{SUFFIX}"):
        with suppress(OSError):  # another is at it, or it is gone
            if not path.name.startswith(mine) and now - path.stat().st_mtime < WEEK_S:
                continue
            handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(handle)
