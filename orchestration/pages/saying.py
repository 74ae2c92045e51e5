"""What models say, made ready for a page: sampling controls, tokens with their probabilities, tool calls.

Model output is hostile: every text here has its invisible characters made visible and is escaped by who shows it.
"""

import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from orchestration.pages.hostile import visible

MOST_TOKENS, MOST_TURNS, MOST_CHARACTERS = 2048, 200, 200_000
SEEDS_BITS = 31  # of seeds that are drawn for somebody who gave none: short enough to be read out
CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
ROLES = ("system", "user", "assistant")


class BadTurn(ValueError):
    """A turn of a conversation is not what a page of ours would send."""


@dataclass(frozen=True)
class Controls:
    """How a model draws; names and meanings as in the address. seed None: one is drawn for every answer."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    max_new_tokens: int
    stop: str
    seed: int | None

    def asked(self) -> dict[str, Any]:
        """The fields of a question to serve-lines, with a seed."""
        seed = secrets.randbits(SEEDS_BITS) if self.seed is None else self.seed
        return {**self.sampling(), "seed": seed, "stop": [self.stop] if self.stop else []}

    def sampling(self) -> dict[str, float]:
        """The controls that decide the distribution and the length."""
        return {name: value for name, value in asdict(self).items() if name not in ("stop", "seed")}


def _controls(
    temperature: Annotated[float, Query(ge=0, le=10)] = 0.8,
    top_k: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    top_p: Annotated[float, Query(gt=0, le=1)] = 1.0,
    min_p: Annotated[float, Query(ge=0, le=1)] = 0.0,
    max_new_tokens: Annotated[int, Query(ge=1, le=MOST_TOKENS)] = 64,
    stop: Annotated[str, Query(max_length=200)] = "",
    seed: Annotated[int | Literal[""], Query()] = "",
) -> Controls:
    return Controls(temperature, top_k, top_p, min_p, max_new_tokens, stop, None if seed == "" else seed % (1 << 62))


SamplingControls = Annotated[Controls, Depends(_controls)]


@dataclass(frozen=True)
class Drawn:
    """A piece of a text that a model drew, and what is told of its tokens: `raw` is the text itself."""

    raw: str
    text: str
    told: str


@dataclass(frozen=True)
class Call:
    """A tool call in a text. `name` is None where it is not the JSON that a call should be; nothing was run."""

    name: str | None
    arguments: str


@dataclass
class Pieces:
    """Events of a text as pieces: tokens that only together make a character become one piece."""

    waiting: str = ""

    def of(self, event: Mapping[str, Any]) -> Drawn | None:
        """The piece that a `token` or `done` event completes; None while nothing can be shown."""
        if event["event"] == "token":
            self.waiting = "\n".join(filter(None, (self.waiting, told(event))))
        shown = event["shown"] if event["event"] == "token" else event["rest"]
        if not shown:
            return None
        piece, self.waiting = Drawn(shown, visible(shown), self.waiting), ""
        return piece


def pieces(done: Mapping[str, Any]) -> list[Drawn]:
    """A whole answer (of Speaker.ask) as pieces."""
    state = Pieces()
    return [piece for event in [*done["drawn"], done] if (piece := state.of(event)) is not None]


def told(token: Mapping[str, Any]) -> str:
    """A token's probability, for people."""
    what = "" if token["text"] is not None else f" (bytes {token['bytes']})"
    return f"id {token['token']}{what}: {math.exp(token['logprob']):.2%}, log p {token['logprob']:.2f}"


def calls(text: str) -> list[Call]:
    """The tool calls in a text, in the form <tool_call>{"name": …, "arguments": …}</tool_call>, as far as they got."""
    return [_call(found) for found in CALL.findall(text)]


def turns_of(given: Iterable[str]) -> list[dict[str, str]]:
    """The turns that a form carries, each a JSON object of role and content. Raises BadTurn."""
    turns = []
    for one in given:
        try:
            turn = json.loads(one)
        except (ValueError, RecursionError) as error:
            raise BadTurn("a turn of the conversation is not JSON: load the page again") from error
        if not isinstance(turn, dict) or set(turn) != {"role", "content"} or turn["role"] not in ROLES:
            raise BadTurn("a turn of the conversation has not a role and a content: load the page again")
        turns.append({"role": turn["role"], "content": str(turn["content"])})
    if len(turns) > MOST_TURNS or sum(len(turn["content"]) for turn in turns) > MOST_CHARACTERS:
        raise BadTurn(f"the conversation is over {MOST_TURNS} turns or {MOST_CHARACTERS:,} characters: begin a new one")
    return turns


def as_field(role: str, content: str) -> str:
    """A turn as the value of a form's field."""
    return json.dumps({"role": role, "content": content})


def _call(found: str) -> Call:
    try:
        said = json.loads(found)
    except (ValueError, RecursionError):
        return Call(None, visible(found))
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return Call(None, visible(found))
    arguments = said.get("arguments", {})
    return Call(visible(said["name"]), visible(json.dumps(arguments, indent=1, ensure_ascii=False)))
