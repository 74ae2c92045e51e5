"""Reads whole files whose sha256 is known, and hands out nothing of one that is not its bytes.

A range read carries no checksum: a bit that flips on the way, an answer that ends early, an object exchanged under its
name would all go unseen into what is made. So a file is compared whole, before the first row of it is used. A local
file is hashed where it lies (1.7 GB/s), once a process as long as nothing touches it; one in a store is first copied
beside the other temporary files, again a bounded number of times when the copy is not right.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from assets.temporary import Owned

ATTEMPTS = 6
FIRST_WAIT_S = 0.2
T = TypeVar("T")
_known: set[tuple[str | int, ...]] = set()  # what was found right: path, sha256, and what changes with the file


class PartDamaged(RuntimeError):
    """A file is not the bytes that it was committed with."""


def check(path: str | Path, sha256: str) -> None:
    """Compares a local file with its sha256. Raises FileNotFoundError, PartDamaged."""
    with open(path, "rb") as handle:
        status = os.fstat(handle.fileno())
        sign = (str(path), sha256, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if sign in _known:
            return
        if hashlib.file_digest(handle, "sha256").hexdigest() != sha256:
            raise PartDamaged(
                f"{path}: not the bytes that were committed. Remove the file and materialize what made it again"
            )
    _known.add(sign)


@contextmanager
def whole(fs: Any, place: str, sha256: str) -> Iterator[Path]:
    """A local file of exactly those bytes, while the context lasts.

    fs, place: an fsspec file system and a path in it. Raises FileNotFoundError, PartDamaged, what the store raises.
    """
    if "file" in fs.protocol:
        check(place, sha256)
        yield Path(place)
        return
    from botocore.exceptions import FlexibleChecksumError

    copy = Owned(Path(tempfile.gettempdir()), "stemma-copy", private=True)
    try:

        def fetch() -> None:
            with suppress(FlexibleChecksumError):  # the store's own checksum, where it has one: ours will say the same
                fs.get_file(place, str(copy.path))
            with open(copy.path, "rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != sha256:
                    raise PartDamaged(
                        f"{place}: {ATTEMPTS} copies in turn were not the bytes that were committed. Remove the object"
                        " and materialize what made it again"
                    )

        patiently(fetch)
        yield copy.path
    finally:
        copy.drop()


def patiently(action: Callable[[], T], unless: Callable[[Exception], bool] = lambda error: False) -> T:
    """The action's result; tried again, with jitter, where the way to a store failed or its bytes were wrong.

    Raises at once what another attempt would meet too (FileNotFoundError, PermissionError, `unless`), or the last.
    """
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError, HTTPClientError

    for attempt in range(ATTEMPTS):
        try:
            return action()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except (OSError, TimeoutError, ClientError, BotoCoreError, HTTPClientError, PartDamaged) as error:
            if attempt == ATTEMPTS - 1 or unless(error):
                raise
            time.sleep(FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")
