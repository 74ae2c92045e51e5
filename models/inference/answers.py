"""Answers of `serve-lines`, as JSON values: a probe, a tokenisation, and a text that is being said."""

from collections.abc import Sequence
from typing import Any

from models.config import InputError
from models.data.chat import Message, prompt_ids, render
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, SPECIAL_TOKENS
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
    """A text that a model says. `reason` is why it is over, None while it is not: end, stop_string or length."""

    def __init__(self, models: Models, wanted: Speak) -> None:
        """Raises InputError, TooLong, CorruptArtifact."""
        loaded = models.get(wanted.model)
        context = loaded.model.config.max_seq_len
        if wanted.prompt is not None:
            prompt = _text_ids(wanted.prompt, loaded.text, context - 1)
        else:
            prompt = _chat_ids(wanted.messages or [], loaded.text, context - 1, header=True)
        self.digest, self.prompt_tokens = loaded.digest, len(prompt)
        self.text, self.tokens = "", 0
        self._spellings = loaded.text.spellings
        self._shown = TextStream(wanted.stop)
        self._stream = Stream(loaded.model, prompt, wanted.sampling, {END_OF_TEXT_ID, IM_END_ID})
        self.reason: str | None = None if self._stream.left else "length"

    def step(self) -> dict[str, Any]:
        """Draws a token: its id, log-probability and bytes, and the text that can be shown now."""
        drawn = self._stream.step()
        self.tokens += 1
        text = self._shown.add(self._spellings[drawn.token])
        self.text += text
        if drawn.stops:
            self.reason = "end"
        elif self._shown.stopped:
            self.reason = "stop_string"
        elif self._stream.left == 0:
            self.reason = "length"
        return {**piece(drawn.token, self._spellings), "logprob": drawn.logprob, "shown": text}

    def end(self) -> str:
        """The text that waited for more; it belongs to `text` from now on."""
        rest = self._shown.end()
        self.text += rest
        return rest


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
