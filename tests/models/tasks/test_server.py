"""The server teacher against a real HTTP server in this process that speaks the chat completions protocol."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from models.tasks.families import generate
from models.tasks.server import (
    MAX_RESPONSE_BYTES,
    ServerTeacher,
    TeacherProtocolError,
    TeacherRefused,
    TeacherUnavailable,
)
from models.tasks.teachers import solution_seed
from models.tasks.verify import verify


class ChatServer(ThreadingHTTPServer):
    """Answers gcd questions; `behave(request, times_seen)` may return (status, body) to do something else."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behave=lambda request, times: None):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.behave, self.requests, self.seen, self.lock = behave, [], Counter(), threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class ChatHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        import math

        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers), request))
            self.server.seen[request["seed"]] += 1
            times = self.server.seen[request["seed"]]
        special = self.server.behave(request, times)
        if special == "hang up":
            self.close_connection = True
            self.connection.close()
            return
        numbers = [int(word) for word in request["messages"][-1]["content"].split() if word.isdigit()]
        status, body = special or (200, completion(f"Divisors of both. Answer: {math.gcd(*numbers)}"))
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args):
        pass


def completion(text, finish_reason="stop"):
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}]}


PROBLEMS = generate("gcd", 6, 1, 1)


def teacher(server, **changes):
    return ServerTeacher(server.url, "small-teacher", **{"attempts": 4, "longest_wait_s": 0.05, **changes})


def test_it_speaks_the_protocol_and_returns_solutions_in_order():
    with ChatServer() as server:
        solutions = teacher(server, api_key="sekrit", temperature=0.5).solve(PROBLEMS, 3, seed=7)
        requests = server.requests
    assert [len(row) for row in solutions] == [3] * 6
    for problem, row in zip(PROBLEMS, solutions, strict=True):
        assert [s.seed for s in row] == [solution_seed(7, problem.problem_id, index) for index in range(3)]
        assert all(verify(problem.answer, s.text) == 1.0 for s in row)
    path, headers, request = requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer sekrit"
    assert request["model"] == "small-teacher" and request["temperature"] == 0.5 and request["n"] == 1
    assert [m["role"] for m in request["messages"]] == ["system", "user"]
    assert len({r["seed"] for _, _, r in requests}) == len(requests) == 18


def test_the_key_is_not_shown():
    assert "sekrit" not in repr(ServerTeacher("http://127.0.0.1:1/v1", "m", api_key="sekrit"))


@pytest.mark.parametrize("failure", [(503, b"busy"), (429, b"slow down"), "hang up"])
def test_passing_failures_are_retried(failure):
    with ChatServer(lambda request, times: failure if times <= 2 else None) as server:
        solutions = teacher(server).solve(PROBLEMS[:2], 2, seed=1)
        assert set(server.seen.values()) == {3}
    assert all(verify(p.answer, s.text) == 1.0 for p, row in zip(PROBLEMS, solutions, strict=False) for s in row)


def test_retries_are_bounded():
    with ChatServer(lambda request, times: (500, b"down")) as server:
        with pytest.raises(TeacherUnavailable, match="4 attempts failed, last: HTTP 500"):
            teacher(server, concurrency=1).solve(PROBLEMS[:1], 1, seed=1)
        assert set(server.seen.values()) == {4}


def test_nobody_listening_is_unavailable():
    with ChatServer() as server:
        url = server.url
    with pytest.raises(TeacherUnavailable, match="ConnectError"):
        ServerTeacher(url, "m", attempts=2, longest_wait_s=0.01).solve(PROBLEMS[:1], 1, seed=1)


def test_a_slow_server_is_a_timeout_and_not_a_hang():
    release = threading.Event()

    def slow(request, times):
        release.wait(300)

    with ChatServer(slow) as server:
        with pytest.raises(TeacherUnavailable, match="ReadTimeout"):
            teacher(server, timeout_s=0.1, attempts=2).solve(PROBLEMS[:1], 1, seed=1)
        release.set()


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_final_refusals_are_not_retried(status):
    with ChatServer(lambda request, times: (status, b"no such model")) as server:
        with pytest.raises(TeacherRefused, match=f"HTTP {status}.*no such model"):
            teacher(server, concurrency=1).solve(PROBLEMS[:1], 1, seed=1)
        assert set(server.seen.values()) == {1}


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "127.0.0.1/v1", "http://127.0.0.1:port/v1"])
def test_what_is_no_http_address_is_refused(url):
    with pytest.raises(TeacherRefused, match="not an HTTP address"):
        ServerTeacher(url, "m").solve(PROBLEMS[:1], 1, seed=1)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {},
        {"choices": []},
        {"choices": [{"message": {}}]},
        [1],
        completion(["4"]),
        b" " * (MAX_RESPONSE_BYTES + 1),
    ],
)
def test_answers_outside_the_protocol_are_typed_errors(body):
    with ChatServer(lambda request, times: (200, body)) as server, pytest.raises(TeacherProtocolError):
        teacher(server).solve(PROBLEMS[:1], 1, seed=1)


@pytest.mark.parametrize(
    "body", [completion("Answer: 4", "length"), completion(None), completion("Answer: <|im_end|>4")]
)
def test_cut_empty_and_marked_answers_are_no_vote(body):
    with ChatServer(lambda request, times: (200, body)) as server:
        assert teacher(server).solve(PROBLEMS[:1], 1, seed=1)[0][0].answer is None
