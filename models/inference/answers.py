"""Answers of `serve-lines`, as JSON values: a probe, a tokenisation, and a text that is being said."""

from collections.abc import Sequence
from typing import Any

from models.config import InputError
from models.data.chat import Message, prompt_ids, render
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, SPECIAL_TOKENS
from models.inference.engine import Token
from models.inference.loaded import LoadedTokenizer, Models
from models.inference.pieces import TextStream
from models.inference.probe import expectations
from models.inference.requests import BadRequest, Probe, Speak, Tokenize
from models.inference.stream import Stream

MOST_TEXT_BYTES = 1 << 18  # that are tokenized for a look at their tokens


class TooLong(InputError):
    """A text of more than `limit` (its unit is in the message) that can be read at once; `got` is what was given."""

    def __init__(self, what: str, unit: str, got: int, limit: int) -> None:
        self.got, self.limit = got, limit
        super().__init__(f"{what} has {got:,} {unit}, and at most {limit:,} can be read: shorten it")


class Utterance:
    """A text that a model says. `reason` is why it is over, None while it is not: end, stop_string or length.

    With an engine, whose steps draw a token for many texts, `take` is told of each; else `step` draws one.
    """

    def __init__(self, models: Models, wanted: Speak) -> None:
        """Raises InputError (PoolTooSmall among them), TooLong, CorruptArtifact."""
        loaded = models.get(wanted.model)
        context = loaded.model.config.max_seq_len
        if wanted.ids is not None:
            prompt = wanted.ids
            if len(prompt) > context - 1:
                raise TooLong("the list", "token ids", len(prompt), context - 1)
        elif wanted.prompt is not None:
            prompt = _text_ids(wanted.prompt, loaded.text, context - 1)
        else:
            prompt = _chat_ids(wanted.messages or [], loaded.text, context - 1, header=True)
        self.digest, self.prompt_tokens = loaded.digest, len(prompt)
        self.text, self.tokens = "", 0
        self._spellings = loaded.text.spellings
        self._shown = TextStream(wanted.stop)
        self._top = wanted.top_logprobs
        stops = {END_OF_TEXT_ID, IM_END_ID, *wanted.stop_ids}
        self.reason: str | None = None if wanted.sampling.max_new_tokens else "length"
        self.engine = models.engine(loaded) if self.reason is None else None
        self.request, self._stream = 0, None
        if self.engine is not None:
            self.request = self.engine.submit(prompt, wanted.sampling, stops, self._top)
        elif self.reason is None:
            self._stream = Stream(loaded.model, prompt, wanted.sampling, stops)

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended the text."""
        return self._shown.stopped_by

    def step(self) -> dict[str, Any]:
        """Draws a token where no engine does; the fields of its event."""
        assert self._stream is not None
        drawn = self._stream.step(self._top)
        reason = "end" if drawn.stops else "length" if self._stream.left == 0 else None
        return self._said(drawn.token, drawn.logprob, drawn.top, reason)

    def take(self, drawn: Token) -> dict[str, Any]:
        """The fields of the event of a token that the engine drew."""
        return self._said(drawn.token, drawn.logprob, drawn.top, drawn.reason)

    def leave(self) -> None:
        """The engine draws no more for it."""
        if self.engine is not None:
            self.engine.cancel(self.request)

    def end(self) -> str:
        """The text that waited for more; it belongs to `text` from now on."""
        rest = self._shown.end()
        self.text += rest
        return rest

    def _said(self, token: int, logprob: float, top: list[tuple[int, float]], reason: str | None) -> dict[str, Any]:
        """A token's id, log-probability and bytes, the text that can be shown now, and the likeliest tokens."""
        self.tokens += 1
        text = self._shown.add(self._spellings[token])
        self.text += text
        self.reason = "end" if reason == "end" else "stop_string" if self._shown.stopped else reason
        others = [{**piece(one, self._spellings), "logprob": share} for one, share in top]
        said = {**piece(token, self._spellings), "logprob": logprob, "shown": text}
        return {**said, "top": others} if self._top else said


