"""Figures are drawn with their intervals and neighbours; same rows, same bytes."""

from assets.intervals import draw

ROWS = [
    {"label": "all", "value": 2.0, "low": 1.9, "high": 2.1, "unigram": 3.0},
    {"label": "language eng_Latn", "value": 2.2, "low": 2.0, "high": 2.4, "unigram": None},
]


def test_same_rows_give_the_same_picture_and_every_column_is_in_it():
    picture = draw({"bits per byte": ROWS})
    assert picture.startswith(b"\x89PNG") and picture == draw({"bits per byte": ROWS, "nothing to show": []})
    for change in ({"value": 2.05}, {"high": 2.3}, {"unigram": 2.9}, {"label": "none"}):
        assert draw({"bits per byte": [ROWS[0] | change, ROWS[1]]}) != picture


def test_nothing_at_all_is_a_picture_too():
    assert draw({}).startswith(b"\x89PNG")
