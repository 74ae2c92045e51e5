"""`python -m models serve-lines`: answers questions about models, one JSON object a line in and out, no port.

What can be asked is in models/inference/requests.py. Answers carry the id of their question and an `event`:

    start   of a text: prompt_tokens, digest of the model
    token   drawn: token (its id), logprob, its text, bytes and special; shown, the text that is whole now; top, the
            likeliest tokens with their logprob, where top_logprobs asks for them
    done    the text is over: rest (what waited), text (all of it), tokens, reason: end, stop_string, length, cancelled;
            stop, the stop string that came
    answer  to anything else
    error   error (its type), message; TooLong also says limit and got

Questions interleave. A bad one gets its error, and the program lives on; it ends with its input, when all is answered.
One thread decides: the texts of a model draw a token each in one step of its engine (models/inference/engine.py), those
of nets that the engine does not know one after the other. What one says never depends on what others ask.
"""

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError

from models.config import InputError, from_dict
from models.inference.answers import TooLong, Utterance, probe, tokenize
from models.inference.engine import Capacity, Engine, Failed, Token
from models.inference.loaded import Models
from models.inference.requests import BadRequest, Cancel, Probe, Request, Speak, Status, Tokenize, Unload, parse
from models.inference.requests import read_line as read_request

LONGEST_LINE = 4 << 20  # bytes
# what a question, a model directory or a lack of memory can bring about; anything else is a fault of ours and ends all
ANSWERABLE = (ValueError, ArithmeticError, OSError, RuntimeError, MemoryError, SafetensorError)


@dataclass(frozen=True)
class Limits:
    """How much of the machine the program may take."""

    threads: int = 1  # that compute
    max_bytes: int = 4 << 30  # weights in memory
    max_streams: int = 16  # texts at once; more wait
    max_waiting: int = 64  # questions that wait; more are refused
    niceness: int = 5  # added to the process's own
    cache_bytes: int = 256 << 20  # keys and values of each model's texts; memory is taken as they are written
    prompt_tokens: int = 256  # of prompts that are read before others' next token


class Busy(RuntimeError):
    """More questions wait than may."""


