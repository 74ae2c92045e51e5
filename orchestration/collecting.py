"""Makes look-ups faster: Python looks for reference cycles seldom while one runs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_BETWEEN = 200_000  # what lies in cycles is still bounded


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Looks for reference cycles once in OBJECTS_BETWEEN new objects, not in 700.

    A look-up of a second or two is mostly imports, and Python spends a quarter of it on finding no cycle.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
