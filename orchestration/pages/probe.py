"""`/probe`: what one or two checkpoints expect at each place of a text, and what each token cost them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from orchestration.pages import charts
from orchestration.pages.hostile import visible
from orchestration.pages.site import Pages
from orchestration.pages.speaking import Refused, Speaker, speaker
from orchestration.pages.voices import Voice, find, tokenizers, voices

router = APIRouter()

LOSS_STEPS_BITS = (0.5, 2.0, 4.0, 7.0, 11.0)  # borders between the colours of boxes
MOST_BARS, BARS = 50, 12
SHOWN_LENGTH = 24  # characters of a token
BEFORE = 12  # tokens that are shown before a place
MOST_BOXES, MOST_ROWS, MOST_POINTS = 240, 100, 240  # of a long text are shown: boxes, table rows, points of a curve
EXAMPLES = ("The capital of France is the city of", "Count the ones: 1101001001")
Form = Literal["document", "conversation"]


@dataclass(frozen=True)
class Box:
    """A token as a coloured box. `level` is a CSS class: l0 (expected) to l5 (a surprise), "given" if not predicted."""

    place: int
    text: str
    told: str
    level: str
    loss_bits: float | None = None
    entropy_bits: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Bar:
    """One likely token at a place; `is_it`: it is what stands there."""

    text: str
    probability: float
    is_it: bool


@dataclass(frozen=True)
class Place:
    """What was expected at one place, and what stands there (None: the text ends before it)."""

    place: int
    before: str
    entropy_bits: float
    bars: list[Bar]
    stands: Box | None
    others: float  # probability of all tokens that no bar shows


@dataclass(frozen=True)
class Reading:
    """A text as one checkpoint reads it."""

    voice: Voice
    boxes: list[Box]
    place: Place
    bits: float
    text_bytes: int
    vocabulary: int

    @property
    def predicted(self) -> list[Box]:
        return [box for box in self.boxes if box.loss_bits is not None]

    @property
    def near(self) -> list[Box]:
        """The boxes around the place that is looked at; all of a text that is not long."""
        return around(self.boxes, self.place.place, MOST_BOXES)

    @property
    def rows(self) -> list[Box]:
        """Those of them whose figures are listed."""
        return around(self.predicted, self.place.place, MOST_ROWS)

    @property
    def bits_per_byte(self) -> float | None:
        return self.bits / self.text_bytes if self.text_bytes else None

    @property
    def mean_bits(self) -> float | None:
        """Of loss a token."""
        return self.bits / len(self.predicted) if self.predicted else None

    @property
    def mean_entropy_bits(self) -> float | None:
        found = [box.entropy_bits for box in self.predicted if box.entropy_bits is not None]
        return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class Cut:
    """A text as one tokenizer cuts it."""

    voice: Voice
    boxes: list[Box]
    text_bytes: int
    entries: int

    @property
    def near(self) -> list[Box]:
        """The boxes that are shown."""
        return self.boxes[:MOST_BOXES]


@router.get("/probe")
def probe(
    request: Request,
    site: Pages,
    text: str = "",
    model: str = "",
    other: str = "",
    form: Form = "document",
    position: int | None = None,
    bars: Annotated[int, Query(ge=1, le=MOST_BARS)] = BARS,
    tokenizer: Annotated[list[str] | None, Query()] = None,
) -> HTMLResponse:
    """Every control is a parameter; `position` counts the tokens of `model`, from 0, and may be one after the last."""
    lake = site.lake()
    known, cutters, said = voices(lake), tokenizers(lake), speaker(site)
    chosen = [find(known, name, lake) for name in (model or known[0].name, other) if name]
    wanted = [find(cutters, name) for name in dict.fromkeys(tokenizer or [])]
    readings, cuts, trouble = [], [], None
    text = text.replace("\r\n", "\n")  # as forms send line breaks
    if text:
        try:
            readings = read(said, chosen, text, form, position, bars)
            cuts = [cut(said, one, text) for one in wanted]
        except Refused as error:
            trouble = str(error)
    else:
        said.start()  # somebody is about to ask
    first = readings[0] if readings else None
    values = {
        "known": known,
        "cutters": cutters,
        "chosen": [voice.name for voice in chosen],
        "wanted": [voice.name for voice in wanted],
        "text": text,
        "form": form,
        "bars": bars,
        "readings": readings,
        "cuts": cuts,
        "trouble": trouble,
        "chart": chart(readings) if first and len(first.predicted) > 1 else None,
        "steps": steps(first) if first else (None, None),
        "examples": EXAMPLES,
        "most_bars": MOST_BARS,
    }
    return site.page(request, "probe.html", values)


def read(
    said: Speaker, chosen: Sequence[Voice], text: str, form: Form, position: int | None, bars: int
) -> list[Reading]:
    """The text as each of the checkpoints reads it; a place of the first is found in the others by its bytes.

    Raises Refused, Unanswered.
    """
    source: dict[str, Any] = {"text": text}
    if form == "conversation":
        source = {"messages": [{"role": "user", "content": text}]}
    wanted, offset = -1 if position is None else max(position, 1), 0
    found: list[Reading] = []
    for voice in chosen:
        asked = {"ask": "probe", "model": str(voice.directory), **source, "top_k": bars}
        place = wanted
        if voice.tokens != chosen[0].tokens:
            place = at_byte(said.ask({**asked, "places": []})["tokens"], offset)
        answer = said.ask({**asked, "places": [place]})
        place = len(answer["tokens"]) if place < 0 else min(place, len(answer["tokens"]))
        found.append(reading(voice, answer, place))
        offset = offset if len(found) > 1 else start_byte(answer["tokens"], place)
    return found


def reading(voice: Voice, answer: Mapping[str, Any], place: int) -> Reading:
    """A probe's answer for a page. place: of the tokens, or one after the last."""
    tokens = answer["tokens"]
    boxes = [box_of(i, token) for i, token in enumerate(tokens)]
    here = tokens[place] if place < len(tokens) else answer["next"]
    stands = boxes[place] if place < len(tokens) else None
    bars = [
        Bar(label(one), one["probability"], stands is not None and one["token"] == tokens[place]["token"])
        for one in here["top"]
    ]
    before = "".join(label(token) for token in tokens[max(0, place - BEFORE) : place])
    others = max(0.0, 1 - sum(bar.probability for bar in bars))
    seen = Place(place, before, here["entropy_bits"], bars, stands, others)
    bits = sum(box.loss_bits for box in boxes if box.loss_bits is not None)
    size = sum(len(token["bytes"]) // 2 for token in tokens)
    return Reading(voice, boxes, seen, bits, size, answer["vocabulary"])


def cut(said: Speaker, voice: Voice, text: str) -> Cut:
    """The text as a tokenizer cuts it. Raises Refused, Unanswered."""
    answer = said.ask({"ask": "tokenize", "tokenizer": str(voice.directory), "text": text})
    boxes = [Box(i, label(one), f"id {one['token']}", f"k{i % 2}") for i, one in enumerate(answer["tokens"])]
    return Cut(voice, boxes, answer["bytes"], answer["entries"])


def box_of(place: int, token: Mapping[str, Any]) -> Box:
    """A token of a probe."""
    text, loss = label(token), token.get("loss_bits")
    if loss is None:
        return Box(place, text, f"id {token['token']}, given", "given")
    told = f"loss {loss:.2f} of {token['entropy_bits']:.2f} bits, rank {token['rank']}, id {token['token']}"
    return Box(place, text, told, level(loss), loss, token["entropy_bits"], token["rank"])


def level(loss_bits: float) -> str:
    """The colour of a loss."""
    return f"l{sum(loss_bits >= border for border in LOSS_STEPS_BITS)}"


def label(token: Mapping[str, Any]) -> str:
    """A token for people: line breaks and tabs by signs, bytes that are no whole character in hex, long ones cut."""
    if token["text"] is None:
        return "⟨" + " ".join(token["bytes"][i : i + 2] for i in range(0, len(token["bytes"]), 2)) + "⟩"
    text = visible(token["text"]).replace("\n", "⏎").replace("\t", "⇥")
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


def start_byte(tokens: Sequence[Mapping[str, Any]], place: int) -> int:
    """Bytes of the text before the token at a place."""
    return sum(len(token["bytes"]) // 2 for token in tokens[:place])


def at_byte(tokens: Sequence[Mapping[str, Any]], offset: int) -> int:
    """The place of the token that holds the byte at an offset, one after the last where the text ends there."""
    end = 0
    for place, token in enumerate(tokens):
        end += len(token["bytes"]) // 2
        if end > offset:
            return max(place, 1)
    return len(tokens)


def around(boxes: list[Box], place: int, most: int) -> list[Box]:
    """At most so many boxes, as many before a place as after it where there are."""
    first = max(0, min(place - most // 2, len(boxes) - most))
    return boxes[first : first + most]


def thinned(points: list[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """The curve with at most so many points, each the mean of as many neighbours."""
    each = math.ceil(len(points) / most)
    groups = [points[first : first + each] for first in range(0, len(points), each)] if points else []
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def steps(first: Reading) -> tuple[int | None, int | None]:
    """The places before and after the one that is looked at; None where the text ends."""
    here = first.place.place
    return (here - 1 if here > 1 else None, here + 1 if here < len(first.boxes) else None)


def chart(readings: Sequence[Reading]) -> Any:
    """Loss and entropy of every checkpoint along the text; checkpoints with other tokens are drawn by share of it."""
    same = len({len(one.boxes) for one in readings}) == 1
    curves: dict[str, list[tuple[float, float]]] = {}
    for one in readings:
        whose = f" of {one.voice.title}" if len(readings) > 1 else ""
        scale = 1.0 if same else 100 / len(one.boxes)
        curves[f"loss{whose}"] = thinned([(box.place * scale, box.loss_bits or 0.0) for box in one.predicted])
        curves[f"entropy{whose}"] = thinned([(box.place * scale, box.entropy_bits or 0.0) for box in one.predicted])
    here = readings[0].place.place * (1.0 if same else 100 / len(readings[0].boxes))
    levels = {"knowing nothing": math.log2(readings[0].vocabulary)}
    marks = [charts.Mark(here, "the place that is looked at", "proposed")]
    unit = "tokens" if same else "% of the text"
    return charts.lines(curves, name="Loss and entropy along the text, in bits", unit=unit, levels=levels, marks=marks)
