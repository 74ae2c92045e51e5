"""Telling words: what differs is named, what does not is not, and neither order nor a loud page decides."""

import gzip
import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.vocabulary import frequencies, sample, telling


def told(first: list[str], second: list[str], most: int = 5):
    return telling(frequencies(first), frequencies(second), frequencies([*first, *second]), most)


def test_words_of_one_group_are_named_and_those_of_both_are_not():
    common = ["the cat sat on the mat", "the dog sat"] * 50
    ours, theirs = told([f"{text} apple" for text in common], [f"{text} pear" for text in common])
    assert ours[0].word == "apple" and theirs[0].word == "pear"
    assert (ours[0].first, ours[0].second, theirs[0].first, theirs[0].second) == (100, 0, 0, 100)
    assert {"the", "sat", "cat"}.isdisjoint(one.word for one in [*ours, *theirs])


def test_one_loud_page_is_one_page():
    quiet = ["plain text here"] * 50
    ours, _ = told([*quiet, "spam " * 10_000], [*quiet, "other"])
    assert "spam" not in [one.word for one in ours]


def test_the_surer_of_two_equal_ratios_comes_first():
    ours, _ = told(["rare"] * 4 + ["frequent"] * 80 + ["x"] * 116, ["rare"] * 1 + ["frequent"] * 20 + ["x"] * 179)
    assert [one.word for one in ours[:2]] == ["frequent", "rare"]


def test_to_have_a_word_says_as_much_as_to_lack_its_opposite():
    ours, theirs = told(["in"] * 24 + ["out"] * 4, ["in"] * 248 + ["out"] * 3)
    assert (ours[0].word, theirs[0].word) == ("out", "in")
    assert ours[0].z == pytest.approx(-theirs[0].z) and ours[0].log_odds == pytest.approx(-theirs[0].log_odds)


def test_real_languages_are_told_apart_by_their_own_words(shared_data):
    by_language: dict[str, list[str]] = {}
    with gzip.open(shared_data / "pages" / "webpages-multilingual.gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            by_language.setdefault(row["lang"], []).append(row["text"])
    polish, russian = (by_language[one] for one in ("pl", "ru"))
    assert min(len(polish), len(russian)) > 20
    ours, theirs = told(polish, russian, most=20)
    assert {"w", "na", "się"} <= {one.word for one in ours} and {"в", "на", "и"} <= {one.word for one in theirs}
    assert all(one.z > 2 for one in ours) and all(one.z < -2 for one in theirs)


def test_exchanging_the_groups_exchanges_the_answers():
    first, second = ["a b", "a c", "a d", "e"] * 5, ["b c", "b d", "e"] * 5
    ours, theirs = told(first, second)
    again, other = told(second, first)
    assert [one.word for one in ours] == [one.word for one in other]
    assert [one.word for one in theirs] == [one.word for one in again]


def test_an_empty_group_tells_nothing():
    assert told([], ["a"] * 9) == ([], []) == told(["a"] * 9, [])
    assert telling((Counter(), 0), (Counter(), 0), (Counter(), 0), 5) == ([], [])


@given(st.sets(st.text(max_size=8), max_size=40), st.integers(0, 50))
def test_a_sample_is_the_same_whatever_the_order(ids, n):
    shuffled = sorted(ids)
    random.Random(0).shuffle(shuffled)
    drawn = sample(shuffled, n)
    assert drawn == sample(sorted(ids), n) and len(drawn) == min(n, len(ids)) and set(drawn) <= ids


def test_samples_of_sets_that_share_most_share_most():
    ids = [f"id{i}" for i in range(10_000)]
    one, two = set(sample(ids, 1000)), set(sample([*ids[100:], *(f"new{i}" for i in range(100))], 1000))
    assert len(one & two) > 950


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_draws_others(seed):
    ids = [f"id{i}" for i in range(1000)]
    assert sample(ids, 50) != sample(ids, 50, seed) == sample(ids, 50, seed)
