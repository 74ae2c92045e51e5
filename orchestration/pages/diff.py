"""`/diff?a=&b=`: two corpus versions, models, policies or folders side by side, and why each page is only in one.

Without `a` and `b`, what there is to compare. A pair is compared once, in the background, while the page says how far
it is and asks again by itself; after that it is a look-up (comparing.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from assets import policy
from assets.difference_report import because
from orchestration.pages import charts
from orchestration.pages.diffing import Diffs, NoFolders, TooMany
from orchestration.pages.site import Pages, Site
from orchestration.tracing import CHAMPION, MODELS

router = APIRouter()
ROWS = 15  # of a table
VERSIONS = 40  # newest, that are offered
WAIT_S = 0.15  # that a first answer waits for a short comparison
REFRESH_S = 1
LONGEST = 500  # characters of a name

Name = Annotated[str, Query(max_length=LONGEST)]


@dataclass(frozen=True)
class Row:
    """A group and the documents that either side has of it (None: not known), with the shares of the longest bar."""

    name: str
    a: int | None
    b: int | None
    share_a: float
    share_b: float

    @property
    def change(self) -> int | None:
        return None if self.a is None or self.b is None else self.b - self.a


@router.get("/diff")
def diff(request: Request, site: Pages, a: Name = "", b: Name = "") -> Response:
    """The picker, or the comparison of a pair, or how far that is."""
    diffs: Diffs = site.kept.setdefault("diff", Diffs())
    a, b = a.strip(), b.strip()
    values: dict[str, Any] = {"a": a, "b": b, "trouble": None, **_offered(site, diffs)}
    if not (a and b):
        return site.page(request, "diff_pick.html", values)
    try:
        answer = diffs.ask(site, a, b, WAIT_S)
    except (LookupError, ValueError, NoFolders, TooMany) as error:
        if not type(error).__module__.startswith(("assets", "orchestration")):
            raise
        status = 404 if isinstance(error, LookupError) else 403 if isinstance(error, NoFolders) else 422
        status = 503 if isinstance(error, TooMany) else status
        values["trouble"] = " ".join(str(error).split())
        return site.page(request, "diff_pick.html", values, status=status)
    if answer.report is None:
        assert answer.working is not None
        values |= {"working": answer.working}
        waits = answer.working.trouble is None
        headers = {"refresh": str(REFRESH_S)} if waits else {}
        return site.page(request, "diff_working.html", values, status=200 if waits else 500, headers=headers)
    return site.page(request, "diff.html", {**values, **view(answer.report)})


def _offered(site: Site, diffs: Diffs) -> dict[str, Any]:
    """What can be compared in this home: versions newest first, models that are there, policies."""
    sides, _ = diffs.sides(site)
    made = [name for name in MODELS if (site.home / "artifacts" / name / "versions").is_dir()]
    champion = [CHAMPION] if (site.home / "artifacts" / "released_model" / "versions").is_dir() else []
    versions = list(reversed(sides.known.known))
    return {
        "versions": versions[:VERSIONS],
        "versions_in_all": len(versions),
        "models": [*champion, *made],
        "policies": policy.available(site.home),
    }


def view(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a report: a pure function of it."""
    a, b = report["a"], report["b"]
    funnels = [one["funnel"] or {} for one in (a, b)]
    reasons = [name for name in dict.fromkeys([*funnels[0], *funnels[1]]) if name not in ("pages", "kept")]
    only = [report["only_a"], report["only_b"]]
    bits = sorted({int(k) for lengths in report["lengths"] for k in lengths})
    lengths = [
        (k, report["lengths"][0].get(str(k), 0), report["lengths"][1].get(str(k), 0))
        for k in range(bits[0] if bits else 0, bits[-1] + 1 if bits else 0)
    ]
    return {
        "report": report,
        "whole": (a, b),
        "only": only,
        "funnel": _funnel(["pages", *reasons, "kept"], *funnels),
        "why": [[(name, one["documents"], one["bytes"]) for name, one in side["reasons"].items()] for side in only],
        "languages": _pairs(a["languages"], b["languages"]),
        "snapshots": _pairs(a["snapshots"], b["snapshots"]),
        "hosts": _rows((host, one["documents"], two["documents"]) for host, one, two in report["hosts"]),
        "files": _rows((path, one, two) for path, one, two in report["files"]),
        "lengths": lengths,
        "lengths_chart": charts.lines(
            {"A": [(k, n) for k, n, _ in lengths], "B": [(k, n) for k, _, n in lengths]},
            name="Documents by the length of their text, of A and of B",
            unit="powers of 2 of bytes",
        ),
        "because": because,
    }


def _funnel(names: list[str], one: Mapping[str, int], two: Mapping[str, int]) -> list[Row]:
    """Pages by reason on both sides; none where nothing is known of either."""
    rows = [(name, one.get(name, 0) if one else None, two.get(name, 0) if two else None) for name in names]
    return _rows(rows) if one or two else []


def _pairs(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[Row]:
    """Groups by what either side has of them, greatest first."""
    counts = [
        (name, *(side.get(name, {"documents": 0})["documents"] for side in (one, two))) for name in {**one, **two}
    ]
    return _rows(sorted(counts, key=lambda row: (-max(row[1:]), row[0]))[:ROWS])


def _rows(counts: Iterable[tuple[str, int | None, int | None]]) -> list[Row]:
    listed = list(counts)
    most = max((n or 0 for _, *both in listed for n in both), default=0) or 1
    return [Row(name, one, two, (one or 0) / most, (two or 0) / most) for name, one, two in listed]
