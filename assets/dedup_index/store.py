"""Files of named arrays, written once under the digest of their bytes and mapped afterwards, and the sweep of old ones.

A file is 8 bytes that give the length of its head, the head (JSON: type, shape and offset of each array), and the
arrays, each at a multiple of 64 bytes. Its name is the first 32 hex of its sha256, so the same arrays are one file.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.parts import file_sha256, sync

ALIGNED = 64
UNFINISHED = ".unfinished-"
DIGEST_HEX = 32


class CorruptIndex(RuntimeError):
    """A file of the index is absent, or not the one that was written."""


@dataclass(frozen=True)
class Pieces:
    """An array that comes in pieces, so that it need not be in memory: type, shape, and the pieces laid end to end."""

    dtype: np.dtype
    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]


def write(folder: Path, suffix: str, arrays: Mapping[str, np.ndarray | Pieces]) -> str:
    """Writes the arrays as `<digest><suffix>` into the folder; returns the digest. Synced, and visible when whole."""
    folder.mkdir(parents=True, exist_ok=True)
    head: dict[str, Any] = {}
    at = 0
    for name, one in arrays.items():
        head[name] = [np.dtype(one.dtype).str, list(one.shape), at]
        at += -(-_size(one) // ALIGNED) * ALIGNED
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNED)
    temporary, digest = folder / f"{UNFINISHED}{uuid.uuid4().hex}", hashlib.sha256()
    try:
        with temporary.open("wb") as file:

            def put(data: bytes | memoryview) -> None:
                digest.update(data)
                file.write(data)

            put(len(text).to_bytes(8, "little") + text)
            for name, one in arrays.items():
                written = 0
                for piece in one.pieces if isinstance(one, Pieces) else (one,):
                    whole = np.ascontiguousarray(piece, dtype=one.dtype)
                    if whole.size:
                        put(whole.data.cast("B"))
                    written += whole.nbytes
                if written != _size(one):
                    raise ValueError(f"{name}: {written} bytes were given for {one.shape} of {one.dtype}")
                put(bytes(-written % ALIGNED))
            file.flush()
            os.fsync(file.fileno())
        name = digest.hexdigest()[:DIGEST_HEX]
        os.replace(temporary, folder / f"{name}{suffix}")
        sync(folder)
    finally:
        temporary.unlink(missing_ok=True)
    return name


def _size(one: np.ndarray | Pieces) -> int:
    return int(np.prod(one.shape, dtype=np.int64)) * np.dtype(one.dtype).itemsize


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, mapped: only what is looked at is read. Raises CorruptIndex for one that is cut short."""
    try:
        raw = np.asarray(np.memmap(path, np.uint8, "r"))
        length = int.from_bytes(raw[:8].tobytes(), "little")
        head = json.loads(raw[8 : 8 + length].tobytes())
    except (OSError, ValueError) as error:
        raise CorruptIndex(f"{path}: no readable file of the index ({error}): delete {path.parents[1]}") from error
    found, begin = {}, 8 + length
    for name, (kind, shape, at) in head.items():
        dtype = np.dtype(kind)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if begin + at + size > raw.size:
            raise CorruptIndex(f"{path}: it ends inside {name}: delete {path.parents[1]}, the next run makes it again")
        found[name] = raw[begin + at : begin + at + size].view(dtype).reshape(shape)
    return found


def verify(path: Path) -> None:
    """Re-reads a whole file and compares its bytes with its name. Raises CorruptIndex."""
    if not path.is_file() or file_sha256(path)[:DIGEST_HEX] != path.name.partition(".")[0]:
        raise CorruptIndex(f"{path}: absent, or not the bytes that were written: delete {path.parents[1]}")


def sweep(folder: Path, suffix: str, used: Collection[str]) -> None:
    """Removes every file of that suffix whose digest is not in `used`, and what a killed run left unfinished."""
    for path in _files(folder):
        if path.name.startswith(UNFINISHED) or (path.suffix == suffix and path.stem not in used):
            path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from [path for path in folder.iterdir() if path.is_file()]
