"""What takes longer than a page may: made once in a thread for each state of the stores, the last shown meanwhile."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made(Generic[T]):
    """What was made, of which state, when (seconds since the epoch); `trouble` in its place where it could not be."""

    stamp: str
    at: float
    value: T | None = None
    trouble: str | None = None


class Background(Generic[T]):
    """One value, as new as the last `stamp` that was asked for allows.

    oldest_s: a value that is older is made again though its stamp is the same, for stamps that do not see everything.
    """

    def __init__(self, oldest_s: float = float("inf")) -> None:
        self._oldest_s = oldest_s
        self._lock = threading.Lock()
        self._made: Made[T] | None = None
        self._thread: threading.Thread | None = None

    def look(self, stamp: str, make: Callable[[], T], wait_s: float = 0.0) -> Made[T] | None:
        """The last value, of this stamp or of an earlier one; None before the first. Starts making what is not new.

        wait_s: the longest time to wait for a value of this stamp.
        """
        made = self._made
        if made is not None and made.stamp == stamp and time.time() - made.at < self._oldest_s:
            return made
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._make, args=(stamp, make), daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(wait_s) if wait_s else None
        return self._made

    @property
    def is_busy(self) -> bool:
        """Whether a newer value is being made."""
        return self._thread is not None and self._thread.is_alive()

    def _make(self, stamp: str, make: Callable[[], T]) -> None:
        try:
            self._made = Made(stamp, time.time(), make())
        except Exception as error:  # a thread has nobody above it: the page says it, the log says where
            log.warning("what a page shows could not be made", exc_info=error)
            self._made = Made(stamp, time.time(), trouble=f"{type(error).__name__}: {' '.join(str(error).split())}")
