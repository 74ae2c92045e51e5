"""A teacher behind an OpenAI-compatible HTTP server: POST {base_url}/chat/completions (vLLM, llama.cpp, a vendor).

One request a solution, each with its own seed. Retries cover what may pass by itself (no connection, time-out, 408,
429, 5xx), bounded and with jitter; everything else is final. Answers are read up to MAX_RESPONSE_BYTES and are
untrusted.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from models.config import InputError
from models.tasks.families import Problem
from models.tasks.teachers import Solution, received, solution_seed

MAX_RESPONSE_BYTES = 1_000_000
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
INSTRUCTION = "Solve the problem. Think briefly, then end with one line of the form 'Answer: X' and nothing after it."


class TeacherUnavailable(InputError):
    """The server could not be reached or kept failing until the attempts ran out."""


class TeacherRefused(InputError):
    """The server answered with a final error (wrong key, unknown model, bad request)."""


class TeacherProtocolError(InputError):
    """The server's answer is not a chat completion, or is too long."""


class _TryAgain(Exception):
    """A failure that may pass by itself."""


@dataclass(frozen=True)
class ServerTeacher:
    """Solves problems through a chat completions server. The API key is a value; nothing here reads the environment."""

    base_url: str  # up to and including the version, e.g. http://127.0.0.1:8000/v1
    model: str
    api_key: str | None = field(default=None, repr=False)
    temperature: float = 0.75
    top_p: float = 0.95
    max_tokens: int = 512
    timeout_s: float = 60.0  # per request
    attempts: int = 5  # per request, the first included
    longest_wait_s: float = 20.0  # before one retry
    concurrency: int = 8  # requests in flight

    @property
    def name(self) -> str:
        """The model's name; where it is served is no part of it."""
        return f"openai:{self.model}"

    @property
    def version(self) -> None:
        """A server does not say which weights stand behind the name."""
        return None

    @property
    def checkpoint(self) -> None:
        """No checkpoint of ours, as far as anybody here can know."""
        return None

    def solve(self, problems: Sequence[Problem], n_solutions: int, seed: int) -> list[list[Solution]]:
        """See Teacher. Raises TeacherUnavailable, TeacherRefused, TeacherProtocolError; no answer is ever made up."""
        import httpx

        asked = [
            (problem, solution_seed(seed, problem.problem_id, i)) for problem in problems for i in range(n_solutions)
        ]
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        with (
            httpx.Client(headers=headers, timeout=self.timeout_s, follow_redirects=False) as client,
            ThreadPoolExecutor(self.concurrency) as pool,
        ):
            running = [pool.submit(self._one, client, problem.question, row_seed) for problem, row_seed in asked]
            try:
                solutions = [future.result() for future in running]
            finally:
                for future in running:
                    future.cancel()
        return [solutions[start : start + n_solutions] for start in range(0, len(solutions), n_solutions)]

    def _one(self, client: Any, question: str, seed: int) -> Solution:
        import tenacity

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=self.longest_wait_s),
            retry=tenacity.retry_if_exception_type(_TryAgain),
        )
        try:
            body = retrying(self._post, client, question, seed)
        except tenacity.RetryError as error:
            cause = error.last_attempt.exception()
            raise TeacherUnavailable(f"{self.base_url}: {self.attempts} attempts failed, last: {cause}") from cause
        return _solution(body, seed)

    def _post(self, client: Any, question: str, seed: int) -> bytes:
        import httpx

        request = {
            "model": self.model,
            "messages": [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question}],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": seed,
            "n": 1,
        }
        try:
            with client.stream("POST", f"{self.base_url.rstrip('/')}/chat/completions", json=request) as response:
                body = b""
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise TeacherProtocolError(
                            f"{self.base_url}: an answer is longer than {MAX_RESPONSE_BYTES} bytes"
                        )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise TeacherRefused(f"{self.base_url} is not an HTTP address: {error}") from error
        except httpx.TransportError as error:
            raise _TryAgain(f"{type(error).__name__}: {error}") from error
        except httpx.DecodingError as error:
            raise TeacherProtocolError(f"{self.base_url}: the answer cannot be decoded: {error}") from error
        if response.status_code in RETRIED:
            raise _TryAgain(f"HTTP {response.status_code}")
        if response.status_code != 200:
            detail = body[:200].decode("utf-8", "replace")
            raise TeacherRefused(f"{self.base_url}: HTTP {response.status_code} for model {self.model!r}: {detail}")
        return body


def _solution(body: bytes, seed: int) -> Solution:
    import json

    try:
        choice = json.loads(body)["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise TeacherProtocolError(f"the server's answer is not a chat completion: {error!r}") from error
    if text is None:
        return Solution("", None, seed)
    if not isinstance(text, str):
        raise TeacherProtocolError(f"the message's content is {type(text).__name__}, not text")
    return received(text, seed, complete=choice.get("finish_reason") != "length")
