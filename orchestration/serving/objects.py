"""Answers in OpenAI's form, whole and as chunks of a stream, from the pieces of their choices."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestration.serving.drawing import Piece, chat_logprobs, completion_logprobs


@dataclass
class Counts:
    """Tokens of an answer. A prompt that several choices share is counted once, as its server does."""

    per_prompt: int  # choices of one prompt
    prompt: int = 0
    drawn: int = 0

    def add(self, piece: Piece) -> None:
        """Counts a piece."""
        if piece.prompt_tokens is not None and piece.index % self.per_prompt == 0:
            self.prompt += piece.prompt_tokens
        self.drawn += len(piece.tokens)

    def usage(self) -> dict[str, int]:
        """The `usage` object."""
        total = self.prompt + self.drawn
        return {"prompt_tokens": self.prompt, "completion_tokens": self.drawn, "total_tokens": total}


@dataclass
class Answer:
    """One answer under way. `kind`: which of the two objects; logprobs: whether they are told."""

    kind: Literal["text_completion", "chat.completion"]
    model: str
    fingerprint: str
    counts: Counts
    logprobs: bool
    name: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))
    _characters: dict[int, int] = field(default_factory=dict)

    def chunk(self, piece: Piece) -> dict[str, Any] | None:
        """What a stream says of a piece; None where that is nothing."""
        self.counts.add(piece)
        if self.kind == "text_completion":
            if piece.prompt_tokens is not None:
                return None
            choice = {"index": piece.index, "text": piece.text, "finish_reason": piece.reason}
            return self._object([{**choice, "logprobs": self._told(piece)}])
        delta: dict[str, Any] = {}
        if piece.prompt_tokens is not None:
            delta = {"role": "assistant", "content": ""}
        elif piece.text:
            delta = {"content": piece.text}
        if piece.call is not None:
            delta["tool_calls"] = [{"index": 0, **_call(piece.call)}]
        choice = {"index": piece.index, "delta": delta, "finish_reason": piece.reason}
        return self._object([{**choice, "logprobs": self._told(piece)}], chunk=True)

    def usage_chunk(self) -> dict[str, Any]:
        """The last chunk of a stream whose usage is wanted."""
        return {**self._object([], chunk=self.kind == "chat.completion"), "usage": self.counts.usage()}

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The answer that all pieces make."""
        for piece in pieces:
            self.counts.add(piece)
        choices = []
        for index in sorted({piece.index for piece in pieces}):
            own = [piece for piece in pieces if piece.index == index]
            tokens = [token for piece in own for token in piece.tokens]
            text, last = "".join(piece.text for piece in own), own[-1]
            joined = Piece(index, text, tokens, last.call, last.reason)
            choice: dict[str, Any] = {"index": index, "finish_reason": last.reason, "logprobs": self._told(joined)}
            if self.kind == "text_completion":
                choice["text"] = text
            else:
                choice["message"] = {"role": "assistant", "content": text}
                if last.call is not None:
                    choice["message"] |= {"content": text or None, "tool_calls": [_call(last.call)]}
            choices.append(choice)
        return {**self._object(choices), "usage": self.counts.usage()}

    def _told(self, piece: Piece) -> dict[str, Any] | None:
        if not self.logprobs or piece.prompt_tokens is not None:
            return None
        if self.kind == "chat.completion":
            return chat_logprobs(piece.tokens)
        before = self._characters.get(piece.index, 0)
        self._characters[piece.index] = before + len(piece.text)
        return completion_logprobs(piece.tokens, before)

    def _object(self, choices: list[dict[str, Any]], *, chunk: bool = False) -> dict[str, Any]:
        prefix = "cmpl" if self.kind == "text_completion" else "chatcmpl"
        return {
            "id": f"{prefix}-{self.name}",
            "object": f"{self.kind}.chunk" if chunk else self.kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,  # which weights: the digest of the checkpoint
            "choices": choices,
        }


def _call(call: tuple[str, str]) -> dict[str, Any]:
    name, arguments = call
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
