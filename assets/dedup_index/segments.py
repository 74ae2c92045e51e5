"""Segments: the members that one snapshot has of one language, all that later snapshots ask of them, never rewritten.

Members are numbered in the order of survival. By number: doc_id, time, 128-bit hash of the text, documents that it
stands for in its snapshot, 14 band hashes, set of shingles. By value: each band's hashes, those of texts and the
doc_ids, sorted beside the members' numbers, so that m questions touch m log n places of a mapped file.

Bytes a member: 36 (doc_id) + 8 + 16 + 8 + 112 (band hashes) + 14 * 12 (bands sorted) + 12 + 4 + 8 = 372, and 8 for each
distinct shingle, which are most of it: a page of 500 words has 4 kB of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assets.dedup_index import store
from assets.dedup_index.store import Pieces
from kernels.text.bands import BANDS, NO_BAND

SUFFIX = ".segment"
TEXTS = BANDS  # where equal texts are looked up, after the bands
UNKNOWN_TIME = np.iinfo(np.int64).max  # members without a time come last
SETS_AT_ONCE = 4096  # members whose sets are in memory while a segment is written


@dataclass(frozen=True)
class Members:
    """Some members in the order of survival: by time (microseconds since 1970; UNKNOWN_TIME), then doc_id.

    ids: (n,) bytes; times: (n,) int64; texts: (n, 2) uint64, xxh3-128 of the text; documents: (n,) int64, size of its
    cluster in the snapshot; hashes: (n, 14) uint64, a row of NO_BAND where the text has no shingle.
    """

    ids: np.ndarray
    times: np.ndarray
    texts: np.ndarray
    documents: np.ndarray
    hashes: np.ndarray

    def sorted(self) -> tuple[Members, np.ndarray]:
        """The same in the order of survival, and the number that each had."""
        order = np.lexsort((self.ids, self.times))
        return Members(*(value[order] for value in vars(self).values())), order


def nobody() -> Members:
    """No members."""
    one, pair, row = np.zeros(0, np.int64), np.zeros((0, 2), np.uint64), np.zeros((0, BANDS), np.uint64)
    return Members(np.zeros(0, "S1"), one, pair, one, row)


def write(
    folder: Path, members: Members, set_lengths: np.ndarray, sets: Callable[[int, int], np.ndarray]
) -> tuple[str, int]:
    """Writes a segment; returns its digest and its number of members.

    members: in the order of survival. set_lengths: (n,) int64; sets: the sets of the members from one number to
    another, laid end to end.
    """
    n, signed = len(members.ids), np.flatnonzero(members.hashes[:, 0] != NO_BAND)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(set_lengths)])
    orders = [signed[np.argsort(members.hashes[signed, band], kind="stable")] for band in range(BANDS)]
    by_text = np.argsort(members.texts[:, 0], kind="stable")

    def laid_out() -> Iterator[np.ndarray]:
        for first in range(0, n, SETS_AT_ONCE):
            yield sets(first, min(first + SETS_AT_ONCE, n))

    digest = store.write(
        folder,
        SUFFIX,
        {
            "ids": members.ids,
            "times": members.times,
            "texts": members.texts,
            "documents": members.documents,
            "hashes": members.hashes,
            "band_hashes": Pieces(
                np.dtype("<u8"),
                (BANDS, len(signed)),
                (members.hashes[order, band] for band, order in enumerate(orders)),
            ),
            "band_members": Pieces(np.dtype("<u4"), (BANDS, len(signed)), orders),
            "text_hashes": members.texts[by_text, 0],
            "text_members": by_text.astype("<u4"),
            "id_members": np.argsort(members.ids, kind="stable").astype("<u4"),
            "set_ends": ends,
            "sets": Pieces(np.dtype("<u8"), (int(ends[-1]),), laid_out()),
        },
    )
    return digest, n


class Segment:
    """A segment, mapped. Arrays by number are attributes as in `Members`; `digest` names the file."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.digest = digest
        self.path = folder / f"{digest}{SUFFIX}"
        self._arrays = store.read(self.path)

    def __len__(self) -> int:
        return len(self._arrays["ids"])

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.__dict__["_arrays"][name]
        except KeyError:
            raise AttributeError(name) from None

    def sorted_by(self, which: int) -> tuple[np.ndarray, np.ndarray]:
        """(hashes, numbers) sorted by hash: of a band, or of TEXTS."""
        if which == TEXTS:
            return self.text_hashes, self.text_members
        return self.band_hashes[which], self.band_members[which]

    def numbers_of(self, ids: np.ndarray) -> np.ndarray:
        """(m,) int64: the number of each doc_id, -1 for one that is no member."""
        found = np.full(len(ids), -1, np.int64)
        low, high = np.zeros(len(ids), np.int64), np.full(len(ids), len(self), np.int64)
        while (open_ := low < high).any():
            middle = np.where(open_, (low + high) // 2, 0)
            less = self.ids[self.id_members[middle]] < ids
            low, high = np.where(open_ & less, middle + 1, low), np.where(open_ & ~less, middle, high)
        inside = np.flatnonzero(low < len(self))
        numbers = self.id_members[low[inside]].astype(np.int64)
        same = self.ids[numbers] == ids[inside]
        found[inside[same]] = numbers[same]
        return found

    def members(self) -> Members:
        """All that is said by number, but the sets."""
        return Members(self.ids, self.times, self.texts, self.documents, self.hashes)

    def set_lengths(self, numbers: np.ndarray) -> np.ndarray:
        """(m,) int64: shingles of each."""
        return self.set_ends[numbers + 1] - self.set_ends[numbers]

    def set_of(self, number: int) -> np.ndarray:
        """The sorted distinct shingle hashes of a member."""
        return self.sets[self.set_ends[number] : self.set_ends[number + 1]]


class Segments:
    """Segments of one language in the order of their snapshots; members are numbered over all of them."""

    def __init__(self, snapshots: list[str], segments: list[Segment]) -> None:
        self.snapshots, self.segments = snapshots, segments
        self.offsets = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum([len(one) for one in segments], dtype=np.int64)]
        )

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def segment_of(self, members: np.ndarray) -> np.ndarray:
        """(m,) int64: which segment each lies in."""
        return np.searchsorted(self.offsets, members, side="right") - 1

    def take(self, name: str, members: np.ndarray) -> np.ndarray:
        """An array by number, of those members."""
        parts = self.segment_of(members)
        arrays = [getattr(one, name) for one in self.segments] or [getattr(nobody(), name)]
        widest = max([array.dtype for array in arrays], key=lambda dtype: dtype.itemsize)
        found = np.empty((len(members), *arrays[0].shape[1:]), widest)
        for k in np.unique(parts).tolist():
            here = parts == k
            found[here] = arrays[k][members[here] - self.offsets[k]]
        return found

    def find(self, which: int, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(question, member) int64 pairs: every member with that hash, for (m,) distinct sorted hashes; sorted by
        question, then member."""
        questions, members = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for segment, offset in zip(self.segments, self.offsets.tolist()):
            known, numbers = segment.sorted_by(which)
            if not len(known):
                continue
            left = np.searchsorted(known, hashes, side="left")
            hit = np.flatnonzero((left < len(known)) & (known[np.minimum(left, len(known) - 1)] == hashes))
            left = left[hit]
            count = np.searchsorted(known, hashes[hit], side="right") - left
            ends = np.cumsum(count)
            places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(left - (ends - count), count)
            questions.append(np.repeat(hit, count))
            members.append(numbers[places].astype(np.int64) + offset)
        asked, found = np.concatenate(questions), np.concatenate(members)
        order = np.argsort(asked, kind="stable")  # segments come in order, so members stay sorted
        return asked[order], found[order]

    def survival(self, members: np.ndarray) -> np.ndarray:
        """The order of survival of some members: positions that sort them by time, doc_id, snapshot."""
        return np.lexsort((self.segment_of(members), self.take("ids", members), self.take("times", members)))
