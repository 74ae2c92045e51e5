"""What can be asked of `serve-lines`: one JSON object a line, read into one frozen dataclass for each `ask`.

    {"id": "1", "ask": "probe",    "model": DIR, "text" or "ids" or "messages": …, "top_k": 10, "places": [3]}
    {"id": "2", "ask": "complete", "model": DIR, "prompt": "…" or "ids": […], controls}
    {"id": "3", "ask": "chat",     "model": DIR, "messages": [{"role": "user", "content": "…"}], controls}
    {"id": "4", "ask": "tokenize", "tokenizer": DIR, "text": "…"}
    {"id": "5", "ask": "cancel", "of": "2"}
    {"id": "6", "ask": "unload",   "model": DIR}
    {"id": "7", "ask": "status"}

Controls, all optional: max_new_tokens, temperature, top_k, top_p, min_p, seed, stop (strings that end the text),
stop_ids (tokens that do, beside the model's own), top_logprobs (how many likeliest tokens are told at each place).
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from models.config import InputError
from models.data.chat import ROLES, Message
from models.inference.stream import Sampling

MOST_TOP = 200  # entries of a distribution that one place may list
MOST_STOPS, LONGEST_STOP = 8, 200  # strings or ids, characters


class BadRequest(InputError):
    """A line that asks for nothing that can be done; the message says what is wrong with it."""


@dataclass(frozen=True)
class Probe:
    """The expectations of a model at each place of a text; exactly one of text, ids and messages is given.

    text: read after the document's begin token, as in training. ids: taken as they are. messages: rendered as chat.
    """

    model: str
    text: str | None = None
    ids: list[int] | None = None
    messages: list[Message] | None = None
    top_k: int = 10
    places: list[int] | None = (
        None  # whose likeliest tokens are wanted, as in the answer's tokens, -1 `next`; None: all
    )

    def __post_init__(self) -> None:
        if [self.text, self.ids, self.messages].count(None) != 2:
            raise BadRequest("probe takes one of text, ids and messages")
        if not 0 <= self.top_k <= MOST_TOP:
            raise BadRequest(f"top_k of a probe must be 0 to {MOST_TOP}, not {self.top_k}")


@dataclass(frozen=True)
class Speak:
    """A text that a model goes on with, or a conversation whose next turn it says; exactly one of them is given.

    prompt: read after the document's begin token. ids: the same as tokens, taken as they are.
    """

    model: str
    prompt: str | None = None
    ids: list[int] | None = None
    messages: list[Message] | None = None
    stop: list[str] = field(default_factory=list)
    stop_ids: list[int] = field(default_factory=list)
    top_logprobs: int = 0
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if [self.prompt, self.ids, self.messages].count(None) != 2:
            raise BadRequest("complete takes one of prompt and ids")
        if len(self.stop_ids) > MOST_STOPS or not 0 <= self.top_logprobs <= MOST_TOP:
            raise BadRequest(f"there may be {MOST_STOPS} stop_ids, and top_logprobs is 0 to {MOST_TOP}")
        if len(self.stop) > MOST_STOPS or any(not 0 < len(one) <= LONGEST_STOP for one in self.stop):
            raise BadRequest(f"stop takes up to {MOST_STOPS} strings of 1 to {LONGEST_STOP} characters")


@dataclass(frozen=True)
class Tokenize:
    """The tokens of a text."""

    tokenizer: str
    text: str


@dataclass(frozen=True)
class Cancel:
    """The end of what was asked under the id `of`."""

    of: str


@dataclass(frozen=True)
class Unload:
    """A model that may leave memory."""

    model: str


@dataclass(frozen=True)
class Status:
    """What is in memory and under way."""


Request = Probe | Speak | Tokenize | Cancel | Unload | Status

SAMPLING = {one.name: one.type for one in dataclasses.fields(Sampling)}
CONTROLS = SAMPLING | {"stop": list[str], "stop_ids": list[int], "top_logprobs": int}
FIELDS: dict[str, dict[str, Any]] = {
    "probe": {
        "model": str,
        "text": str,
        "ids": list[int],
        "messages": list[Message],
        "top_k": int,
        "places": list[int],
    },
    "complete": {"model": str, "prompt": str, "ids": list[int], **CONTROLS},
    "chat": {"model": str, "messages": list[Message], **CONTROLS},
    "tokenize": {"tokenizer": str, "text": str},
    "cancel": {"of": str},
    "unload": {"model": str},
    "status": {},
}
REQUIRED = {
    "probe": {"model"},
    "complete": {"model"},
    "chat": {"model", "messages"},
    "tokenize": {"tokenizer", "text"},
    "cancel": {"of"},
    "unload": {"model"},
    "status": set(),
}


def read_line(line: bytes) -> dict[str, Any]:
    """The object of one line, with an id. Raises BadRequest."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the line is not JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise BadRequest("a request is a JSON object with an id, which is a string")
    return value


def parse(value: dict[str, Any]) -> Request:
    """What an object asks for. Raises InputError, naming the field."""
    ask = value.get("ask")
    if not isinstance(ask, str) or ask not in FIELDS:
        raise BadRequest(f"ask must be one of {', '.join(FIELDS)}, not {ask!r}")
    given = {name: item for name, item in value.items() if name not in ("id", "ask")}
    if unknown := sorted(set(given) - set(FIELDS[ask])):
        raise BadRequest(f"{ask} takes no {', '.join(unknown)}; it takes {', '.join(FIELDS[ask]) or 'nothing'}")
    if missing := sorted(REQUIRED[ask] - set(given)):
        raise BadRequest(f"{ask} needs {', '.join(missing)}")
    for name, item in given.items():
        _check(name, item, FIELDS[ask][name])
    if ask in ("complete", "chat"):
        drawn = {name: given.pop(name) for name in list(given) if name in SAMPLING}
        return Speak(**given, sampling=Sampling(**drawn))
    kinds = {"probe": Probe, "tokenize": Tokenize, "cancel": Cancel, "unload": Unload, "status": Status}
    return kinds[ask](**given)


def _check(name: str, item: Any, kind: Any) -> None:
    """Raises BadRequest where a JSON value is not of the kind; text must be text, without half of a surrogate pair."""
    if kind is str:
        if not isinstance(item, str):
            raise BadRequest(f"{name} must be a string")
        if any("\ud800" <= char <= "\udfff" for char in item):
            raise BadRequest(f"{name} holds a lone surrogate, which is no character")
    elif kind is int:
        if not isinstance(item, int) or isinstance(item, bool) or abs(item) >= 1 << 63:
            raise BadRequest(f"{name} must be a whole number of at most 63 bits")
    elif kind is float:
        if not isinstance(item, int | float) or isinstance(item, bool):
            raise BadRequest(f"{name} must be a number")
    elif not isinstance(item, list):
        raise BadRequest(f"{name} must be a list")
    elif kind == list[Message]:
        for message in item:
            if not isinstance(message, dict) or set(message) != {"role", "content"}:
                raise BadRequest("a message holds a role and a content, and nothing else")
            _check("role", message["role"], str)
            _check("content", message["content"], str)
            if message["role"] not in ROLES:
                raise BadRequest(f"unknown role {message['role']!r}; known: {', '.join(ROLES)}")
    else:
        for entry in item:
            _check(f"an entry of {name}", entry, int if kind == list[int] else str)
