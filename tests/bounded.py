"""A guard for input that is made to be slow: what grows with the square of it would take hours."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 300.0


@contextmanager
def in_bounded_work() -> Iterator[None]:
    """Fails what takes over PATIENCE_S of the process's CPU time: far more than a slow and busy machine takes, far less
    than work that is not in proportion to its input. Speed is what tests/benchmarks measures."""
    began = time.process_time()
    yield
    assert time.process_time() - began < PATIENCE_S
