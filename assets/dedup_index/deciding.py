"""Which member of an index survives, decided anew only where something changed; the result depends on the set alone.

A member's decision follows from earlier members that share a band with it: from which survivors they have
(kernels.text.verify). So what comes, goes or changes its survivor can change later members of its bands, and nothing
else. Those are decided again, with every other one's decision standing; if that changes a survivor, later members of
its bands join them, until nothing more changes. Where snapshots come in the order of time, new members alone are
decided. Of equal texts the first takes part, and the others follow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from assets.dedup_index.segments import TEXTS, Segments
from kernels.text import buckets, clusters, verify
from kernels.text.bands import BANDS, NO_BAND

IN_MEMORY_BYTES = 256 << 20  # of shingle sets that are compared with each other; more lie in a scratch file
GATHERED_AT_ONCE = 4096  # members
NARROW_ROUNDS = 8  # after so many, all that might follow is decided again, not just what was seen to change
NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Standing:
    """survivor: (n,) int64 number of each member's survivor, its own if it survives; similarity: (n,) float64, exact
    Jaccard with it (of a copy: its original's); copy: (n,) bool, an earlier member has the same text."""

    survivor: np.ndarray
    similarity: np.ndarray
    copy: np.ndarray


def _distinct(values: np.ndarray) -> np.ndarray:
    """The sorted distinct values; np.unique takes five times as long, for it hashes them."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def _union(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The sorted distinct values of both."""
    return _distinct(np.concatenate([some, others]))


def _without(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of sorted distinct values that are not among others, sorted too."""
    if not len(others):
        return some
    at = np.minimum(np.searchsorted(others, some), len(others) - 1)
    return some[others[at] != some]


def alone(n: int) -> Standing:
    """Members of which none is like another."""
    return Standing(np.arange(n), np.ones(n), np.zeros(n, bool))


def carried(before: Segments, after: Segments) -> np.ndarray:
    """(n,) int64: the number that each earlier member has now; -1 for one that is gone, or has another text or time."""
    moved = np.full(len(before), -1, np.int64)
    places = {snapshot: k for k, snapshot in enumerate(after.snapshots)}
    for j, (snapshot, old) in enumerate(zip(before.snapshots, before.segments)):
        if snapshot not in places:
            continue
        k = places[snapshot]
        new, first = after.segments[k], int(after.offsets[k])
        mine = moved[before.offsets[j] : before.offsets[j + 1]]
        if new.digest == old.digest:
            mine[:] = np.arange(first, first + len(new))
            continue
        numbers = new.numbers_of(old.ids)
        there = np.flatnonzero(numbers >= 0)
        at = numbers[there]
        same = (new.times[at] == old.times[there]) & (new.texts[at] == old.texts[there]).all(axis=1)
        mine[there[same]] = at[same] + first
    return moved


def decide(
    before: Segments, was: Standing, after: Segments, moved: np.ndarray, threshold: float, scratch: Path
) -> Standing:
    """How the members of `after` stand, from how those of `before` did; moved: `carried(before, after)`.

    Equal to deciding all anew, `decide(Segments([], []), alone(0), after, …)`. scratch: a folder for what does not fit
    into memory.
    """
    now, fresh = alone(len(after)), np.ones(len(after), bool)
    kept, gone = np.flatnonzero(moved >= 0), np.flatnonzero(moved < 0)
    at = moved[kept]
    fresh[at] = False
    now.survivor[at], now.similarity[at], now.copy[at] = moved[was.survivor[kept]], was.similarity[kept], was.copy[kept]
    new = np.flatnonzero(fresh)
    if not len(new) and not len(gone):
        return now
    touched = np.concatenate([after.take("texts", new)[:, 0], before.take("texts", gone)[:, 0]])
    members, first = _of_one_text(after, touched)
    was_copy = now.copy[members] & ~fresh[members]
    now.copy[members] = members != first
    begun = _union(new[~now.copy[new]], members[was_copy & ~now.copy[members]])
    ended = members[now.copy[members] & ~was_copy & ~fresh[members]]
    left = gone[~was.copy[gone]]
    orphans = np.flatnonzero(~now.copy & ((now.survivor < 0) | now.copy[now.survivor]))
    there = np.concatenate([begun, ended])
    hashes = np.concatenate([after.take("hashes", there), before.take("hashes", left)])
    times = np.concatenate([after.take("times", there), before.take("times", left)])
    dirty = _distinct(np.concatenate([begun, orphans, _later(after, now.copy, hashes, times)]))
    dirty, survivor, similarity = _settled(after, now, dirty, begun, threshold, scratch)
    changed = dirty[survivor != now.survivor[dirty]]
    now.survivor[dirty], now.similarity[dirty] = survivor, similarity
    members, first = _of_one_text(after, np.concatenate([touched, after.take("texts", changed)[:, 0]]))
    now.survivor[members], now.similarity[members] = now.survivor[first], now.similarity[first]
    return now


def _settled(
    after: Segments, now: Standing, dirty: np.ndarray, spread: np.ndarray, threshold: float, scratch: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(members, survivor, similarity) of all that had to be decided. spread: those whose later ones are in `dirty`."""
    rounds = 0
    while True:
        survivor, similarity = _redecide(after, now, dirty, threshold, scratch)
        rounds += 1
        seen = dirty if rounds > NARROW_ROUNDS else dirty[survivor != now.survivor[dirty]]
        onward = _without(seen, spread)
        spread = _union(spread, onward)
        later = _later(after, now.copy, after.take("hashes", onward), after.take("times", onward))
        more = _without(later, dirty)
        if not len(more):
            return dirty, survivor, similarity
        dirty = _union(dirty, more)


def _of_one_text(after: Segments, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(members, the first of them with the same text) of all whose text's hash begins with one of these words."""
    _, members = after.find(TEXTS, _distinct(words))
    members = members[after.survival(members)] if len(members) else NONE
    texts = after.take("texts", members)
    order = np.lexsort((texts[:, 1], texts[:, 0]))  # stable: inside a text in the order of survival
    members, texts = members[order], texts[order]
    begins = np.ones(len(members), bool)
    begins[1:] = (texts[1:] != texts[:-1]).any(axis=1)
    return members, members[begins][np.cumsum(begins) - 1]


def _later(after: Segments, copy: np.ndarray, hashes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Members that take part and are not before the first of the given ones with which they share a band."""
    found = [NONE]
    for band in range(BANDS):
        order = np.lexsort((times, hashes[:, band]))
        mine, since = hashes[order, band], times[order]
        first = np.ones(len(mine), bool)
        first[1:] = mine[1:] != mine[:-1]
        first &= mine != NO_BAND
        question, members = after.find(band, mine[first])
        members = members[after.take("times", members) >= since[first][question]] if len(members) else NONE
        found.append(_distinct(members[~copy[members]]))
    return _distinct(np.concatenate(found))


def _redecide(
    after: Segments, now: Standing, dirty: np.ndarray, threshold: float, scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(survivor, similarity) of the members `dirty`, sorted, as if all others stood as `now` says."""
    survivor, similarity = dirty.copy(), np.ones(len(dirty))
    shared = list(_shared(after, now.copy, after.take("hashes", dirty)))
    known = _distinct(np.concatenate([NONE, *(members for _, members in shared)]))
    context = _without(known, dirty)
    every = _union(known, now.survivor[context])
    ranked = every[after.survival(every)] if len(every) else NONE
    place = np.empty(len(every), np.int64)  # of each of `every` in the order of survival
    place[np.searchsorted(every, ranked)] = np.arange(len(every))

    def placed(members: np.ndarray) -> np.ndarray:
        return place[np.searchsorted(every, members)]

    numbers, parent = np.full((len(every), BANDS), -1, np.int64), buckets.alone(len(every))
    used = 0
    for band, (group, members) in enumerate(shared):
        numbers[placed(members), band] = group + used
        used += int(group.max(initial=-1)) + 1
        buckets.link_pairs(parent, group, placed(members))
    standing = np.full(len(every), -1, np.int64)
    outside = _without(every, dirty)  # those that no band brought are survivors of others
    standing[placed(outside)] = placed(np.where(np.isin(outside, context), now.survivor[outside], outside))
    pairs = np.stack([placed(context), placed(now.survivor[context])], axis=1).ravel()
    buckets.link_pairs(parent, np.repeat(np.arange(len(context)), 2), pairs)
    local = np.empty(len(every), np.int64)
    for batch in clusters.batches(buckets.roots(parent), np.arange(len(every))):
        local[batch] = np.arange(len(batch))
        stands = np.where(standing[batch] >= 0, local[standing[batch]], -1)
        inside = numbers[batch]
        _, dense = np.unique(inside[inside >= 0], return_inverse=True)
        inside[inside >= 0] = dense
        compared = stands < 0
        compared[stands[stands >= 0]] = True
        sets = _sets(after, ranked[batch], compared, scratch)
        most = int(dense.max(initial=-1)) + 1
        made = verify.assign(inside, most, *sets, threshold, known=stands)
        chosen = np.flatnonzero(stands < 0)
        at = np.searchsorted(dirty, ranked[batch[chosen]])
        survivor[at], similarity[at] = ranked[batch[made.survivor[chosen]]], made.similarity[chosen]
    return survivor, similarity


def _shared(after: Segments, copy: np.ndarray, hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(group, member) pairs of each band in turn: members that share one of the hashes with another one."""
    for band in range(BANDS):
        asked = _distinct(hashes[:, band])
        question, members = after.find(band, asked[asked != NO_BAND])
        takes_part = ~copy[members]
        question, members = question[takes_part], members[takes_part]
        several = np.bincount(question)[question] > 1 if len(question) else np.zeros(0, bool)
        _, group = np.unique(question[several], return_inverse=True)
        yield group.astype(np.int64), members[several]


def _sets(
    after: Segments, members: np.ndarray, wanted: np.ndarray, scratch: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, start, length) of the shingle sets of those members that are wanted, the others' empty."""
    parts, length = after.segment_of(members), np.zeros(len(members), np.int64)
    for k in _distinct(parts[wanted]).tolist():
        here = np.flatnonzero(wanted & (parts == k))
        length[here] = after.segments[k].set_lengths(members[here] - after.offsets[k])
    start = np.cumsum(length) - length
    total = int(length.sum())
    if total * 8 <= IN_MEMORY_BYTES:
        values = np.empty(total, np.uint64)
    else:
        with TemporaryFile(dir=scratch) as file:
            values = np.memmap(file, np.uint64, "w+", shape=(total,))
    for k in _distinct(parts[wanted]).tolist():
        segment, every = after.segments[k], np.flatnonzero(wanted & (parts == k))
        for first in range(0, len(every), GATHERED_AT_ONCE):
            here = every[first : first + GATHERED_AT_ONCE]
            begin = segment.set_ends[members[here] - after.offsets[k]]
            within = np.arange(int(length[here].sum())) - np.repeat(
                np.cumsum(length[here]) - length[here], length[here]
            )
            values[np.repeat(start[here], length[here]) + within] = segment.sets[
                np.repeat(begin, length[here]) + within
            ]
    return values, start, length
