"""Queries: what people type is read, what cannot be meant is refused with a reason, nothing breaks the reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.searching.query import LONGEST, Query, QueryError, Term, parse


def text(*words: str) -> Term:
    return Term("text", words)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Hello world", Query(((text("hello"),), (text("world"),)))),
        ('"hello World"', Query(((text("hello", "world"),),))),
        ("a -b", Query(((text("a"),),), (text("b"),))),
        ('-"b c"', Query((), (text("b", "c"),))),
        ("a OR b c", Query(((text("a"), text("b")), (text("c"),)))),
        ("a or b", Query(((text("a"),), (text("or"),), (text("b"),)))),
        ("host:WWW.Example.org.", Query(((Term("host", ("www.example.org",)),),))),
        ("host:https://example.org:80/a", Query(((Term("host", ("example.org",)),),))),
        ("-host:example.org a", Query(((text("a"),),), (Term("host", ("example.org",)),))),
        ("url:/a%20b/C.html", Query(((Term("url", ("a", "b", "c", "html")),),))),
        ("12:30 don't", Query(((text("12", "30"),), (text("don", "t"),)))),
        ("東京", Query(((text("東", "京"),),))),
        ("a !!!", Query(((text("a"),),), ignored=("!!!",))),
        ("x !!! OR a", Query(((text("x"),), (text("a"),)), ignored=("!!!",))),
        ("a\x00b\ud800c\u2028d", Query(tuple((text(one),) for one in "abcd"))),
        ("“a b”", Query(((text("a", "b"),),))),
    ],
)
def test_what_is_typed_is_what_is_meant(typed, meant):
    assert parse(typed) == meant


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "empty"),
        ("  \t", "empty"),
        ("!!!", "has no word"),
        ('a "b c', "quote at character 3 is not closed"),
        ('"' * 999, "not closed"),
        ("OR a", "nothing before"),
        ("a OR", "nothing behind"),
        ("a OR OR b", "nothing before"),
        ("a OR -b", "cannot follow OR"),
        ("host:", "names nothing"),
        ("a url: b", "names nothing"),
        ("x" * (LONGEST + 1), "characters"),
        ("a " * 100, "100 words"),
        ("東" * 999, "999 words"),
        (f"a {'b' * 200}", "longer than any word"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(typed, why):
    with pytest.raises(QueryError, match=why):
        parse(typed)


PIECES = [*'ab"-:.*?[](){}|^~\\/+ 東\u202e\x00\ud800\t', "OR", " OR ", "host:", "url:"]


@given(st.lists(st.sampled_from(PIECES)))
def test_anything_typed_is_read_or_refused(pieces):
    try:
        meant = parse("".join(pieces))
    except QueryError as error:
        assert str(error).isprintable()
        return
    assert all(word for group in meant.groups for term in group for word in term.words)


def test_nothing_of_an_expression_is_more_than_words():
    assert parse("(a+)+$ b* [c TO d] e~2 f^9") == Query(
        tuple((text(*words),) for words in (["a"], ["b"], ["c"], ["to"], ["d"], ["e", "2"], ["f", "9"]))
    )
