"""The tree of checkpoints, and one checkpoint: data, scores, curves, what it read, what makes it outdated.

`/models` lists every checkpoint that the home still has below its parent; `/models/<digest>` is one, and `?with=` draws
the curves of others over its own. `/models/data/<asset>/<digest>` is what an instruct or RL model learns from.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from assets.tracking import TrackingResource, curves_at, recorded_points
from orchestration.checkpoints import RELEASED, Checkpoint, Family, family
from orchestration.home import Home, require
from orchestration.lineage import Node, State
from orchestration.pages import charts, model_curves, model_reading
from orchestration.pages.background import Background, Made
from orchestration.pages.made_data import MadeData, describe
from orchestration.pages.shelf import NothingYet
from orchestration.pages.site import Pages, Site, is_partial
from orchestration.standing import event_log

router = APIRouter()
SHARDS = "token_shards"
OLDEST_S = 60.0  # what makes a checkpoint outdated can lie outside the home, so the answer is asked for again
TREES_SHOWN = 12  # base models with all that came of them, on one page
MODELS_SHOWN = 60  # checkpoints on one page
CAUSES_SHOWN = 4


@dataclass(frozen=True)
class Standing:
    """What takes a second to find out: how every node stands, and who has read pages of which takedowns."""

    states: Mapping[Node, State] = field(default_factory=dict)
    readers: Mapping[str, list[int]] = field(default_factory=dict)

    def causes(self, checkpoint: Checkpoint) -> list[str]:
        """Why a checkpoint in use is outdated, all the way up; [] where it is not, or not in use."""
        state = self.states.get(Node(checkpoint.asset))
        if state is None or state.data_version != checkpoint.digest:
            return []
        return [str(cause) for cause in state.causes]

    def takedowns(self, checkpoint: Checkpoint) -> list[int]:
        """Numbers of the takedowns whose pages it has read, itself or a parent."""
        return self.readers.get(checkpoint.digest, [])


@router.get("/models")
def models(request: Request, site: Pages, first: Annotated[int, Query(alias="from", ge=0, le=10**6)] = 0) -> Response:
    """The tree, newest base model first."""
    known, made = checkpoints(site), standing(site)
    roots = known.roots()
    values = {
        "family": known,
        "roots": roots[first : first + TREES_SHOWN],
        "visible": known.below(roots[first : first + TREES_SHOWN], MODELS_SHOWN),
        "first": first,
        "shown": TREES_SHOWN,
        "total": len(roots),
        **_standing_values(made),
    }
    return site.page(request, "models_panel.html" if is_partial(request) else "models.html", values)


@router.get("/models/data/{asset}/{digest}")
def made_data(request: Request, site: Pages, asset: str, digest: str) -> Response:
    """One version of what an instruct or RL model learns from; `current` names the one in use."""
    found: MadeData = describe(site.lake(), asset, digest)
    if digest != found.digest:
        return RedirectResponse(f"/models/data/{asset}/{found.digest}", 303)
    users = [one for one in checkpoints(site).members.values() if found.made(one)]
    return site.page(request, "made_data.html", {"data": found, "users": users, "lengths": length_chart(found.lengths)})


@router.get("/models/{name}")
def model(
    request: Request,
    site: Pages,
    name: str,
    others: Annotated[list[str] | None, Query(alias="with", max_length=model_curves.MOST_RUNS - 1)] = None,
) -> Response:
    """One checkpoint, by digest, the beginning of one, `champion`, or the name of its asset."""
    known, made = checkpoints(site), standing(site)
    chosen = known.find(name)
    if name != chosen.digest:
        return RedirectResponse(
            f"/models/{chosen.digest}" + (f"?{request.url.query}" if request.url.query else ""), 303
        )
    compared = [known.find(other) for other in dict.fromkeys(others or ()) if other != chosen.digest]
    runs, missing = {}, []
    for one in (chosen, *compared):
        points = curves(site, one)
        if isinstance(points, str):
            missing.append((one, points))
        elif points:
            runs[f"{one.asset} {one.digest[:8]}"] = points
    values = {
        "model": chosen,
        "family": known,
        "line": known.line(chosen),
        "compared": compared,
        "comparable": [one for one in known.members.values() if one.asset != RELEASED and one is not chosen],
        "panels": model_curves.panels(runs),
        "missing": missing,
        "reading": reading(site, chosen),
        "manifest": json.dumps(chosen.manifest, indent=1, sort_keys=True),
        **_standing_values(made),
    }
    return site.page(request, "checkpoint_panel.html" if is_partial(request) else "checkpoint.html", values)


def length_chart(lengths: tuple[int, ...]) -> Markup | None:
    """Examples by their tokens."""
    if not lengths:
        return None
    edges = charts.even_edges(lengths, min(40, len(set(lengths))))
    counts = [0] * (len(edges) - 1)
    for length in lengths:
        counts[min(bisect_right(edges, length) - 1, len(counts) - 1)] += 1
    return charts.histogram(edges, {"kept": counts}, name="Examples by length", unit="tokens")


def checkpoints(site: Site) -> Family:
    """Every checkpoint as the stores are now. Raises NothingYet before there is one."""
    lake = site.lake()
    stamp = _stamp(site)
    kept = site.kept.get("checkpoints")
    if kept is None or kept[0] != stamp:
        with event_log(require(Home(site.home))) as log:
            kept = site.kept["checkpoints"] = (stamp, family(lake, log))
    if not kept[1].members:
        raise NothingYet("no model was trained here yet")
    return kept[1]


def standing(site: Site, wait_s: float = 0.0) -> Made[Standing] | None:
    """What is outdated, as it was found last; None while it is looked for the first time."""
    keeper: Background[Standing] = site.kept.setdefault("standing", Background(OLDEST_S))
    return keeper.look(_stamp(site), lambda: find_standing(site), wait_s)


def find_standing(site: Site) -> Standing:
    """Asks for it now."""
    from assets.takedowns import readers
    from orchestration.standing import standing as how_all_stands

    return Standing(how_all_stands(require(Home(site.home))), readers(site.lake()))


def curves(site: Site, checkpoint: Checkpoint) -> list[tuple[int, str, float]] | str | None:
    """The points of a checkpoint's run; what to say where they are not there (yet); None for one without a run."""
    if checkpoint.asset == RELEASED:
        return None
    found = curves_at(site.home, checkpoint.asset, checkpoint.digest)
    if found is not None:
        return found
    run_id = checkpoint.record.metadata.get("mlflow/run_id") if checkpoint.record else None
    if not run_id:
        return "its run is not recorded, and its work directory is gone"
    uri = TrackingResource().address(site.home)
    keeper: Background[Any] = site.kept.setdefault(f"curves {checkpoint.digest}", Background(OLDEST_S))
    made = keeper.look(checkpoint.digest, lambda: recorded_points(uri, str(run_id)), wait_s=0.1)
    if made is None:
        return "MLflow is asked for them: load the page again in a moment"
    return made.value if made.value is not None else f"MLflow does not give them ({made.trouble})"


