"""Cards, generated from metadata alone: of every corpus version and of every checkpoint, as pages and as markdown.

`/cards/corpus` takes `version` (a digest or its beginning) and `snapshot`; the same address with `.md` is the text to
download.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from assets.cards import CheckpointFacts, checkpoint_card
from assets.corpus_facts import READ_TABLES, gather
from assets.data_card import data_card
from assets.making import CORPUS_VERSION
from assets.resources import RecipeResource
from assets.versions import CorpusVersion, Versions
from models.export.card_form import Card, markdown, written
from orchestration.checkpoints import MODELS, RELEASED, Checkpoint, Family, made_from, recorded
from orchestration.home import Home, require
from orchestration.pages.background import Background
from orchestration.pages.models import SHARDS, checkpoints, standing
from orchestration.pages.shelf import NothingYet
from orchestration.pages.site import Pages, Site
from orchestration.standing import event_log

router = APIRouter()
VERSIONS_SHOWN, MODELS_SHOWN = 30, 40
PATIENCE_S = 0.25  # how long a page waits for a card that is not counted yet
DOWNLOAD_PATIENCE_S = 30.0
AGAIN_S = 60
CARDS_KEPT = 64


class UnknownSnapshot(LookupError):
    """The corpus version has no such snapshot."""


@router.get("/cards")
def cards(request: Request, site: Pages) -> Response:
    """What there are cards of."""
    versions, models = known_versions(site).known, []
    with suppress(NothingYet):  # a home without models has cards of its corpus all the same
        models = [one for one in checkpoints(site).members.values() if one.asset != RELEASED]
    values = {"versions": versions[::-1][:VERSIONS_SHOWN], "models": models[:MODELS_SHOWN], "all": len(versions)}
    return site.page(request, "cards.html", values)


@router.get("/cards/corpus.md")
def corpus_markdown(site: Pages, version: str = "", snapshot: str = "") -> Response:
    """The data card to download."""
    chosen = find(site, version, snapshot)
    card = corpus_card(site, chosen, snapshot, DOWNLOAD_PATIENCE_S)
    if card is None:
        return Response("the card is still being counted: ask again in a moment\n", 503, {"retry-after": "5"})
    return _download(card, f"corpus-{chosen.digest[:12]}{'-' if snapshot else ''}{_plain(snapshot)}.md")


@router.get("/cards/corpus")
def corpus(request: Request, site: Pages, version: str = "", snapshot: str = "") -> Response:
    """The data card of a corpus version, by default the one in use, or of one of its snapshots."""
    chosen = find(site, version, snapshot)
    card = corpus_card(site, chosen, snapshot, PATIENCE_S)
    values = {
        "card": card,
        "version": chosen,
        "snapshot": snapshot,
        "versions": known_versions(site).known[::-1][:VERSIONS_SHOWN],
    }
    return site.page(request, "corpus_card.html", values | _writing())


@router.get("/cards/model/{name}.md")
def model_markdown(site: Pages, name: str) -> Response:
    """The model card to download."""
    family = checkpoints(site)
    chosen = _carded(family, name)
    return _download(model_card(site, family, chosen, DOWNLOAD_PATIENCE_S), f"{chosen.asset}-{chosen.digest[:12]}.md")


@router.get("/cards/model/{name}")
def model(request: Request, site: Pages, name: str) -> Response:
    """The model card of a checkpoint, found as /models/<name> finds it; a release has that of its model."""
    family = checkpoints(site)
    chosen = _carded(family, name)
    if name != chosen.digest:
        return RedirectResponse(f"/cards/model/{chosen.digest}", 303)
    card = model_card(site, family, chosen, PATIENCE_S)
    values = {"card": card, "model": chosen, "known": standing(site) is not None}
    return site.page(request, "model_card.html", values | _writing())


def known_versions(site: Site) -> Versions:
    """The corpus versions of now. Raises NothingYet before there is one."""
    lake, stamp = site.lake(), _stamp(site)
    kept = site.kept.get("corpus versions")
    if kept is None or kept[0] != stamp:
        kept = site.kept["corpus versions"] = (stamp, Versions(lake))
    if not kept[1].known:
        raise NothingYet("no corpus was made here yet")
    return kept[1]


def find(site: Site, version: str, snapshot: str) -> CorpusVersion:
    """The version by its digest, or the beginning of it; "": in use. Raises UnknownVersion, UnknownSnapshot."""
    known = known_versions(site)
    chosen = known.find(version) if version else known.current
    if snapshot and snapshot not in chosen.snapshots:
        listed = ", ".join(sorted(chosen.snapshots)[:8])
        raise UnknownSnapshot(f"the version {chosen.digest[:12]} has no snapshot {snapshot[:64]}: it has {listed}")
    return chosen


def corpus_card(site: Site, version: CorpusVersion, snapshot: str, wait_s: float) -> Card | None:
    """The card, counted once for each state of the tables; None while it is counted for the first time."""
    keepers: dict[tuple[str, str], Background[Card]] = site.kept.setdefault("corpus cards", {})
    if len(keepers) > CARDS_KEPT:
        keepers.clear()
    keeper = keepers.setdefault((version.digest, snapshot), Background())
    made = keeper.look(_stamp(site), lambda: count(site, version.digest, snapshot), wait_s)
    if made is not None and made.value is None and made.trouble:
        raise CardUncounted(f"the card could not be counted: {made.trouble}")
    return made.value if made else None


class CardUncounted(RuntimeError):
    """A table that the card is counted from cannot be read."""


def count(site: Site, digest: str, snapshot: str) -> Card:
    """Counts it now."""
    known = Versions(site.lake())
    going_by = RecipeResource().chosen_policy(site.home)
    facts = gather(known, known.find(digest), snapshot or None, going_by)
    return data_card(facts if snapshot else replace(facts, tokens=tokens_of(site, digest)))


def tokens_of(site: Site, digest: str) -> int | None:
    """Tokens of the newest shards that were made of a corpus version."""
    with event_log(require(Home(site.home))) as log:
        records = recorded(log, SHARDS).values()
    return next((r.metadata.get("stemma/tokens") for r in records if r.metadata.get(CORPUS_VERSION) == digest), None)


def model_card(site: Site, family: Family, checkpoint: Checkpoint, wait_s: float) -> Card:
    """The card of a checkpoint with what the home knows of it."""
    made = standing(site, wait_s)
    now = made.value if made else None
    line = family.line(checkpoint)
    headlines = {score.metric for score in checkpoint.headlines}
    in_use = next((one for one in family.members.values() if one.asset == checkpoint.asset and one.current), None)
    return checkpoint_card(
        CheckpointFacts(
            asset=checkpoint.asset,
            directory=checkpoint.directory,
            scores=[vars(score) for score in checkpoint.headlines],
            families=[vars(score) for score in checkpoint.scores if score.metric not in headlines],
            data=[sentence for one in line for sentence in _learned(site, one)],
            lineage=dict(_lineage(line)),
            recipe=str(checkpoint.manifest.get("recipe", "demo")),
            corpus_version=checkpoint.corpus_version,
            outdated=now.causes(checkpoint) if now is not None and checkpoint.current else None,
            replaced_by=in_use.digest if in_use is not None and in_use is not checkpoint else None,
            takedowns=now.takedowns(checkpoint) if now is not None else (),
            exports=len(checkpoint.exports),
        )
    )


def _learned(site: Site, one: Checkpoint) -> Iterable[str]:
    """What a checkpoint learned from, in sentences."""
    read = one.consumed
    if read is None:
        return
    tokens = f", {read.tokens:,} tokens" if read.tokens is not None else ""
    repeats = f", at most {read.most_often:,} times each" if read.most_often > 1 else ""
    how = {
        "documents": "of web pages after filters, dedup and scrubbing",
        "examples": "of synthetic instructions, chosen for the diversity of their gradients",
        "problems": "with exact answers, rewarded by verification",
    }[read.kind]
    yield f"{one.asset}: {read.rows:,} {read.kind} {how}{tokens}{repeats}."
    if read.kind == "documents" and one.corpus_version is not None:
        found = [version for version in known_versions(site).known if version.digest == one.corpus_version]
        for version in found:
            said = f"{version.rows:,} documents under {', '.join(version.policies) or 'a policy that was not recorded'}"
            yield f"They are of the corpus version `{version.digest}`: {said}."


def _lineage(line: list[Checkpoint]) -> Iterable[tuple[str, str]]:
    for one in line[:-1]:
        yield one.asset, one.digest
    for one in line:
        for asset, version in made_from(one):
            if asset not in MODELS:
                yield asset, version
    last = line[-1]
    if last.corpus_version is not None:
        yield "corpus", last.corpus_version
    if last.record is not None:
        yield "Dagster run", last.record.run_id
        if run_id := last.record.metadata.get("mlflow/run_id"):
            yield "MLflow run", str(run_id)


def _carded(family: Family, name: str) -> Checkpoint:
    """The checkpoint whose card is meant: a release is its parent in another form."""
    chosen = family.find(name)
    parent = family.members.get(chosen.parent or "")
    return parent if chosen.asset == RELEASED and parent is not None else chosen


def _writing() -> dict[str, Any]:
    """How the template writes a card's parts."""
    return {"written": written, "kind": lambda part: type(part).__name__.lower()}


def _download(card: Card, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(markdown(card), media_type="text/markdown; charset=utf-8", headers=headers)


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)


def _stamp(site: Site) -> str:
    """Changes when a table that cards are counted from has a new version, or a takedown was asked or applied.

    The logs of a bucket are not listed for every request: what it holds is asked for again every minute.
    """
    lake = site.lake()
    logs = [Path(lake.staging(table)) / "_delta_log" for table in READ_TABLES] if lake.is_local else []
    entries = [max((path.name for path in log.glob("*.json")), default="") for log in logs]
    takedowns = sorted(path.name for path in (site.home / "takedowns").glob("**/*.json"))
    shards = sorted(path.parent.name for path in (site.home / "artifacts" / SHARDS).glob("*/manifest.json"))
    minute = [] if lake.is_local else [str(int(time.time() // AGAIN_S))]
    return "|".join([*entries, *takedowns, *shards, *minute])
