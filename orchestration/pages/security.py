"""Who may ask and what a browser may do with the answer: hosts, access, same-site tokens, Content-Security-Policy.

Crawled text and model output are hostile, and so may be any page that is open in the same browser. A page of ours loads
scripts, styles and data from its own origin alone and runs nothing inline. A request that changes something must carry
the token that stands in our own forms: it is a keyed hash of the session cookie, which other sites neither read nor
send. On loopback, requests under another host name are refused, so a name that resolves here (DNS rebinding) gets
nothing.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.pages.settings import LOOPBACK, PageSettings

SESSION, ACCESS = "stemma_session", "stemma_access"
TOKEN_FIELD, TOKEN_HEADER = "token", "x-stemma-token"
SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("/static/", "/login")  # what is answered without access
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class NotSameSite(PermissionError):
    """A request that changes something did not come from a page of ours."""


class Guard:
    """ASGI middleware: refuses strangers, gives every browser a session, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, settings: PageSettings, secret: bytes) -> None:
        self.app, self.settings, self.secret = app, settings, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookies = _cookies(headers)
        session = cookies.get(SESSION, "")
        fresh = not _is_session(session)
        session = secrets.token_hex(16) if fresh else session
        scope.setdefault("state", {})["session"] = session
        scope["state"]["same_site"] = same_site_token(self.secret, session)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(message, session if fresh else None)
            await send(message)

        refused = self._refused(scope, headers, cookies)
        await (refused or self.app)(scope, receive, answer)

    def _refused(self, scope: Scope, headers: Headers, cookies: MutableMapping[str, str]) -> Response | None:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if self.settings.is_loopback and name not in (*LOOPBACK, "testserver"):
            return PlainTextResponse(f"this machine is asked for under the name {name[:100]!r}: refused\n", 421)
        wanted = self.settings.token
        if wanted is None or scope["path"].startswith(OPEN):
            return None
        if hmac.compare_digest(cookies.get(ACCESS, ""), access_of(self.secret, wanted)):
            return None
        if scope["method"] in SAFE:
            return Response(status_code=303, headers={"location": "/login"})
        return PlainTextResponse("sign in at /login first\n", 401)

    def _dress(self, message: Message, new_session: str | None) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers[name] = value
        if "cache-control" not in headers:
            headers["cache-control"] = "no-store"
        if new_session is not None:
            headers.append("set-cookie", f"{SESSION}={new_session}; Path=/; HttpOnly; SameSite=Strict")


async def same_site(request: Request) -> None:
    """A dependency of the whole app: raises NotSameSite where a changing request has not our token."""
    if request.method in SAFE:
        return
    origin = request.headers.get("origin")
    if origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host"):
        raise NotSameSite(f"the request comes from {origin}")
    given = request.headers.get(TOKEN_HEADER)
    if given is None and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        given = (await request.form()).get(TOKEN_FIELD)  # type: ignore[assignment]
    if not isinstance(given, str) or not hmac.compare_digest(given, request.state.same_site):
        raise NotSameSite("the form is older than this browser's session: load the page again and send it once more")


def same_site_token(secret: bytes, session: str) -> str:
    """What our forms carry for this session."""
    return hmac.new(secret, f"form:{session}".encode(), hashlib.sha256).hexdigest()


def access_of(secret: bytes, token: str) -> str:
    """The cookie of a browser that has shown the access token."""
    return hmac.new(secret, f"access:{token}".encode(), hashlib.sha256).hexdigest()


def secret_of(home: Path) -> bytes:
    """The home's key for tokens, made once, readable by its owner alone."""
    path = home / "pages.secret"
    temporary = path.with_name(f".{secrets.token_hex(8)}.secret")
    if not path.is_file():
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(temporary, path)  # whoever is first
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _is_session(value: str) -> bool:
    return len(value) == 32 and all(c in "0123456789abcdef" for c in value)


def token_of(connection: HTTPConnection) -> Any:
    """The same-site token for the forms of this answer."""
    return connection.state.same_site
