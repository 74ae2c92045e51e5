"""What can be asked, in OpenAI's form, checked: the fields that this server heeds, and those that it must refuse.

Fields that change nothing here (`user`, `store`, `metadata`, …) are passed over. Ones that would change the text and
are not implemented are refused when they ask for anything: an answer is never quietly another one than was asked for.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestration.serving.errors import ApiError

MOST_TEXTS, MOST_TURNS, MOST_TOOLS, MOST_STOPS = 64, 1000, 64, 4
CONTEXT = 1 << 30  # tokens, where a request does not say how many: the model's context ends the text
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Ids = list[Annotated[int, Field(ge=0, lt=1 << 31)]]


class Asked(BaseModel):
    """What both kinds of requests share."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: Annotated[str, Field(max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None  # as in vLLM; -1 and 0: off
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_TEXTS)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 62), lt=1 << 62)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    stop_token_ids: Annotated[Ids, Field(max_length=8)] | None = None  # as in vLLM
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    response_format: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _nothing_unheeded(self) -> "Asked":
        for name in ("presence_penalty", "frequency_penalty", "logit_bias"):
            if getattr(self, name):
                raise ValueError(f"{name} is not implemented: leave it out")
        if self.response_format and self.response_format.get("type") != "text":
            raise ValueError("response_format is not implemented but for text: leave it out")
        return self

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def controls(self, seed: int, most: int) -> dict[str, Any]:
        """The fields of a question to serve-lines."""
        return {
            "max_new_tokens": self.max_tokens or most,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": max(self.top_k or 0, 0),
            "min_p": self.min_p or 0.0,
            "seed": seed,
            "stop": self.stops,
            "stop_ids": self.stop_token_ids or [],
        }


class Completion(Asked):
    """POST /v1/completions."""

    prompt: str | Ids | Annotated[list[str] | list[Ids], Field(max_length=MOST_TEXTS)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    @model_validator(mode="after")
    def _heeded(self) -> "Completion":
        if self.echo or self.suffix:
            raise ValueError("echo and suffix are not implemented: leave them out")
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of is not implemented: leave it out")
        if not 0 < len(self.prompts) * (self.n or 1) <= MOST_TEXTS:
            raise ValueError(f"prompts times n must be 1 to {MOST_TEXTS}")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or several, each a text or its tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and all(isinstance(one, int) for one in self.prompt):
            return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


class Part(BaseModel):
    """A part of a content; only text can be read."""

    model_config = ConfigDict(strict=True, extra="ignore")
    type: Literal["text"]
    text: str


class Named(BaseModel):
    """The function of a call, arguments a JSON object as text."""

    model_config = ConfigDict(strict=True, extra="ignore")
    name: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: str


class CallMade(BaseModel):
    """A call that the assistant made."""

    model_config = ConfigDict(strict=True, extra="ignore")
    id: str
    type: Literal["function"] = "function"
    function: Named


class Turn(BaseModel):
    """One message."""

    model_config = ConfigDict(strict=True, extra="ignore")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: Annotated[list[CallMade], Field(max_length=MOST_TOOLS)] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Its content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or [])


class Tool(BaseModel):
    """A tool that is offered."""

    model_config = ConfigDict(strict=True, extra="ignore")
    type: Literal["function"]
    function: dict[str, Any]


class Chat(Asked):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=MOST_TURNS)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["auto", "none"] | None = None

    @model_validator(mode="after")
    def _calls_and_results(self) -> "Chat":
        self.max_tokens = self.max_completion_tokens or self.max_tokens
        made: set[str] = set()
        for turn in self.messages:
            if turn.tool_calls and turn.role != "assistant":
                raise ValueError("tool_calls stand in messages of the assistant")
            made |= {call.id for call in turn.tool_calls or []}
            if turn.role == "tool" and turn.tool_call_id not in made:
                raise ValueError("a message of a tool needs the tool_call_id of a call before it")
        return self


def checked(kind: type[Asked], value: object) -> Any:
    """The request in a JSON value. Raises ApiError, naming the first field at fault."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{place}: {first['msg']}" if place else first["msg"], param=place or None) from error