class Desk:
    """Questions in, events out. `accept` takes a line, `turn` does a small piece of work."""

    def __init__(self, limits: Limits, write: Callable[[dict[str, Any]], None]) -> None:
        self.limits, self.write = limits, write
        capacity = Capacity(limits.cache_bytes, limits.max_streams, limits.prompt_tokens, limits.threads)
        self.models = Models(limits.max_bytes, capacity)
        self.waiting: OrderedDict[str, Probe | Tokenize] = OrderedDict()
        self.unsaid: OrderedDict[str, Speak] = OrderedDict()
        self.speaking: dict[str, Utterance] = {}

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self.waiting or self.unsaid or self.speaking)

    def accept(self, line: bytes) -> None:
        """Takes one line; small things are answered at once."""
        identity = None
        try:
            value = read_request(line)
            if value["id"] in self.waiting or value["id"] in self.unsaid or value["id"] in self.speaking:
                raise BadRequest(f"the id {value['id']!r} is still being answered: give another")
            identity = value["id"]
            self._take(identity, parse(value))
        except (InputError, Busy) as error:
            self._refuse(identity, error)

    def turn(self) -> None:
        """Answers one question that waits, begins texts while there is room, and draws a token for each of them."""
        if self.waiting:
            identity, asked = self.waiting.popitem(last=False)
            self._try(identity, lambda: self._answer(identity, asked))
        while self.unsaid and len(self.speaking) < self.limits.max_streams:
            identity, wanted = self.unsaid.popitem(last=False)
            self._try(identity, lambda at=identity, what=wanted: self._begin(at, what))
        for identity, utterance in list(self.speaking.items()):
            if utterance.engine is None:
                self._try(identity, lambda at=identity: self._step(at))
        for engine in {id(one.engine): one.engine for one in self.speaking.values() if one.engine}.values():
            self._turn(engine)

    def _take(self, identity: str, asked: Request) -> None:
        if isinstance(asked, Cancel):
            self._event(identity, "answer", found=self._cancel(asked.of))
        elif isinstance(asked, Unload):
            self._event(identity, "answer", found=self.models.unload(asked.model))
        elif isinstance(asked, Status):
            held = [{"model": str(path), "digest": one.digest, "bytes": one.bytes} for path, one in self.models.held()]
            waiting = len(self.waiting) + len(self.unsaid)
            self._event(identity, "answer", models=held, speaking=len(self.speaking), waiting=waiting)
        elif len(self.waiting) + len(self.unsaid) >= self.limits.max_waiting:
            raise Busy(f"{self.limits.max_waiting} questions wait already: ask again later")
        elif isinstance(asked, Speak):
            self.unsaid[identity] = asked
        else:
            self.waiting[identity] = asked

    def _answer(self, identity: str, asked: Probe | Tokenize) -> None:
        said = probe(self.models, asked) if isinstance(asked, Probe) else tokenize(self.models, asked)
        self._event(identity, "answer", **said)

    def _begin(self, identity: str, wanted: Speak) -> None:
        utterance = Utterance(self.models, wanted)
        self.speaking[identity] = utterance
        self._event(identity, "start", prompt_tokens=utterance.prompt_tokens, digest=utterance.digest)

    def _turn(self, engine: Engine) -> None:
        """One step of an engine: a token for each of its texts whose prompt is read."""
        of = {one.request: identity for identity, one in self.speaking.items() if one.engine is engine}
        try:
            events = engine.step()
        except ANSWERABLE as error:  # a lack of memory: nothing of this engine can be trusted any more
            self.models.drop(engine)
            for identity in of.values():
                del self.speaking[identity]
                self._refuse(identity, error)
            return
        for event in events:
            self._try(of[event.request], lambda at=of[event.request], what=event: self._take_in(at, what))

    def _take_in(self, identity: str, event: Token | Failed) -> None:
        if isinstance(event, Failed):
            raise event.error
        utterance = self.speaking[identity]
        self._event(identity, "token", **utterance.take(event))
        if utterance.reason is not None:
            self._finish(identity, utterance.reason)

    def _step(self, identity: str) -> None:
        utterance = self.speaking[identity]
        if utterance.reason is None:
            self._event(identity, "token", **utterance.step())
        if utterance.reason is not None:
            self._finish(identity, utterance.reason)

    def _cancel(self, identity: str) -> bool:
        if identity in self.speaking:
            self._finish(identity, "cancelled")
        elif self.unsaid.pop(identity, None) or self.waiting.pop(identity, None):
            self._event(identity, "done", rest="", text="", tokens=0, reason="cancelled")
        else:
            return False
        return True

    def _finish(self, identity: str, reason: str) -> None:
        utterance = self.speaking.pop(identity)
        utterance.leave()
        stop = {"stop": utterance.stopped_by} if reason == "stop_string" else {}
        rest = utterance.end()
        self._event(identity, "done", rest=rest, text=utterance.text, tokens=utterance.tokens, reason=reason, **stop)

    def _try(self, identity: str, work: Callable[[], None]) -> None:
        try:
            work()
        except BrokenPipeError:  # nobody reads any more
            raise
        except ANSWERABLE as error:
            if (utterance := self.speaking.pop(identity, None)) is not None:
                utterance.leave()
            self._refuse(identity, error)

    def _refuse(self, identity: str | None, error: BaseException) -> None:
        more = {"limit": error.limit, "got": error.got} if isinstance(error, TooLong) else {}
        self._event(identity, "error", error=type(error).__name__, message=str(error), **more)

    def _event(self, identity: str | None, event: str, **fields: Any) -> None:
        self.write({"id": identity, "event": event, **fields})


def serve(source: BinaryIO, sink: BinaryIO, limits: Limits) -> None:
    """Answers all lines of `source` on `sink`; returns when it ended and all is answered, or nobody reads."""

    def write(event: dict[str, Any]) -> None:
        sink.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        sink.flush()

    inbox: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=_read, args=(source, inbox), name="reader", daemon=True).start()
    desk, ended = Desk(limits, write), False
    try:
        while not ended or desk.busy:
            try:
                while not ended:
                    line = inbox.get(block=not desk.busy)
                    ended = line is None
                    if line is not None:
                        desk.accept(line)
            except Empty:
                pass
            desk.turn()
    except BrokenPipeError:
        return


def run(config: dict[str, Any], out: Path | None, report: Callable[[str], None]) -> dict[str, Any]:
    """The `serve-lines` command. Config: the fields of `Limits`, all optional."""
    limits = from_dict(Limits, config)
    os.nice(limits.niceness)
    torch.set_num_threads(limits.threads)
    # a pipe of its own for the reader, which may still wait when the interpreter ends and closes sys.stdin
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else prints must not stand between answers
    report(f"serve-lines: {limits.threads} threads, models may take {limits.max_bytes:,} B")
    with suppress(BrokenPipeError), sink:
        serve(source, sink, limits)
    return {}


def _read(source: BinaryIO, inbox: "SimpleQueue[bytes | None]") -> None:
    """Puts each line into the inbox, of one that is too long only its beginning, and None at the end."""
    while line := source.readline(LONGEST_LINE + 1):
        inbox.put(line)
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            line = source.readline(LONGEST_LINE + 1)
            if not line:
                break
    inbox.put(None)
