"""Word differences: what is said to be common is the longest that is, both texts can be put together again, and no text
takes long."""

import random

from hypothesis import given
from hypothesis import strategies as st

from orchestration.pages.word_diff import difference
from tests.bounded import in_bounded_work

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd", "e.", "\n"]), max_size=24)


def longest_common(a: list[str], b: list[str]) -> int:
    """The textbook table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(WORDS, WORDS)
def test_runs_make_up_both_texts_and_hold_the_longest_common_words(a, b):
    one, other = " ".join(a), " ".join(b)
    found = difference(one, other)
    assert "".join(one[run.a_start : run.a_end] for run in found.runs) == one
    assert "".join(other[run.b_start : run.b_end] for run in found.runs) == other
    for run in found.runs:
        mine, theirs = one[run.a_start : run.a_end], other[run.b_start : run.b_end]
        assert (mine.split() == theirs.split()) if run.side == "both" else "" in (mine, theirs)
    if "\n" not in one + other and one and other:
        assert found.equal_words == longest_common(one.split(), other.split())


def test_a_changed_word_is_told_as_taken_out_and_put_in():
    found = difference("the quick brown fox", "the quick red fox")
    assert [run.side for run in found.runs] == ["both", "a", "b", "both"]
    assert found.similarity == 0.75


def test_two_long_texts_that_differ_in_one_place_are_compared_whole():
    words = [f"w{i}" for i in range(10_000)]
    found = difference(" ".join(words), " ".join([*words[:300], "new", *words[301:]]), most_words=100)
    assert found.words == 20_000 and found.equal_words == 9_999


def test_hostile_texts_take_no_longer_than_others():
    draw = random.Random(0)
    same, few = "a " * 5_000_000, " ".join(draw.choice("ab") for _ in range(200_000))
    line = "x" * 10_000_000
    for a, b in ((same, few), (few, same), (line, line[:-1]), (few, few[::-1]), (line, "")):
        with in_bounded_work():
            found = difference(a, b)
        assert found.a_compared <= 100_000 and found.b_compared <= 100_000
