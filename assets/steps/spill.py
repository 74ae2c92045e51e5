"""Spill files: what the clustering of a snapshot lays aside on local disk, so that memory does not grow with texts.

Band hashes lie band by band, 112 bytes a document, and are read one band at a time; shingle sets lie in the order in
which documents are read and are mapped, so the system may let go of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from kernels.text.bands import BANDS
from kernels.text.buckets import band_hashes


class BandSpill:
    """Band hashes of documents, which are numbered as they come."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [folder / f"band-{band:02d}.u64" for band in range(BANDS)]
        self._open = ExitStack()
        self._files = [self._open.enter_context(path.open("wb")) for path in self._paths]
        self.documents = 0

    def append(self, signatures: np.ndarray) -> None:
        """Adds documents by their signatures, (m, 112) uint64."""
        for file, hashes in zip(self._files, band_hashes(signatures), strict=True):
            file.write(hashes.tobytes())
        self.documents += len(signatures)

    def close(self) -> None:
        """Ends the writing; reading may begin."""
        self._open.close()

    def bands(self) -> Iterator[np.ndarray]:
        """(documents,) hashes of each band in turn, in memory."""
        for path in self._paths:
            yield np.fromfile(path, np.uint64)

    def of(self, documents: np.ndarray) -> np.ndarray:
        """(14, m) hashes of the documents of those numbers."""
        shape = (self.documents,)
        return np.stack([np.memmap(path, np.uint64, "r", shape=shape)[documents] for path in self._paths])


class SetSpill:
    """Sorted sets of 64-bit numbers, one for some of the documents."""

    def __init__(self, folder: Path, documents: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "sets.u64"
        self._file = self._path.open("wb")
        self._numbers = 0
        self._start = np.zeros(documents, np.int64)
        self._length = np.zeros(documents, np.int32)

    def append(self, document: int, values: np.ndarray) -> None:
        """Lays aside the set of a document."""
        self._file.write(values.astype(np.uint64).tobytes())
        self._start[document], self._length[document] = self._numbers, len(values)
        self._numbers += len(values)

    def close(self) -> None:
        """Ends the writing; reading may begin."""
        self._file.close()

    def lengths(self, documents: np.ndarray) -> np.ndarray:
        """(m,) int64: how many numbers the set of each has, 0 for none."""
        return self._length[documents].astype(np.int64)

    def of(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(values, start, length) of those documents' sets; the values are mapped, those of all documents in one."""
        values = np.memmap(self._path, np.uint64, "r") if self._numbers else np.zeros(0, np.uint64)
        return values, self._start[documents], self._length[documents].astype(np.int64)
