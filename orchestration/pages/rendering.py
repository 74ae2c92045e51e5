"""Templates: what every page has in common, the address as its state, and how figures and digests are written."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from assets.safe_text import shown
from orchestration.pages import charts, hostile
from orchestration.pages.security import token_of
from orchestration.pages.settings import PageSettings

TEMPLATES = Path(__file__).parent / "templates"

# address, name and what it is, in the order in which a curator meets them
NAVIGATION = (
    ("/", "Funnel"),
    ("/filter", "Filters"),
    ("/search", "Search"),
    ("/labels", "Labels"),
    ("/diff", "Diff"),
    ("/takedown", "Takedown"),
    ("/models", "Models"),
    ("/probe", "Probe"),
    ("/chat", "Chat"),
    ("/arena", "Arena"),
    ("/cards", "Cards"),
)


def environment(settings: PageSettings) -> Environment:
    """The template environment: everything is escaped unless a function of ours made it, unknown names are errors."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "navigation": NAVIGATION,
        "dagster": settings.dagster,
        "mlflow": settings.mlflow,
        "charts": charts,
        "shown_text": hostile.shown,
        "link": link,
        "asset_link": lambda name: f"{settings.dagster}/assets/{quote(name)}",
        "run_link": lambda run_id: f"{settings.dagster}/runs/{quote(run_id)}",
        "mlflow_link": lambda experiment, run: f"{settings.mlflow}/#/experiments/{quote(experiment)}/runs/{quote(run)}",
    }
    made.filters |= {
        "n": number,
        "percent": percent,
        "bytes": size,
        "short": lambda digest: str(digest)[:12],
        "line": shown,
        "time": moment,
        "quoted": lambda text: quote(str(text), safe=""),
    }
    return made


class Renderer:
    """Answers with templates."""

    def __init__(self, settings: PageSettings) -> None:
        self.environment = environment(settings)

    def __call__(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """The page as an answer. Templates see `request`, `token` for their forms, and the values."""
        text = self.environment.get_template(template).render(
            request=request, path=request.url.path, token=token_of(request), **values
        )
        return HTMLResponse(text, status, dict(headers or {}))


def link(request: Request, path: str | None = None, **changes: Any) -> str:
    """The present address with some parameters changed: None takes one away, a list gives it several times.

    `path`: another page with the same parameters.
    """
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    new: list[tuple[str, Any]] = []
    for key, value in changes.items():
        values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
        new += [(key, one) for one in values if one is not None and one != ""]
    query = urlencode([*kept, *new])
    return (path or request.url.path) + (f"?{query}" if query else "")


def number(value: float | None) -> str:
    """With thousands separators; a dash for None; three digits of a fraction."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def size(value: float | None) -> str:
    """Bytes in the unit that people read."""
    if value is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as UTC to the minute."""
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