def reading(site: Site, checkpoint: Checkpoint) -> model_reading.Reading | None:
    """What a checkpoint read, counted once for each state of the tables; None where it says nothing of it."""
    file = checkpoint.directory / "consumed.parquet"
    if not file.is_file():
        return None
    shelved = site.shelf.look()
    kept: dict[tuple[str, str], model_reading.Reading] = site.kept.setdefault("readings", {})
    place = (checkpoint.digest, shelved.stamp)
    if place not in kept:
        if checkpoint.consumed is not None and checkpoint.consumed.kind == "documents":
            kept[place] = model_reading.of_documents(file, shelved.frame)
        else:
            kept[place] = model_reading.of_rows(file, _data_of(site, checkpoint))
    return kept[place]


def _data_of(site: Site, checkpoint: Checkpoint) -> Path | None:
    """The file that an instruct model's examples came from, where that version is still there."""
    version = (checkpoint.record.inputs if checkpoint.record else {}).get("sft_dataset", {}).get("")
    return site.home / "artifacts" / "sft_dataset" / version / "sft.parquet" if version else None


def _standing_values(made: Made[Standing] | None) -> dict[str, Any]:
    return {
        "standing": (made.value if made else None) or Standing(),
        "looked_at": made.at if made and made.value else None,
        "trouble": made.trouble if made else None,
        "causes_shown": CAUSES_SHOWN,
    }


def _stamp(site: Site) -> str:
    """Changes when something is materialized or checked, a checkpoint is committed or exported, or a takedown asked."""
    log = site.home / "dagster" / "history" / "runs"
    files = [log / "index.db", log / "index.db-wal", site.home / "exports.jsonl", site.home / "recipe"]
    files += [site.home / "takedowns", *sorted((site.home / "takedowns").glob("*/*.json"))]
    files += sorted((site.home / "artifacts").glob("*/versions/*"))
    return "|".join(_touched(path) for path in files)


def _touched(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns}:{found.st_size}"
