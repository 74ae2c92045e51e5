"""Words that tell two groups of texts apart: log-odds with an informative prior, over how many texts have a word.

After Monroe, Colaresi & Quinn, "Fightin' Words" (Political Analysis 16, 2008), with document frequencies in the place
of word counts, so that one page that says a word a thousand times is one page. The prior is the share of all texts that
have the word, worth PRIOR_TEXTS texts: what is rare everywhere needs more evidence. The variance counts the texts that
lack the word as well, which the paper may leave out: no word is most of a text, but it may be in most texts.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import xxhash

from assets.searching.words import words

PRIOR_TEXTS = 100.0
LEAST_TEXTS = 3  # of both groups together that have a word; fewer are a name or a slip
CUT = 20_000  # code points of a text that are read
SEED = 2008


@dataclass(frozen=True)
class Word:
    """A word: texts of each group that have it, the log of the ratio of its odds (above 0: more in the first), and how
    many standard errors that is from none."""

    word: str
    first: int
    second: int
    log_odds: float
    z: float


def sample(ids: Iterable[str], n: int, seed: int = SEED) -> list[str]:
    """`n` of the ids, those whose hash with the seed is least: the same for any order, and much the same for a set that
    has a few others."""
    return heapq.nsmallest(
        n, ids, key=lambda one: (xxhash.xxh3_64_intdigest(one.encode("utf-8", "replace"), seed), one)
    )


def frequencies(texts: Iterable[str]) -> tuple[Counter[str], int]:
    """(in how many texts each word is, how many texts there are)."""
    found, n = Counter[str](), 0
    for text in texts:
        found.update(set(words(text[:CUT])))
        n += 1
    return found, n


def telling(
    first: tuple[Counter[str], int], second: tuple[Counter[str], int], all_texts: tuple[Counter[str], int], most: int
) -> tuple[list[Word], list[Word]]:
    """The words that tell the first group from the second most surely, and the second from the first; each at most
    `most`, the surest first. Groups are what `frequencies` says; all_texts: of everything, both groups included."""
    (in_first, n_first), (in_second, n_second), (in_all, n_all) = first, second, all_texts
    if not n_first or not n_second:
        return [], []
    found = []
    for word in in_first.keys() | in_second.keys():
        y1, y2 = in_first[word], in_second[word]
        if y1 + y2 < LEAST_TEXTS:
            continue
        prior = PRIOR_TEXTS * max(in_all[word], 1) / max(n_all, 1)
        prior = min(prior, PRIOR_TEXTS - 0.5)  # a word of every text has no finite odds
        have = (y1 + prior, y2 + prior)
        lack = (n_first + PRIOR_TEXTS - have[0], n_second + PRIOR_TEXTS - have[1])
        log_odds = math.log(have[0] / lack[0]) - math.log(have[1] / lack[1])
        spread = math.sqrt(sum(1 / n for n in (*have, *lack)))
        found.append(Word(word, y1, y2, log_odds, log_odds / spread))
    ours = sorted((one for one in found if one.z > 0), key=lambda one: (-one.z, one.word))
    theirs = sorted((one for one in found if one.z < 0), key=lambda one: (one.z, one.word))
    return ours[:most], theirs[:most]
