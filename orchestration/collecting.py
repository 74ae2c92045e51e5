"""Makes short commands faster: Python looks for reference cycles seldom while one runs, and not when it ends."""

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


@contextmanager
def ending_uncollected() -> Iterator[None]:
    """Around all that a process does: when it ends, what it loaded is not looked through for cycles once more.

    With Dagster, polars and their like loaded that takes half a second. What `atexit` and `finally` promise still
    happens; only what lies in cycles then goes with the process, without its finalizers.
    """
    try:
        yield
    finally:
        gc.freeze()
