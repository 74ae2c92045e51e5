"""Models that answer, from a program beside the pages: started when first asked, started again when it dies.

The program is `python -m models serve-lines` (models/inference/lines.py); no torch is loaded here. It ends with this
process, whose end of the pipe it reads from, however that ends.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from starlette.exceptions import HTTPException

from orchestration.pages.site import Site

REPO = Path(__file__).resolve().parents[2]
NAME = "speaking"  # in Site.kept
TEXTS = ("complete", "chat")  # what is asked for them
LAST = ("answer", "done", "error")  # nothing follows these
MOST_TEXTS = 12  # under way or waiting, of all browsers together
MOST_QUESTIONS = 40
ANSWER_S = 120.0  # for an answer, or for the next token; a busy machine starts the program in 40 s
STALL_S = 300.0  # without any event, though something was asked: then the program hangs
GRACE_S = 5.0
DEATHS, WITHIN_S = 3, 60.0  # so many in so short a time, and it is not started again for as long
Event = dict[str, Any]


class Refused(ValueError):
    """What the program will not do, in its own words; `kind` names the error, TooLong has `limit` and `got`."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        super().__init__(str(event.get("message", "")))
        self.kind = str(event.get("error", ""))
        self.limit, self.got = event.get("limit"), event.get("got")


class Unanswered(HTTPException):
    """No answer can be had now: too many ask at once, it takes too long, or the program died. Ask again later."""

    def __init__(self, why: str) -> None:
        super().__init__(503, why)

    def __str__(self) -> str:
        return str(self.detail)


@dataclass
class _Asked:
    """A question under way: of which process, who takes its events (None: the process ended), whether it is over."""

    process: subprocess.Popen[bytes]
    take: Callable[[Event | None], None]
    is_text: bool
    over: bool = False


