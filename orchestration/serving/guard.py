"""Who may ask: hosts, origins and the token, before anything of a request is read."""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.pages.settings import LOOPBACK
from orchestration.serving.errors import ApiError
from orchestration.serving.settings import ServeSettings

HEADERS = {b"x-content-type-options": b"nosniff", b"cache-control": b"no-store"}


class Guard:
    """ASGI middleware: on loopback only requests under this machine's names (a foreign name may resolve here), from no
    page of another site; elsewhere only who shows the token."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS.items()]
            await send(message)

        refused = self._refused(Headers(scope=scope))
        await (refused.answer() if refused else self.app)(scope, receive, answer)

    def _refused(self, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        if self.settings.is_loopback and _name(host) not in LOOPBACK:
            return ApiError(421, "this machine is asked for under a name that is not its own: refused")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return ApiError(403, "a page of another site asks: refused", code="foreign_origin")
        if self.settings.token is None:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.settings.token.encode())
        if kind.lower() == "bearer" and right:
            return None
        return ApiError(401, "show the server's token as `authorization: Bearer TOKEN`", code="invalid_api_key")


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