def probe(models: Models, asked: Probe) -> dict[str, Any]:
    """What the model expects at each place. `tokens` are those of the text; of the first nothing was expected.

    `next` is what the model expects after them. Raises InputError, TooLong, CorruptArtifact, NonFiniteLogits.
    """
    loaded = models.get(asked.model)
    limit = loaded.model.config.max_seq_len
    if asked.ids is not None:
        ids = asked.ids
        if not 0 < len(ids) <= limit:
            raise TooLong("the list", "token ids", len(ids), limit) if ids else BadRequest("ids must not be empty")
    elif asked.text is not None:
        ids = _text_ids(asked.text, loaded.text, limit)
    else:
        ids = _chat_ids(asked.messages or [], loaded.text, limit, header=False)
    spellings = loaded.text.spellings
    places = (
        None if asked.places is None else {len(ids) if place < 0 else min(place, len(ids)) for place in asked.places}
    )
    *expected, after = (
        {
            "entropy_bits": one.entropy_bits,
            "loss_bits": one.loss_bits,
            "rank": one.rank,
            "top": [{**piece(token, spellings), "probability": share} for token, share in one.top],
        }
        for one in expectations(loaded.model, ids, asked.top_k, places)
    )
    tokens = [piece(ids[0], spellings), *(piece(t, spellings) | e for t, e in zip(ids[1:], expected, strict=True))]
    after = {"entropy_bits": after["entropy_bits"], "top": after["top"]}
    return {"digest": loaded.digest, "vocabulary": len(spellings), "limit": limit, "tokens": tokens, "next": after}


def tokenize(models: Models, asked: Tokenize) -> dict[str, Any]:
    """The tokens of a text and how many bytes it has. Raises InputError, TooLong."""
    size = len(asked.text.encode())
    if size > MOST_TEXT_BYTES:
        raise TooLong("the text", "bytes", size, MOST_TEXT_BYTES)
    loaded = models.tokenizer(asked.tokenizer)
    ids = loaded.tokenizer.encode(asked.text).ids
    return {
        "tokens": [piece(token, loaded.spellings) for token in ids],
        "bytes": size,
        "entries": len(loaded.spellings),
    }


def piece(token: int, spellings: Sequence[bytes]) -> dict[str, Any]:
    """A token for people: its text, None where its bytes are no whole characters, and its bytes in hex."""
    if token < len(SPECIAL_TOKENS):
        return {"token": token, "text": SPECIAL_TOKENS[token], "bytes": "", "special": True}
    try:
        text = spellings[token].decode()
    except UnicodeDecodeError:
        text = None
    return {"token": token, "text": text, "bytes": spellings[token].hex(), "special": False}


def _text_ids(text: str, loaded: LoadedTokenizer, limit: int) -> list[int]:
    """The ids of a text after the document's begin token. Raises TooLong, without tokenizing what cannot fit."""
    _refuse_endless(text, loaded, limit)
    ids = [END_OF_TEXT_ID, *loaded.tokenizer.encode(text).ids]
    if len(ids) > limit:
        raise TooLong("the text, with its begin token,", "tokens", len(ids), limit)
    return ids


def _chat_ids(messages: list[Message], loaded: LoadedTokenizer, limit: int, *, header: bool) -> list[int]:
    """The ids of a conversation, with the header of the assistant's next turn or without it. Raises TooLong."""
    if not messages:
        raise BadRequest("messages must not be empty")
    _refuse_endless("".join(message["content"] for message in messages), loaded, limit)
    ids = prompt_ids(messages, loaded.tokenizer) if header else render(messages, loaded.tokenizer)[0]
    if len(ids) > limit:
        raise TooLong("the conversation", "tokens", len(ids), limit)
    return ids


def _refuse_endless(text: str, loaded: LoadedTokenizer, limit: int) -> None:
    fewest = len(text.encode()) // loaded.longest
    if fewest > limit:
        raise TooLong("the text", "tokens or more", fewest, limit)
