"""What a fetch has spent, over all its runs, and the budget that it stops at.

Every request is noted with the bytes that it may move before it is made, and again with those that did not come, so
after a kill the requests in flight count in full: what is counted is never less than what moved.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from assets.crawl_index.journal import StateUnwritable
from assets.crawl_index.prices import Price

LINE = re.compile(r"(\d{1,18}) (-?\d{1,18})")


class BudgetPassed(RuntimeError):
    """What is left to do would cost more than the budget allows, and was not asked for."""


class Spending:
    """Requests and bytes so far, as the file says. most_usd: the budget, None for none."""

    def __init__(self, path: Path, money: Price, most_usd: float | None = None) -> None:
        self.path, self.money, self.most_usd = path, money, most_usd
        lines = path.read_text("ascii", "replace").splitlines() if path.is_file() else []
        noted = [(int(found[1]), int(found[2])) for line in lines if (found := LINE.fullmatch(line))]
        self.requests, self.bytes = sum(one for one, _ in noted), sum(size for _, size in noted)

    @property
    def usd(self) -> float:
        return self.money.usd(self.requests, self.bytes)

    def begin(self, size: int) -> None:
        """Counts a request that may move `size` bytes. Raises BudgetPassed, StateUnwritable."""
        if self.most_usd is not None and self.money.usd(self.requests + 1, self.bytes + size) > self.most_usd:
            raise BudgetPassed(
                f"${self.usd:.4f} are spent, one more request would pass the budget of ${self.most_usd:.4f}; what came"
                " is held: raise the budget to go on"
            )
        self._note(1, size)

    def end(self, unused: int) -> None:
        """Takes back the bytes of a request that did not come. Raises StateUnwritable."""
        if unused:
            self._note(0, -unused)

    def _note(self, requests: int, size: int) -> None:
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, f"\n{requests} {size}\n".encode())  # a torn line before it spoils nothing
            finally:
                os.close(handle)
        except OSError as error:
            raise StateUnwritable(f"{self.path}: {error.strerror}") from error
        self.requests += requests
        self.bytes += size
