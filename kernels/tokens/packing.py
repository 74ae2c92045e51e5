"""Best-fit packing: pieces of text into rows of one capacity, the longest first, each where it leaves the least room.

Best-fit decreasing in O(n log capacity), by a tree over the room that is left (arXiv 2404.10830, section 3). Pieces of
equal length are interchangeable, so how many rows come out depends on the lengths alone, not on their order.
"""

import numpy as np
from numba import njit


class PieceTooLong(ValueError):
    """A piece that is longer than a row, or empty; cut it first."""


def best_fit(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The row of each piece, int64; rows are numbered in the order in which they are opened.

    lengths: tokens of each piece, 1 to capacity; pieces of one length are placed in the order given.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if lengths.size and not (lengths.min() >= 1 and lengths.max() <= capacity):
        raise PieceTooLong(f"pieces hold 1 to {capacity} tokens, got {lengths.min()} to {lengths.max()}")
    rows = np.empty(len(lengths), dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    rows[order] = _place(lengths[order], capacity)
    return rows


@njit(cache=True)
def _place(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """Rows of pieces that come in order of length, longest first."""
    size = 1
    while size <= capacity:
        size *= 2
    open_ = np.zeros(2 * size, dtype=np.bool_)  # a binary tree; leaf size + r: some row has room r
    newest = np.full(capacity + 1, -1, dtype=np.int64)  # by room: the row that came to it last
    before = np.full(len(lengths), -1, dtype=np.int64)  # by row: the one that came to the same room before
    rows = np.empty(len(lengths), dtype=np.int64)
    count = 0
    for piece in range(len(lengths)):
        length = lengths[piece]
        node = size + length
        if not open_[node]:  # the next leaf to the right that is open
            while node > 1 and (node % 2 == 1 or not open_[node + 1]):
                node //= 2
            if node > 1:
                node += 1
                while node < size:
                    node = 2 * node if open_[2 * node] else 2 * node + 1
        if node > 1:
            room = node - size
            row = newest[room]
            newest[room] = before[row]
            while node >= 1 and newest[room] < 0:  # the room is gone: close it, and every node that held only it
                open_[node] = node < size and (open_[2 * node] or open_[2 * node + 1])
                if open_[node]:
                    break
                node //= 2
        else:
            room, row = capacity, count
            count += 1
        rows[piece] = row
        left = room - length
        if left > 0:
            before[row] = newest[left]
            newest[left] = row
            node = size + left
            while node >= 1 and not open_[node]:
                open_[node] = True
                node //= 2
    return rows
