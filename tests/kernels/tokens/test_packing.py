"""Best fit by a tree is best fit by looking at every row; nothing overflows and nothing is left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.tokens.packing import PieceTooLong, best_fit


def reference(lengths, capacity):
    """Best-fit decreasing as a beginner writes it; among rows of equal room the one that came to it last."""
    room, arrived, rows = [], [], [0] * len(lengths)
    for moment, piece in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        fitting = [row for row in range(len(room)) if room[row] >= lengths[piece]]
        if fitting:
            row = min(fitting, key=lambda r: (room[r], -arrived[r]))
        else:
            row = len(room)
            room.append(capacity)
            arrived.append(0)
        room[row] -= lengths[piece]
        arrived[row] = moment
        rows[piece] = row
    return rows


@given(capacity=st.integers(1, 70), data=st.data())
@settings(max_examples=150, deadline=None)
def test_equals_the_obvious_way(capacity, data):
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=80))
    assert best_fit(np.array(lengths, dtype=np.int64), capacity).tolist() == reference(lengths, capacity)


def test_a_hundred_thousand_pieces_fit_and_waste_little():
    lengths = np.minimum(np.random.default_rng(0).geometric(1 / 300, 100_000), 2049)
    rows = best_fit(lengths, 2049)
    filled = np.bincount(rows, weights=lengths)
    assert filled.max() <= 2049 and filled.sum() == lengths.sum()
    assert 1 - filled.sum() / (len(filled) * 2049) < 1e-3


def test_how_many_rows_there_are_does_not_depend_on_the_order():
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 200, 500)
    assert {best_fit(generator.permutation(lengths), 256).max() for _ in range(5)} == {best_fit(lengths, 256).max()}


def test_no_piece_needs_no_row_and_bad_ones_are_refused():
    assert best_fit(np.zeros(0, dtype=np.int64), 8).tolist() == []
    for bad in (0, 9):
        with pytest.raises(PieceTooLong, match="1 to 8"):
            best_fit(np.array([3, bad]), 8)
