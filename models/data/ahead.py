"""The next step's batch is read while this one is trained on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Ahead(Generic[Batch]):
    """Calls `batch_at`, a pure function of the step, one step early in a thread of its own; errors come when due.

    Whatever step is asked for is answered; the one after it is begun.
    """

    def __init__(self, batch_at: Callable[[int], Batch]) -> None:
        self.batch_at = batch_at
        self._thread = ThreadPoolExecutor(1, "batches")
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        begun, self._next = self._next, None
        ready = begun[1] if begun is not None and begun[0] == step else self._thread.submit(self.batch_at, step)
        batch = ready.result()
        self._next = step + 1, self._thread.submit(self.batch_at, step + 1)
        return batch
