"""`/chat`: a text that a model goes on with, or a conversation with it; streamed to a script, or whole without one.

Controls are in the address, what was said in the form: nothing of a conversation is kept here.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, StreamingResponse

from assets.safe_text import shown as line
from orchestration.pages.hostile import visible
from orchestration.pages.saying import (
    MOST_TOKENS,
    Call,
    Drawn,
    Pieces,
    SamplingControls,
    as_field,
    calls,
    pieces,
    turns_of,
)
from orchestration.pages.site import Pages
from orchestration.pages.speaking import Refused, Speaker, Unanswered, speaker
from orchestration.pages.voices import Voice, find, voices

router = APIRouter()

Way = Literal["", "chat", "complete"]
REASONS = {
    "end": "the model ended its text",
    "stop_string": "the stop string came",
    "length": "the longest length was reached",
    "cancelled": "it was stopped",
}


class NothingSaid(ValueError):
    """A form without a text."""


@dataclass(frozen=True)
class Turn:
    """One turn as a page shows it; `drawn` only of the answer that was just drawn."""

    role: str
    text: str
    kept: str  # as a field of the form
    drawn: list[Drawn] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    note: str = ""


@router.get("/chat")
def chat(
    request: Request, site: Pages, controls: SamplingControls, model: str = "", way: Way = "", prompt: str = ""
) -> HTMLResponse:
    """The page, nothing said yet. way: chat or complete; "": as the model was taught."""
    speaker(site).start()  # somebody is about to ask
    return _page(request, site, controls, model, way, [], prompt)


@router.post("/chat")
def say(
    request: Request,
    site: Pages,
    controls: SamplingControls,
    prompt: Annotated[str, Form()] = "",
    turn: Annotated[list[str] | None, Form()] = None,
    model: Annotated[str, Query()] = "",
    way: Annotated[Way, Query()] = "",
) -> HTMLResponse:
    """The whole answer, for who has no script."""
    voice, _ = chosen(site, model)
    asked, said = question(voice, way, prompt, turns_of(turn or []))
    before = [Turn(one["role"], visible(one["content"]), as_field(**one)) for one in said]
    try:
        done = speaker(site).ask({**asked, **(drawn_with := controls.asked())})
    except (Refused, Unanswered) as error:
        return _page(request, site, controls, model, way, before, "", str(error))
    note = f"{REASONS[done['reason']]}; {done['tokens']} tokens of {voice.title}, seed {drawn_with['seed']}"
    text = done["text"]
    answer = Turn("assistant", visible(text), as_field("assistant", text), pieces(done), calls(text), note)
    return _page(request, site, controls, model, way, [*before, answer], "")


@router.post("/chat/stream")
def stream(
    site: Pages,
    controls: SamplingControls,
    prompt: Annotated[str, Form()] = "",
    turn: Annotated[list[str] | None, Form()] = None,
    model: Annotated[str, Query()] = "",
    way: Annotated[Way, Query()] = "",
) -> StreamingResponse:
    """The answer as it is drawn: a JSON object a line, `piece`s, then `done` or `error`. Ends when nobody listens."""
    voice, _ = chosen(site, model)
    asked, _ = question(voice, way, prompt, turns_of(turn or []))
    events = answering(speaker(site), voice, {**asked, **controls.asked()})
    return StreamingResponse(events, media_type="application/x-ndjson", headers={"cache-control": "no-store"})


def chosen(site: Pages, model: str) -> tuple[Voice, list[Voice]]:
    """The model of that name ("": the most taught one) and all there are. Raises UnknownVoice, NothingYet."""
    lake = site.lake()
    known = voices(lake)
    return find(known, model or known[0].name, lake), known


def question(
    voice: Voice, way: Way, prompt: str, turns: list[dict[str, str]]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """What to ask serve-lines, and the turns up to the answer. Raises NothingSaid."""
    prompt = prompt.replace("\r\n", "\n")  # as forms send line breaks
    if not prompt.strip():
        raise NothingSaid("there is no text to answer: write one")
    said = [*turns, {"role": "user", "content": prompt}]
    if _way(voice, way) == "complete":
        return {"ask": "complete", "model": str(voice.directory), "prompt": prompt}, said[-1:]
    return {"ask": "chat", "model": str(voice.directory), "messages": said}, said


async def answering(said: Speaker, voice: Voice, asked: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """The lines of a streamed answer."""
    state = Pieces()
    try:
        async for event in said.speak(asked):
            if event["event"] in ("token", "done") and (piece := state.of(event)) is not None:
                yield _line({"event": "piece", **asdict(piece)})
            if event["event"] == "done":
                note = f"{REASONS[event['reason']]}; {event['tokens']} tokens of {voice.title}, seed {asked['seed']}"
                found = [asdict(call) for call in calls(event["text"])]
                yield _line({"event": "done", "raw": event["text"], "note": note, "calls": found})
    except (Refused, Unanswered) as error:
        yield _line({"event": "error", "message": line(str(error), 500)})


def _way(voice: Voice, way: Way) -> str:
    return way or ("chat" if voice.chats else "complete")


def _page(
    request: Request,
    site: Pages,
    controls: SamplingControls,
    model: str,
    way: Way,
    turns: list[Turn],
    prompt: str,
    trouble: str | None = None,
) -> HTMLResponse:
    voice, known = chosen(site, model)
    values = {
        "voice": voice,
        "known": known,
        "way": _way(voice, way),
        "controls": controls,
        "turns": turns,
        "prompt": prompt,
        "trouble": trouble,
        "query": f"?{request.url.query}" if request.url.query else "",
        "most_tokens": MOST_TOKENS,
    }
    return site.page(request, "chat.html", values)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
