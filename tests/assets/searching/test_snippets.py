"""Snippets: what is marked is what was looked for, where it stands, in texts of any length and script."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from assets.searching.snippets import PIECES, SCANNED, WIDTH, snippet
from assets.searching.words import words

PROSE = "It was a dark night. " * 20


def marked(text: str, *wanted: tuple[str, ...]) -> list[str]:
    return [text[start:end] for piece in snippet(text, wanted) for start, end in piece.marks]


def test_words_and_phrases_are_marked_where_they_stand():
    text = f"{PROSE}The QUICK, brown fox. {PROSE}"
    assert marked(text, ("quick", "brown")) == ["QUICK, brown"]
    assert marked(text, ("brown", "quick")) == []
    assert marked(f"{PROSE}東京タワーへ行く{PROSE}", ("東", "京", "タ", "ワ", "ー")) == ["東京タワー"]
    assert marked("die STRASSE", ("strasse",)) == marked("die Straße".upper(), ("strasse",)) == ["STRASSE"]


def test_terms_that_stand_apart_get_a_piece_each_in_the_order_of_the_text():
    text = f"{PROSE}first {PROSE}second {PROSE}"
    pieces = snippet(text, [("second",), ("first",)])
    assert [[text[a:b] for a, b in piece.marks] for piece in pieces] == [["first"], ["second"]]


def test_a_word_far_into_a_long_text_is_found():
    text = f"{'ß' * 30} " * (2 * SCANNED // 30) + "needle " + PROSE
    assert marked(text, ("needle",)) == ["needle"]


def test_without_a_match_the_text_begins():
    (piece,) = snippet(PROSE, [("absent",)])
    assert (piece.start, piece.end, piece.marks) == (0, WIDTH, ())
    assert snippet("", [("a",)])[0].end == 0


@given(st.text("ab .東京Ω", max_size=400), st.lists(st.sampled_from(["a", "b", "ab", "東京", "ω a"]), max_size=3))
def test_pieces_lie_apart_in_the_text_and_marks_in_them_are_the_terms(text, typed):
    wanted = [tuple(words(one)) for one in typed]
    pieces = snippet(text, wanted)
    assert 1 <= len(pieces) <= PIECES
    assert all(one.end <= other.start for one, other in pairwise(pieces))
    for piece in pieces:
        assert 0 <= piece.start <= piece.end <= len(text) and piece.end - piece.start <= WIDTH
        for start, end in piece.marks:
            assert piece.start <= start < end <= piece.end and tuple(words(text[start:end])) in wanted
