"""The server: /v1/models, /v1/completions and /v1/chat/completions over the models' program.

Requests of all clients are drawn in one continuous batch by that program (models/inference/lines.py), so a text is the
same whoever else asks; no torch is loaded here.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from models.data.chat import Message
from models.data.tools import END, Call, conversation, written
from orchestration.pages.speaking import Speaker
from orchestration.serving.bodies import json_of
from orchestration.serving.drawing import Piece, pieces
from orchestration.serving.errors import ApiError
from orchestration.serving.guard import Guard
from orchestration.serving.objects import Answer, Counts
from orchestration.serving.schema import CONTEXT, Asked, Chat, Completion, checked
from orchestration.serving.settings import ServeSettings
from orchestration.serving.shelf import ModelShelf, Served

SHORT = 16  # tokens of a completion that does not say how many, as OpenAI has it
SEED_BITS = 31  # of seeds that are drawn for who gives none
log = logging.getLogger(__name__)


def build(settings: ServeSettings) -> FastAPI:
    """The application. Raises NotServed where a model was named that cannot be served."""
    shelf = ModelShelf(settings.home, settings.model)
    speaker = Speaker(
        settings.home / "logs" / f"serve-{settings.port}.log", settings.limits(),
        most_texts=settings.texts + settings.waiting, most_questions=settings.texts + settings.waiting,
    )  # fmt: skip

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        speaker.start()
        yield
        await run_in_threadpool(speaker.close)

    app = FastAPI(title="Stemma", docs_url=None, redoc_url=None, openapi_url=None, lifespan=running)
    app.state.shelf, app.state.speaker = shelf, speaker
    app.add_middleware(Guard, settings=settings)
    app.add_api_route("/health", _health, methods=["GET"])
    app.add_api_route("/v1/models", _models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", _model, methods=["GET"])
    app.add_api_route("/v1/completions", _complete, methods=["POST"])
    app.add_api_route("/v1/chat/completions", _chat, methods=["POST"])
    app.add_exception_handler(ApiError, _said)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)
    return app


async def _health() -> Response:
    return JSONResponse({"status": "ok"})


async def _models(request: Request) -> Response:
    known = await run_in_threadpool(request.app.state.shelf.all)
    return JSONResponse({"object": "list", "data": [_described(one) for one in known]})


async def _model(request: Request, name: str) -> Response:
    return JSONResponse(_described(await run_in_threadpool(request.app.state.shelf.find, name)))


async def _complete(request: Request) -> Response:
    asked: Completion = checked(Completion, await json_of(request))
    served = await run_in_threadpool(request.app.state.shelf.find, asked.model)
    common = {"ask": "complete", "model": str(served.directory), "top_logprobs": asked.logprobs or 0}
    questions = []
    for prompt, seed in ((prompt, seed) for prompt in asked.prompts for seed in _seeds(asked)):
        given = {"prompt": prompt} if isinstance(prompt, str) else {"ids": prompt}
        questions.append({**common, **given, **asked.controls(seed, SHORT)})
    told = asked.logprobs is not None
    return await _answer(request, asked, questions, Answer("text_completion", *_names(served, asked), told))


async def _chat(request: Request) -> Response:
    asked: Chat = checked(Chat, await json_of(request))
    served = await run_in_threadpool(request.app.state.shelf.find, asked.model)
    tools = [tool.function for tool in asked.tools or []] if asked.tool_choice != "none" else []
    try:
        turns = conversation([_turn(turn) for turn in asked.messages], tools)
    except RecursionError:
        raise ApiError(400, "a tool is nested too deeply", param="tools") from None
    common = {"ask": "chat", "model": str(served.directory), "messages": turns}
    common["top_logprobs"] = asked.top_logprobs or 0 if asked.logprobs else 0
    questions = [{**common, **asked.controls(seed, CONTEXT)} for seed in _seeds(asked)]
    if tools:  # a text pauses behind its call; who asked runs the tool and asks again with its result
        questions = [{**one, "stop": [*one["stop"], END]} for one in questions]
    answer = Answer("chat.completion", *_names(served, asked), bool(asked.logprobs))
    return await _answer(request, asked, questions, answer, calls=bool(tools))


async def _answer(
    request: Request, asked: Asked, questions: Sequence[dict[str, Any]], answer: Answer, *, calls: bool = False
) -> Response:
    drawn = pieces(request.app.state.speaker, questions, calls=calls)
    if not asked.stream:
        made = await _while_connected(request, _all(drawn))
        return JSONResponse(answer.whole(made)) if made is not None else Response(status_code=499)
    first = await anext(drawn)  # what is refused is refused with a status, before the stream begins
    lines = _stream(first, drawn, answer, usage=asked.usage_wanted)
    return StreamingResponse(lines, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _stream(first: Piece, rest: AsyncIterator[Piece], answer: Answer, *, usage: bool) -> AsyncIterator[bytes]:
    """Server-sent events. Something that goes wrong now is an event too, and then no [DONE] follows."""
    try:
        if (chunk := answer.chunk(first)) is not None:
            yield _event(chunk)
        async for piece in rest:
            if (chunk := answer.chunk(piece)) is not None:
                yield _event(chunk)
        if usage:
            yield _event(answer.usage_chunk())
        yield b"data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())
    finally:
        await rest.aclose()  # type: ignore[attr-defined]


async def _all(drawn: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in drawn]


async def _while_connected(request: Request, work: Any) -> list[Piece] | None:
    """The result of `work`; None, and the work ended, when who asked has gone."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seeds(asked: Asked) -> list[int]:
    """One a choice: that of the request and those after it."""
    first = secrets.randbits(SEED_BITS) if asked.seed is None else asked.seed
    return [first + place for place in range(asked.n or 1)]


def _names(served: Served, asked: Asked) -> tuple[str, str, Counts]:
    return served.name, served.digest, Counts(asked.n or 1)


def _turn(turn: Any) -> Message:
    """A message as the chat format has it, the assistant's calls written out."""
    calls = [written(Call(call.function.name, call.function.arguments)) for call in turn.tool_calls or []]
    role = "system" if turn.role == "developer" else turn.role
    return Message(role=role, content="\n".join(filter(None, [turn.text, *calls])))


def _described(served: Served) -> dict[str, Any]:
    return {"id": served.name, "object": "model", "created": 0, "owned_by": "stemma", "root": served.digest}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.answer()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"there is nothing at {request.url.path[:100]}" if error.status_code == 404 else str(error.detail)
    return ApiError(error.status_code, what).answer()


async def _broken(request: Request, error: Exception) -> Response:
    log.error("a request failed: %s", request.url.path, exc_info=error)
    return ApiError(500, "something broke here: the reason is in the server's log").answer()
