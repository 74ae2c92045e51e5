"""Measures how far two labellers agree (Cohen's kappa), and orders the pages that somebody should label next."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from models.evaluation.intervals import Z_95, wilson


@dataclass(frozen=True)
class Agreement:
    """Two labellers on n items: the share on which they say the same, and Cohen's kappa with its 95% interval.

    `kappa` is None where it is not defined: both said one and the same thing of every item.
    """

    n: int
    observed: float
    expected: float  # the share that two who label at random, each as often as they do, would agree on
    kappa: float | None
    low: float | None
    high: float | None


def kappa(one: Sequence[str], other: Sequence[str]) -> Agreement:
    """Agreement beyond chance of two labellers, item by item (Cohen 1960), unordered categories.

    The interval is the large-sample one (Fleiss, Cohen and Everitt 1969, Psychological Bulletin 72:323, equation 13).
    It has no width where they agree on everything; there its lower end is that of Wilson's interval of the observed
    agreement. Raises ValueError for no items or unequal numbers of them.
    """
    n = len(one)
    if not n or n != len(other):
        raise ValueError(f"need as many labels of one as of the other, and at least one: got {n} and {len(other)}")
    both = {pair: count / n for pair, count in Counter(zip(one, other, strict=True)).items()}
    rows, columns = defaultdict[str, float](float), defaultdict[str, float](float)
    for (i, j), share in both.items():
        rows[i] += share
        columns[j] += share
    observed = sum(share for (i, j), share in both.items() if i == j)
    expected = sum(rows[name] * columns[name] for name in sorted({*rows, *columns}))
    if len(both) == 1 and observed:
        return Agreement(n, 1.0, 1.0, None, None, None)
    value = (observed - expected) / (1 - expected)
    agreed = sum(
        share * ((1 - expected) - (columns[i] + rows[i]) * (1 - observed)) ** 2
        for (i, j), share in both.items()
        if i == j
    )
    differed = sum(share * (columns[i] + rows[j]) ** 2 for (i, j), share in both.items() if i != j)
    shift = (observed * expected - 2 * expected + observed) ** 2
    variance = (agreed + (1 - observed) ** 2 * differed - shift) / (n * (1 - expected) ** 4)
    half = Z_95 * math.sqrt(max(variance, 0.0))
    low = value - half
    if all(i == j for i, j in both):
        low = (wilson(n, n).low - expected) / (1 - expected)
    return Agreement(n, observed, expected, value, max(low, -1.0), min(value + half, 1.0))


def queue(
    doc_ids: Sequence[str],
    scores: np.ndarray,
    labelled: Collection[str],
    *,
    length: int,
    draw: np.ndarray,
    skipped: int = 0,
    every: int = 4,
) -> list[str]:
    """The next pages for one labeller, at most `length`: those whose calibrated score is nearest to 0.5 (uncertainty
    sampling, Lewis and Gale 1994), ties by doc_id, and every so many a page drawn at random, so that the labels also
    say something of pages that are nowhere near the border.

    scores: float64[pages], NaN (never scored) comes last. labelled: doc_ids that the labeller is done with; none of
    them comes. draw: of `drawn`, for the same pages. skipped: how many to leave out at the front. every: which place is
    drawn (4: the fourth, the eighth, …, counted from the first label on, so that labelling moves on to it); 0: none.
    """
    done = set(labelled)
    left = np.array([place for place, doc_id in enumerate(doc_ids) if doc_id not in done], np.int64)
    names: list[str] = [doc_ids[int(place)] for place in left]
    wanted = min(skipped + length, left.size)
    distance = np.nan_to_num(np.abs(np.asarray(scores, float)[left] - 0.5), nan=np.inf)
    orders = [iter(_least(keys, names, wanted)) for keys in (distance, draw[left])]
    chosen: dict[str, None] = {}
    while len(chosen) < wanted:
        is_drawn = bool(every) and (len(done) + len(chosen) + 1) % every == 0
        chosen.setdefault(next(one for one in orders[is_drawn] if one not in chosen))
    return list(chosen)[skipped:]


def drawn(doc_ids: Sequence[str], seed: int = 0) -> np.ndarray:
    """uint64[pages]: an order at random that depends on each page's id and the seed alone (a keyed hash)."""
    return np.array([xxhash.xxh3_64_intdigest(doc_id, seed) for doc_id in doc_ids], np.uint64)


def _least(keys: np.ndarray, names: Sequence[str], count: int) -> list[str]:
    """The names of the `count` least keys in rising order, ties by name; and as many more as tie with the last."""
    if not count:
        return []
    near = np.flatnonzero(keys <= np.partition(keys, count - 1)[count - 1])
    return [names[place] for place in sorted(near.tolist(), key=lambda place: (keys[place], names[place]))]
