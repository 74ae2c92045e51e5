"""What goes wrong, in OpenAI's form: {"error": {"message", "type", "param", "code"}} and a status."""

from typing import Any

from starlette.responses import JSONResponse

from orchestration.pages.speaking import Refused, Unanswered

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "server_error"}
CODES = {"TooLong": "context_length_exceeded", "PoolTooSmall": "context_length_exceeded"}
# of the models' program, what the asking side can do nothing about
OURS = {"NonFiniteLogits", "RuntimeError", "MemoryError", "OSError", "ValueError", "CorruptArtifact", "SafetensorError"}


class ApiError(Exception):
    """What an answer with an error says. param: the field at fault; code: a word that programs can act on."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        message = _printable(" ".join(str(self).split())[:2000])
        param = None if self.param is None else _printable(self.param[:200])
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}

    def answer(self) -> JSONResponse:
        """The whole answer."""
        headers = {"retry-after": "1"} if self.status in (429, 503) else {}
        headers |= {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(self.body(), self.status, headers)


def _printable(text: str) -> str:
    """Text that can be sent: without halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


def of_program(error: Refused | Unanswered) -> ApiError:
    """What the models' program refused, or that it gave no answer."""
    if isinstance(error, Unanswered):
        return ApiError(503, str(error), code="overloaded")
    if error.kind == "Busy":
        return ApiError(429, str(error), code="overloaded")
    return ApiError(500 if error.kind in OURS else 400, str(error), code=CODES.get(error.kind))
