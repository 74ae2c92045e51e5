"""Slices: an address means the same slice again, conditions hold for exactly their rows, and counts are of all rows."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.searching.slices import HOSTS_COUNTED, BadSlice, Range, Slice, compared, cut, exported, scores, slice_of

ROWS = pl.DataFrame(
    {
        "doc_id": [f"d{i}" for i in range(6)],
        "snapshot": ["s1", "s1", "s1", "s2", "s2", "s2"],
        "url": [f"https://{host}/{i}" for i, host in enumerate("abcabc")],
        "host": ["example.org", "www.example.org", "ample.org", "example.org", None, "x.net"],
        "language": ["eng_Latn", "deu_Latn", None, "eng_Latn", "eng_Latn", "jpn_Jpan"],
        "outcome": ["kept", "too_short", "kept", "near_duplicate", "undecided", "too_short"],
        "score": [None, 3.0, None, 0.9, None, 7.0],
        "threshold": [None, 50.0, None, 0.75, None, 50.0],
        "n_words": [100, 3, None, 100, 60, 7],
        "language_score": [0.5, math.nan, 0.9, 0.1, 0.7, 1.0],
    }
)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs", "Zs", "Cc"]), min_size=1, max_size=20)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
RANGES = st.builds(
    lambda column, a, b: Range(column, *((b, a) if a is not None and b is not None and a > b else (a, b))),
    st.sampled_from(sorted(scores())),
    NUMBERS,
    NUMBERS,
)
SLICES = st.builds(
    Slice,
    text=st.just("") | TEXT.map(str.strip),
    host=st.just("") | TEXT.map(str.strip),
    languages=st.lists(TEXT.map(str.strip).filter(bool), unique=True, max_size=3).map(tuple),
    verdict=st.sampled_from(["", "kept", "dropped", "undecided"]),
    reasons=st.lists(TEXT.map(str.strip).filter(bool), unique=True, max_size=3).map(tuple),
    ranges=st.lists(RANGES, max_size=3).map(tuple),
    sort=st.sampled_from(["", "relevance", "n_words"]),
    ascending=st.booleans(),
)


def in_slice(**conditions) -> list[str]:
    return cut(ROWS, Slice(**conditions)).rows()["doc_id"].to_list()


@given(SLICES)
def test_an_address_means_its_slice_again(wanted):
    assert slice_of(wanted.pairs()) == wanted


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, "d0 d1 d2 d3 d4 d5"),
        ({"host": "Example.org"}, "d0 d1 d3"),
        ({"url": "b/1"}, "d1"),
        ({"url": "https://b"}, "d1 d4"),
        ({"languages": ("eng_Latn", "und")}, "d0 d2 d3 d4"),
        ({"snapshots": ("s2",)}, "d3 d4 d5"),
        ({"verdict": "kept"}, "d0 d2"),
        ({"verdict": "dropped"}, "d1 d3 d5"),
        ({"verdict": "undecided"}, "d4"),
        ({"reasons": ("too_short", "near_duplicate")}, "d1 d3 d5"),
        ({"ranges": (Range("n_words", 7, 100),)}, "d0 d3 d4 d5"),
        ({"ranges": (Range("n_words"),)}, "d0 d1 d3 d4 d5"),
        ({"ranges": (Range("language_score", None, 0.7),)}, "d0 d3 d4"),
        ({"ranges": (Range("n_words", 50), Range("language_score", 0.6))}, "d4"),
        ({"sort": "n_words"}, "d0 d3 d4 d5 d1 d2"),
        ({"sort": "n_words", "ascending": True}, "d1 d5 d4 d0 d3 d2"),
    ],
)
def test_a_slice_is_exactly_the_rows_for_which_its_conditions_hold(conditions, found):
    assert in_slice(**conditions) == found.split()


def test_pages_that_have_the_text_come_most_relevant_first():
    found = pl.DataFrame({"place": [1, 3], "relevance": [1.0, 2.0]}, schema_overrides={"place": pl.UInt32})
    sliced = cut(ROWS, Slice(text="x"), found)
    assert sliced.rows().select("doc_id", "relevance").rows() == [("d3", 2.0), ("d1", 1.0)]
    assert exported(sliced.rows(), Slice(text="x", ranges=(Range("n_words", 1),))).columns == [
        "doc_id", "snapshot", "language", "outcome", "score", "threshold", "n_words", "relevance",
    ]  # fmt: skip


def test_facets_count_all_rows_as_if_their_own_condition_were_not_set():
    facets = cut(ROWS, Slice(verdict="dropped", languages=("eng_Latn",))).facets
    assert facets["language"] == [("deu_Latn", 1), ("eng_Latn", 1), ("jpn_Jpan", 1)]
    assert facets["verdict"] == [("dropped", 1), ("kept", 1), ("undecided", 1)]
    assert facets["reason"] == [("near_duplicate", 1)]


def test_hosts_are_counted_and_the_most_frequent_named():
    many = pl.concat([ROWS.head(1).with_columns(pl.lit(f"h{i}").alias("host")) for i in range(40)] + [ROWS])
    sliced = cut(many, Slice())
    assert sliced.hosts == 45 and len(sliced.facets["host"]) == HOSTS_COUNTED
    assert sliced.facets["host"][0] == ("example.org", 2)


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("n_words>=50", Range("n_words", 50)),
        ("n_words <= 5e1", Range("n_words", None, 50)),
        ("language_score=0.5", Range("language_score", 0.5, 0.5)),
        ("n_words>50", Range("n_words", math.nextafter(50, math.inf))),
        ("n_words<50", Range("n_words", None, math.nextafter(50, -math.inf))),
    ],
)
def test_comparisons_are_ranges(typed, means):
    assert compared(typed) == means


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([("column", "n_wordz"), ("from", "1"), ("to", "")], "no score is called n_wordz"),
        ([("column", "n_words"), ("from", "1")], "in threes"),
        ([("column", "n_words"), ("from", "one"), ("to", "")], "one is no number"),
        ([("column", "n_words"), ("from", "nan"), ("to", "")], "no number"),
        ([("column", "n_words"), ("from", "1e999"), ("to", "")], "no number"),
        ([("column", "n_words"), ("from", "5"), ("to", "4")], "exchange"),
        ([("verdict", "maybe")], "kept, dropped"),
        ([("sort", "text")], "no score is called text"),
        ([("order", "up")], "asc or desc"),
        ([("q", "x" * 5000)], "characters"),
        ([("language", str(i)) for i in range(500)], "times"),
    ],
)
def test_conditions_that_cannot_be_used_are_refused_with_a_reason(pairs, why):
    with pytest.raises(BadSlice, match=why):
        slice_of(pairs)


@pytest.mark.parametrize("typed", ["n_words", "n_words=>5", "n_words!=5", "n_words>=", ">=5", "x" * 9999])
def test_what_is_no_comparison_is_refused(typed):
    with pytest.raises(BadSlice):
        compared(typed)


def test_a_score_that_was_not_measured_is_named():
    with pytest.raises(BadSlice, match="lid176_score was not measured"):
        cut(ROWS, Slice(ranges=(Range("lid176_score", 0.5),)))


def test_every_score_says_what_it_means():
    assert {"n_words", "language_score", "cluster_size", "payload_bytes"} <= set(scores())
    assert all(scores().values())
