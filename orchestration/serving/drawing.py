"""Texts under way, as OpenAI's objects: pieces of choices as they are drawn, and what they add up to."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.data.tools import BEGIN, END, NoCall, read
from orchestration.pages.speaking import Refused, Speaker, Unanswered
from orchestration.serving.errors import ApiError, of_program

REASONS = {"end": "stop", "stop_string": "stop", "length": "length", "cancelled": "stop"}
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """What a choice got: text that is shown, tokens that were drawn for it, a call; `reason` where it is over."""

    index: int
    text: str = ""
    tokens: Sequence[Event] = ()
    call: tuple[str, str] | None = None  # name and arguments
    reason: str | None = None
    prompt_tokens: int | None = None  # where the choice begins


@dataclass
class Choice:
    """Turns the events of one text into pieces. `calls`: text from BEGIN on is held until it is a call."""

    index: int
    calls: bool = False
    held: str = ""
    tokens: list[Event] = field(default_factory=list)

    def piece(self, event: Event) -> Piece | None:
        """The piece that an event makes; None while nothing can be shown."""
        if event["event"] == "start":
            return Piece(self.index, prompt_tokens=event["prompt_tokens"])
        if event["event"] == "token":
            self.tokens.append(event)
            text = self._shown(event["shown"])
            return self._made(text) if text else None
        return self._last(event)

    def _shown(self, text: str) -> str:
        """What of the text so far is no call, and will not be the beginning of one."""
        if not self.calls:
            return text
        self.held += text
        begin = self.held.find(BEGIN)
        if begin < 0:
            ends = (size for size in range(len(BEGIN) - 1, 0, -1) if self.held.endswith(BEGIN[:size]))
            begin = len(self.held) - next(ends, 0)
        shown, self.held = self.held[:begin], self.held[begin:]
        return shown

    def _last(self, done: Event) -> Piece:
        text = self._shown(done["rest"])
        if self.calls and done.get("stop") == END:
            try:
                if not self.held.startswith(BEGIN):
                    raise NoCall("it has no beginning")
                call = read(self.held.removeprefix(BEGIN))
            except NoCall:  # it is text like any other
                return self._made(text + self.held + END, reason="stop")
            return self._made(text, call=(call.name, call.arguments), reason="tool_calls")
        return self._made(text + self.held, reason=REASONS[done["reason"]])

    def _made(self, text: str, call: tuple[str, str] | None = None, reason: str | None = None) -> Piece:
        tokens, self.tokens = self.tokens, []
        return Piece(self.index, text, tokens, call, reason)


async def pieces(speaker: Speaker, questions: Sequence[Event], *, calls: bool = False) -> AsyncIterator[Piece]:
    """Pieces of one choice a question, in the order in which they come. Raises ApiError.

    When nobody listens any more, or one of the texts fails, the others are ended.
    """
    queue: asyncio.Queue[Piece | ApiError | None] = asyncio.Queue()

    async def draw(index: int, question: Event) -> None:
        choice = Choice(index, calls)
        try:
            async for event in speaker.speak(question):
                if (made := choice.piece(event)) is not None:
                    queue.put_nowait(made)
        except (Refused, Unanswered) as error:
            queue.put_nowait(of_program(error))
        finally:
            queue.put_nowait(None)

    running = [asyncio.create_task(draw(index, question)) for index, question in enumerate(questions)]
    try:
        left = len(running)
        while left:
            item = await queue.get()
            if isinstance(item, ApiError):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def spelled(token: Event) -> str:
    """A token as text: itself, or its bytes where they are no whole character."""
    if token["text"] is not None:
        return token["text"]
    return "bytes:" + "".join(f"\\x{value:02x}" for value in bytes.fromhex(token["bytes"]))


def chat_logprobs(tokens: Sequence[Event]) -> dict[str, Any]:
    """`logprobs` of a chat's choice: of every token that was drawn, its end token too."""

    def one(token: Event) -> dict[str, Any]:
        return {"token": spelled(token), "logprob": token["logprob"], "bytes": [*bytes.fromhex(token["bytes"])]}

    return {"content": [{**one(token), "top_logprobs": [one(top) for top in token.get("top", [])]} for token in tokens]}


def completion_logprobs(tokens: Sequence[Event], offset: int) -> dict[str, Any]:
    """`logprobs` of a completion's choice; offset: characters of its text before these tokens."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token["shown"])
    return {
        "tokens": [spelled(token) for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [{spelled(top): top["logprob"] for top in token.get("top", [])} for token in tokens],
        "text_offset": offsets,
    }
