"""What strangers wrote is shown whole or cut with notice, and no character of it can do anything."""

from hypothesis import given
from hypothesis import strategies as st

from orchestration.pages.hostile import LINES_SHOWN, Span, around, shown, visible

TEXTS = st.text(max_size=60)
SPANS = st.lists(
    st.builds(lambda a, n, note: Span(a, a + n, note), st.integers(0, 70), st.integers(0, 30), st.sampled_from("abc")),
    max_size=6,
)


@given(TEXTS, SPANS)
def test_segments_are_the_text_in_order_whatever_is_marked(text, spans):
    assert "".join(piece.text for piece in shown(text, spans).segments) == visible(text)


@given(TEXTS, SPANS)
def test_a_piece_is_marked_exactly_where_a_span_covers_it(text, spans):
    place = 0
    for piece in shown(text.encode("ascii", "replace").decode().replace("\x7f", "."), spans).segments:
        width = len(piece.text) if "\\" not in piece.text else None
        if width is None:
            return  # escaped characters are longer than what they stand for
        covering = [span for span in spans if span.start < place + width and span.end > place and span.end > span.start]
        assert bool(piece.note) == bool(covering)
        assert set(filter(None, piece.note.split("; "))) == {span.note for span in covering}
        place += width


def test_bidirectional_overrides_and_control_characters_are_shown_by_their_code():
    assert visible("a\u202egnp.exe\x00\x1b[2J") == "a\\u202egnp.exe\\x00\\x1b[2J"
    assert visible("line\n\tnext") == "line\n\tnext"


def test_a_long_text_is_cut_with_notice():
    text = shown("x" * 10_000_000, longest=500)
    assert (text.shown, text.points, text.is_cut) == (500, 10_000_000, True)
    assert "500 of 10,000,000 characters" in text.notice
    many = shown("\n" * 50_000, longest=50_000)
    assert many.segments[0].text.count("\n") == LINES_SHOWN - 1 and many.is_cut


def test_around_shows_the_first_span_in_its_place():
    text = "a" * 1000 + "needle" + "b" * 1000
    part = around(text, [Span(1000, 1006, "found")], context=20)
    marked = [piece.text for piece in part.segments if piece.note]
    assert marked == ["needle"] and part.shown <= 60 and part.starts == 980