class Speaker:
    """The program of one home. `limits`: fields of models.inference.lines.Limits. `log`: where its stderr goes.

    most_texts, most_questions: that may be under way or wait at once; more are Unanswered.
    """

    def __init__(
        self,
        log: Path,
        limits: Mapping[str, int] | None = None,
        *,
        stall_s: float = STALL_S,
        most_texts: int = MOST_TEXTS,
        most_questions: int = MOST_QUESTIONS,
    ) -> None:
        self.log, self.limits, self.stall_s = log, dict(limits or {}), stall_s
        self.most_texts, self.most_questions = most_texts, most_questions
        self._lock = threading.Lock()  # of what follows; never held while waiting for an answer
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: dict[str, _Asked] = {}
        self._numbers = itertools.count(1)
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._heard = 0.0
        self._closed = False
        self._writing = threading.Lock()

    def ask(self, request: Mapping[str, Any], timeout_s: float = ANSWER_S) -> Event:
        """The answer to a question that has one; of a text its `done`, with all that was drawn as `drawn`.

        Raises Refused, Unanswered (also where the next event is not there in time).
        """
        events: SimpleQueue[Event | None] = SimpleQueue()
        drawn: list[Event] = []
        with self._asking(request, events.put):
            while True:
                try:
                    event = self._said(events.get(timeout=timeout_s))
                except Empty:
                    raise self._late(timeout_s) from None
                if event["event"] == "token":
                    drawn.append(event)
                elif event["event"] != "start":
                    return event | ({"drawn": drawn} if event["event"] == "done" else {})

    async def speak(self, request: Mapping[str, Any], timeout_s: float = ANSWER_S) -> AsyncIterator[Event]:
        """The events of a text as they come, `done` last. When nobody listens any more, the text is ended.

        Raises Refused, Unanswered (also where the next event is not there in time).
        """
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event | None]()

        def take(event: Event | None) -> None:
            with suppress(RuntimeError):  # the loop is over, and so is who listened
                loop.call_soon_threadsafe(events.put_nowait, event)

        with self._asking(request, take):
            while True:
                try:
                    event = self._said(await asyncio.wait_for(events.get(), timeout_s))
                except TimeoutError:
                    raise self._late(timeout_s) from None
                yield event
                if event["event"] == "done":
                    return

    def start(self) -> None:
        """Starts the program if it is not there, without waiting: somebody is about to ask. Says nothing of trouble."""
        with self._lock, suppress(Unanswered):
            self._running()

    def close(self) -> None:
        """Ends the program; what is under way gets Unanswered."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            _end(process)

    @property
    def pid(self) -> int | None:
        """The program's process, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def under_way(self) -> int:
        """Questions that wait for their last event."""
        return len(self._asked)

    @contextmanager
    def _asking(self, request: Mapping[str, Any], take: Callable[[Event | None], None]) -> Iterator[None]:
        name, is_text = str(next(self._numbers)), request["ask"] in TEXTS
        with self._lock:
            texts = sum(asked.is_text for asked in self._asked.values())
            if len(self._asked) >= self.most_questions or (is_text and texts >= self.most_texts):
                raise Unanswered("too many people ask the models at once: try again in a moment")
            if not self._asked:
                self._heard = time.monotonic()
            asked = self._asked[name] = _Asked(self._running(), take, is_text)
        try:
            self._write(asked.process, {**request, "id": name})
            yield
        finally:
            with self._lock:
                self._asked.pop(name, None)
            if not asked.over:
                with suppress(Unanswered):  # then it died, and the question with it
                    self._write(asked.process, {"id": f"cancel {name}", "ask": "cancel", "of": name})

    def _said(self, event: Event | None) -> Event:
        if event is None:
            raise Unanswered(f"the models' program ended; ask again and it is started anew (its log: {self.log})")
        if event["event"] == "error":
            raise Refused(event)
        return event

    def _late(self, timeout_s: float) -> Unanswered:
        """What to say when no event came in time; a program that has long been silent to all is ended."""
        process = self._process
        if process is not None and time.monotonic() - self._heard > self.stall_s:
            process.kill()
        return Unanswered(f"the model gave no answer for {timeout_s:g} s: ask for less, or later")

    def _running(self) -> subprocess.Popen[bytes]:
        """The program, started if it is not there; with the lock held. Raises Unanswered."""
        if self._closed:
            raise Unanswered("this server is being ended")
        if self._process is not None and self._process.poll() is None:
            return self._process
        if len(self._deaths) == DEATHS and time.monotonic() - self._deaths[0] < WITHIN_S:
            raise Unanswered(f"the models' program died {DEATHS} times within a minute: see its log, {self.log}")
        self._process = self._start()
        threading.Thread(target=self._read, args=(self._process,), name="models", daemon=True).start()
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        config = self.log.with_suffix(".json")
        config.write_text(json.dumps(self.limits))
        threads = str(self.limits.get("threads", 1))
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "models", "serve-lines", "--config", str(config)],
                cwd=REPO,
                env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the pages, whose end it sees at its pipe
            )

    def _write(self, process: subprocess.Popen[bytes], request: Event) -> None:
        assert process.stdin is not None
        try:
            with self._writing:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: it is closed
            raise Unanswered("the models' program has just ended: ask again") from error

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Hands every event to who asked, and its end to all who still wait for this process."""
        assert process.stdout is not None
        with process.stdout as answers:
            for line in answers:
                event = json.loads(line)
                with self._lock:
                    self._heard = time.monotonic()
                    asked = self._asked.get(event["id"])
                    if asked is not None:
                        asked.over = event["event"] in LAST
                if asked is not None:
                    asked.take(event)
        process.wait()
        _close(process)
        with self._lock:
            if not self._closed:
                self._deaths.append(time.monotonic())
            lost = [asked for asked in self._asked.values() if asked.process is process]
        for asked in lost:
            asked.over = True
            asked.take(None)


def speaker(site: Site) -> Speaker:
    """The speaker of these pages, one for all of them."""
    return site.kept.setdefault(NAME, Speaker(site.home / "logs" / "models.log"))  # atomic, and it starts nothing


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closes the program's pipe, upon which it ends, and kills it where it does not."""
    _close(process)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # of what was not read any more
            process.stdin.close()
