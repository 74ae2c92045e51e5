"""`/arena`: two models answer the same question without their names, people say which is better, and ratings follow.

Which models, sides and seeds is drawn by one number, kept with the pair (assets/judgements/votes.py). Names are shown
after the vote. The asset `preferences` puts the votes into a table; ratings are made of the votes as they are now.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from assets.judgements.votes import VERDICTS, Match, Side, Tally, Votes, drawn
from assets.lake import Lake
from assets.preferences import exported, table_of, withdrawn
from models.evaluation.pairwise import NoVotes, Outcome, Ratings, Vote, rate
from models.seeds import derive
from orchestration.pages.charts import Interval
from orchestration.pages.hostile import visible
from orchestration.pages.saying import MOST_TOKENS, Call, SamplingControls, calls
from orchestration.pages.site import Pages, Site
from orchestration.pages.speaking import speaker
from orchestration.pages.voices import Voice, find, voices

router = APIRouter()

DRAW_BITS = 53  # a number that everything reads as it is
OUTCOMES: dict[str, Outcome] = {
    "a": "a",
    "b": "b",
    "tie": "tie",
    "both_bad": "tie",
}  # for ratings; both bad: neither is better
SAID = {"a": "A is better", "b": "B is better", "tie": "they are equally good", "both_bad": "both are bad"}
KEYS = dict(zip(VERDICTS, "1234", strict=True))
MOST_PROMPT = 20_000  # characters


class NoQuestion(ValueError):
    """No question was asked, and the home has none to draw from."""


@dataclass(frozen=True)
class Answer:
    """One side as a page shows it; `who` is None while nobody voted."""

    side: str
    text: str
    calls: list[Call]
    who: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the ratings."""

    name: str
    digest: str
    elo: Interval
    votes: int
    won: float
    lost: float


@router.get("/arena")
def arena(
    request: Request,
    site: Pages,
    controls: SamplingControls,
    model: Annotated[list[str] | None, Query()] = None,
    voter: str = "",
    prompt: str = "",
) -> HTMLResponse:
    """A form for the next pair, and the ratings so far. model: those that may be drawn; none: all that converse."""
    lake = site.lake()
    known = voices(lake)
    speaker(site).start()  # somebody is about to ask
    values = {
        "known": known,
        "chosen": [voice.digest for voice in pool(known, model or [], lake)],
        "controls": controls,
        "voter": voter,
        "prompt": prompt,
        "query": f"?{request.url.query}" if request.url.query else "",
        "most_tokens": MOST_TOKENS,
        **standing(Votes(site.home).tally()),
    }
    return site.page(request, "arena.html", values)


