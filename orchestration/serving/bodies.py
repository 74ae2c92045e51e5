"""The body of a request, bounded in size, time and kind, as a JSON value."""

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from orchestration.serving.errors import ApiError

MOST_BYTES = 2 << 20
READ_S = 30.0  # that a body may take


async def json_of(request: Request) -> Any:
    """The JSON value that was sent. Raises ApiError: 400, 408, 413, 415.

    Another content type is refused because a page of any site may send one here without asking first.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "send JSON, with the header `content-type: application/json`")
    try:
        body = await asyncio.wait_for(_read(request), READ_S)
    except TimeoutError:
        raise ApiError(408, f"the body was not there within {READ_S:g} s") from None
    except ClientDisconnect:
        raise ApiError(400, "the body ended early") from None
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {type(error).__name__}") from error


async def _read(request: Request) -> bytes:
    too_large = ApiError(413, f"the body is over {MOST_BYTES:,} bytes: send less")
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > MOST_BYTES:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise too_large
    return bytes(body)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
