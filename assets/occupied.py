"""Who may work in a home: many materializations at once, or one takedown alone. Ends with the process that holds it.

A takedown removes files that no table version names, so nothing may be between writing a file and committing it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".work.lock"


class HomeInUse(RuntimeError):
    """Something is being made in the home, so nothing can be taken out of it now."""


@contextmanager
def working(home: Path) -> Iterator[None]:
    """Held while one asset is made; waits while a takedown is applied."""
    with _open(home) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextmanager
def taking_out(home: Path) -> Iterator[None]:
    """Held while takedowns are applied. Raises HomeInUse at once where an asset is being made."""
    with _open(home) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeInUse(f"an asset is being made in {home}: apply the takedowns when it is done") from None
        yield


@contextmanager
def _open(home: Path) -> Iterator[int]:
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