@router.post("/arena")
def draw(
    request: Request,
    site: Pages,
    controls: SamplingControls,
    prompt: Annotated[str, Form(max_length=MOST_PROMPT)] = "",
    model: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """Lets two models answer, keeps both answers, and shows them. Without a question one of the home's is drawn."""
    lake = site.lake()
    number = secrets.randbits(DRAW_BITS)
    who = {voice.digest: voice for voice in pool(voices(lake), model or [], lake)}
    decided = drawn(list(who), number)
    question = prompt.replace("\r\n", "\n").strip() or task(lake, number)
    messages = [{"role": "user", "content": question}]
    a = answer(site, who[decided.a], messages, controls.sampling(), decided.seed_a)
    b = answer(site, who[decided.b], messages, controls.sampling(), decided.seed_b)
    match = Votes(site.home).add_match(messages, a, b, controls.sampling(), number)
    return RedirectResponse(f"/arena/{match}" + (f"?{request.url.query}" if request.url.query else ""), 303)


@router.get("/arena/preferences.jsonl")
def preferences(site: Pages) -> StreamingResponse:
    """The votes as they are now, in the usual form of preference data; none of models that a takedown withdrew."""
    matches = Votes(site.home).voted()
    refused = withdrawn(site.lake(), matches) if matches else set()
    rows = table_of(one for one in matches if not {one.a.model, one.b.model} & refused)
    headers = {"content-disposition": 'attachment; filename="preferences.jsonl"'}
    return StreamingResponse(_encoded(rows), media_type="application/x-ndjson", headers=headers)


@router.get("/arena/{match}")
def pair(request: Request, site: Pages, match: str, voter: str = "") -> HTMLResponse:
    """One pair: blind before the vote, with names after it."""
    found = Votes(site.home).match(match)
    values = {
        "match": found,
        "question": visible(found.messages[-1]["content"]),
        "answers": answers(found),
        "verdicts": [(verdict, KEYS[verdict], SAID[verdict]) for verdict in VERDICTS],
        "said": SAID.get(found.verdict or ""),
        "voter": voter,
        "query": f"?{request.url.query}" if request.url.query else "",
    }
    return site.page(request, "pair.html", values)


@router.post("/arena/{match}")
def vote(
    request: Request,
    site: Pages,
    match: str,
    verdict: Annotated[str, Form()] = "",
    voter: Annotated[str, Form()] = "",
) -> Response:
    """Counts a vote and shows the names."""
    Votes(site.home).vote(match, verdict, voter)
    address = request.url.include_query_params(voter=voter.strip())
    return RedirectResponse(f"{address.path}?{address.query}", 303)


def pool(known: Sequence[Voice], names: Sequence[str], lake: Lake) -> list[Voice]:
    """The models that may be drawn: those named, else those in use that converse, else all. Raises UnknownVoice."""
    if names:
        return list({voice.digest: voice for voice in (find(known, name, lake) for name in names)}.values())
    conversing = [voice for voice in known if voice.current and voice.chats]
    return conversing if len(conversing) > 1 else list(known)


def task(lake: Lake, number: int) -> str:
    """One of the home's problems with an exact answer, by the number of the draw. Raises NoQuestion."""
    files = sorted((lake.artifacts.root / "rl_tasks").glob("[0-9a-f]*/tasks.parquet"))
    if not files:
        raise NoQuestion("there is no question: write one")
    questions = pl.read_parquet(files[0], columns=["question"])["question"].unique().sort()
    return questions[derive(number, "question") % len(questions)]


def answer(
    site: Site, voice: Voice, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, float], seed: int
) -> Side:
    """What a model answers. Raises Refused, Unanswered."""
    ask = {"ask": "chat", "model": str(voice.directory), "messages": messages, "seed": seed, **sampling}
    return Side(voice.asset, voice.digest, seed, speaker(site).ask(ask)["text"])


def answers(match: Match) -> list[Answer]:
    """Both sides for a page."""
    sides = (("A", match.a), ("B", match.b))
    if match.verdict is None:
        return [Answer(name, visible(side.text), calls(side.text)) for name, side in sides]
    return [
        Answer(name, visible(side.text), calls(side.text), _named(side.asset, side.model), side.model)
        for name, side in sides
    ]


def standing(tallies: Sequence[Tally]) -> dict[str, Any]:
    """The ratings by the votes so far, for the page; `rows` is empty before the first."""
    try:
        ratings = rate(
            vote for one in tallies for vote in [Vote(one.model_a, one.model_b, OUTCOMES[one.verdict])] * one.votes
        )
    except NoVotes:
        return {"rows": [], "wins": [], "connected": True, "components": [], "votes": 0}
    names = {one.model_a: _named(one.asset_a, one.model_a) for one in tallies}
    names |= {one.model_b: _named(one.asset_b, one.model_b) for one in tallies}
    order = sorted(ratings.players, key=lambda player: (-ratings.strength(player).value, player))
    rows = [_row(ratings, player, names[player]) for player in order]
    places = [ratings.players.index(player) for player in order]
    wins = [(names[player], [float(ratings.wins[i, j]) for j in places]) for player, i in zip(order, places)]
    parts = [[names[player] for player in part] for part in ratings.components]
    return {
        "rows": rows,
        "wins": wins,
        "connected": ratings.is_connected,
        "components": parts,
        "votes": sum(one.votes for one in tallies),
    }


def _row(ratings: Ratings, player: str, name: str) -> Row:
    i, found = ratings.players.index(player), ratings.elo(player)
    interval = Interval(name, found.low, found.value, found.high)
    return Row(name, player, interval, found.n, float(ratings.wins[i].sum()), float(ratings.wins[:, i].sum()))


def _named(asset: str, model: str) -> str:
    return f"{asset.removesuffix('_model')} {model[:8]}"


def _encoded(rows: pl.DataFrame) -> Iterator[bytes]:
    return (line.encode() for line in exported(rows))
