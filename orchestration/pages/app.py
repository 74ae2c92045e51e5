"""The application: routers of all pages, the guard in front of them, static files, and pages for what goes wrong."""

import importlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import Depends, FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from assets.artifacts import ArtifactMissing
from assets.lake import TableMissing
from orchestration.home import HomeMissing
from orchestration.pages.launching import DagsterAway
from orchestration.pages.rendering import Renderer
from orchestration.pages.security import ACCESS, Guard, NotSameSite, access_of, same_site, secret_of
from orchestration.pages.settings import PageSettings
from orchestration.pages.shelf import NothingYet, Shelf
from orchestration.pages.site import Pages, Site

STATIC = Path(__file__).parent / "static"
ROOMS = ("orchestration", "assets", "models", "kernels")
# one module a page, each with its `router`
PAGES: tuple[str, ...] = (
    "funnel",
    "filters",
    "policy_page",
    "document",
    "diff",
    "search",
    "labels",
    "launching",
    "models",
    "cards",
    "takedowns",
    "probe",
    "chat",
    "arena",
)  # fmt: skip
log = logging.getLogger(__name__)


def build(settings: PageSettings) -> FastAPI:
    """The pages of one home, which need not hold anything yet."""
    settings.home.mkdir(parents=True, exist_ok=True)
    app = FastAPI(title="Stemma", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(same_site)])
    secret = secret_of(settings.home)
    app.state.site = Site(settings, Shelf(settings.home), Renderer(settings))
    app.state.secret = secret
    app.add_middleware(Guard, settings=settings, secret=secret)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for name in PAGES:
        app.include_router(importlib.import_module(f"orchestration.pages.{name}").router)
    app.add_api_route("/login", _ask, methods=["GET"])
    app.add_api_route("/login", _let_in, methods=["POST"])
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


async def _ask(request: Request, site: Pages) -> Response:
    return site.page(request, "login.html", {"wrong": False})


async def _let_in(request: Request, site: Pages, access: str = Form("")) -> Response:
    import hmac

    wanted = site.settings.token
    if wanted is None or not hmac.compare_digest(access.encode(), wanted.encode()):
        return site.page(request, "login.html", {"wrong": True}, status=401)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(ACCESS, access_of(request.app.state.secret, wanted), httponly=True, samesite="strict")
    return answer


async def _nothing_yet(request: Request, error: Exception) -> Response:
    command = error.command if isinstance(error, NothingYet) else "stemma demo"
    what = error.what if isinstance(error, NothingYet) else " ".join(str(error).split())
    return request.app.state.site.page(request, "nothing.html", {"what": what, "command": command})


async def _not_same_site(request: Request, error: Exception) -> Response:
    return _problem(request, 403, "Not done", str(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and error.detail == "Not Found":
        return _problem(request, 404, "No such page", f"nothing lives at {request.url.path}")
    return _problem(request, error.status_code, "Not done", str(error.detail))


async def _lookup(request: Request, error: Exception) -> Response:
    return await _ours(request, error, 404, "Not found")


async def _value(request: Request, error: Exception) -> Response:
    return await _ours(request, error, 422, "That cannot be used")


async def _unusable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _problem(request, 422, "That cannot be used", f"{first['loc'][-1]}: {first['msg']}")


async def _away(request: Request, error: Exception) -> Response:
    return await _ours(request, error, 503, "Dagster is away")


async def _other(request: Request, error: Exception) -> Response:
    return await _ours(request, error, 500, "Something broke")


async def _ours(request: Request, error: Exception, status: int, title: str) -> Response:
    """Typed errors of ours say what to do; of others only that it is in the log, for their text may quote a page."""
    if type(error).__module__.split(".")[0] in ROOMS:
        return _problem(request, status, title, " ".join(str(error).split()))
    log.error("a page failed: %s", request.url.path, exc_info=error)
    return _problem(request, 500, "Something broke", "the reason is in the log of the pages")


def _problem(request: Request, status: int, title: str, message: str) -> Response:
    return request.app.state.site.page(request, "problem.html", {"title": title, "message": message}, status=status)


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    NothingYet: _nothing_yet,
    HomeMissing: _nothing_yet,
    TableMissing: _nothing_yet,
    ArtifactMissing: _nothing_yet,
    NotSameSite: _not_same_site,
    HTTPException: _http,
    LookupError: _lookup,
    ValueError: _value,
    RequestValidationError: _unusable,
    DagsterAway: _away,
    Exception: _other,
}
