"""What a page's function is given: the home, its rows, its lake, the settings, and a way to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import HTMLResponse

from assets.lake import Lake
from orchestration.pages.rendering import Renderer
from orchestration.pages.settings import PageSettings
from orchestration.pages.shelf import Shelf


@dataclass(frozen=True)
class Site:
    """One running set of pages. `kept` is where a page keeps what lives as long as the server does, by its name."""

    settings: PageSettings
    shelf: Shelf
    renderer: Renderer
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.settings.home

    def lake(self) -> Lake:
        """A lake for one request. Raises NothingYet."""
        return self.shelf.open()

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """A template as the answer."""
        return self.renderer(request, template, values or {}, status=status, headers=headers)


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    return request.app.state.site


Pages = Annotated[Site, Depends(site_of)]


def is_partial(request: Request) -> bool:
    """Whether only a panel is asked for (by htmx), not the page around it."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-boosted") != "true"
