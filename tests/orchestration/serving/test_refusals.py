"""What cannot be answered is refused with a status and OpenAI's error object, and the server serves on."""

import json

import httpx
import pytest
from starlette.testclient import TestClient

from orchestration.pages.settings import TokenNeeded
from orchestration.serving.app import build
from orchestration.serving.bodies import MOST_BYTES
from orchestration.serving.settings import ServeSettings
from orchestration.serving.shelf import NotServed
from tests.orchestration.serving.conftest import CONTEXT

USER = [{"role": "user", "content": "Hi"}]
COMPLETION = {"model": "base_model", "prompt": "The river", "max_tokens": 2, "seed": 1}
CHAT = {"model": "base_model", "messages": USER, "max_tokens": 2, "seed": 1}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
DEEP: list = []
for _ in range(900):
    DEEP = [DEEP]
TOKEN = "a-token-of-some-length"


def refused(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"min_p": 2}, "min_p"),
        ({"top_k": -2}, "top_k"),
        ({"n": 0}, "n"),
        ({"n": 65}, "n"),
        ({"seed": 1 << 70}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, None),
        ({"stop": ""}, None),
        ({"logprobs": 21}, "logprobs"),
        ({"logit_bias": {"\ud800": "x"}}, None),
        ({"logit_bias": {"5": 1}}, None),
        ({"presence_penalty": 0.5}, None),
        ({"echo": True}, None),
        ({"prompt": []}, None),
        ({"prompt": [[]]}, None),
        ({"prompt": ["a"] * 33, "n": 2}, None),
        ({"prompt": [-1]}, None),
        ({"prompt": [1 << 30]}, None),
        ({"prompt": "\ud800"}, None),
        ({"prompt": DEEP}, None),
        ({"prompt": None}, None),
        ({"stop_token_ids": [-5]}, None),
        ({"model": 5}, "model"),
        ({"response_format": {"type": "json_object"}}, None),
    ],
)
def test_a_field_that_cannot_be_heeded_is_refused(server, wrong, param):
    answer = server.post("/v1/completions", content=json.dumps({**COMPLETION, **wrong}), headers=JSON)
    error = refused(answer, 400)
    assert error["type"] == "invalid_request_error" and param in (None, error["param"])


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": [{"role": "wizard", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}]},
        {"messages": [{"role": "tool", "content": "2", "tool_call_id": "c"}]},
        {"messages": [{"role": "user", "content": "Hi", "tool_calls": [CALL]}]},
        {"messages": USER * 1001},
        {"messages": "Hi"},
        {"tools": [{"type": "function", "function": {"name": "add", "parameters": DEEP}}]},
        {"tools": [{"type": "function", "function": {"name": "\ud800"}}]},
        {"tool_choice": "required"},
        {"logprobs": True, "top_logprobs": 21},
    ],
)
def test_a_conversation_that_cannot_be_read_is_refused(server, wrong):
    refused(server.post("/v1/chat/completions", content=json.dumps({**CHAT, **wrong}), headers=JSON), 400)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (json.dumps(COMPLETION).replace('"seed": 1', '"seed": NaN').encode(), JSON, 400),
        (json.dumps(COMPLETION).replace('"seed": 1', '"temperature": 1e999').encode(), JSON, 400),
        (json.dumps(COMPLETION).encode(), {"content-type": "text/plain"}, 415),
        (b" " * (MOST_BYTES + 1), JSON, 413),
        (iter([b" " * MOST_BYTES, b"  "]), JSON, 413),
    ],
)
def test_a_body_that_is_not_json_of_bounded_size_is_refused(server, body, headers, status):
    refused(server.post("/v1/completions", content=body, headers=headers), status)


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_context_cannot_hold_is_refused_before_a_stream_begins(server, path, stream):
    text = "river " * CONTEXT
    asked = {"prompt": text} if path == "completions" else {"messages": [{"role": "user", "content": text}]}
    answer = server.post(f"/v1/{path}", json={"model": "base_model", "stream": stream, **asked})
    assert refused(answer, 400)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("name", ["gpt-4", "../base_model", "/etc", "\x00", "", "a" * 5000])
def test_a_model_that_is_not_there_is_named(server, name):
    answer = server.post("/v1/completions", json={**COMPLETION, "model": name})
    error = refused(answer, 400 if len(name) > 4096 else 404)
    assert error["param"] == "model" and len(error["message"]) < 400


def test_paths_and_methods_that_are_not_there(server):
    refused(server.get("/v1/embeddings"), 404)
    refused(server.get("/v1/completions"), 405)
    refused(server.get("/v1/models/nobody"), 404)
    assert refused(server.get("/docs"), 404)["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"host": "[::1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
    ],
)
def test_pages_of_other_sites_get_nothing(server, headers, status):
    refused(server.get("/v1/models", headers=headers), status)


def test_the_server_still_answers_and_nothing_is_left_under_way(server):
    assert server.post("/v1/completions", json=COMPLETION).status_code == 200
    assert server.app.state.speaker.under_way == 0


@pytest.fixture
def client_of(served_home):
    """A client of an application that is not started: only the models' program begins, when asked."""
    made = []

    def of(**settings) -> TestClient:
        made.append(build(ServeSettings(served_home, port=1, **settings)))
        return TestClient(made[-1], base_url="http://127.0.0.1:1", raise_server_exceptions=False)

    yield of
    for app in made:
        app.state.speaker.close()


def test_a_token_keeps_strangers_out(client_of):
    client = client_of(token=TOKEN, host="0.0.0.0")
    for given in (
        None,
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        "Bearer \xe9".encode(),
    ):
        answer = client.get("/v1/models", headers={"authorization": given} if given is not None else {})
        assert refused(answer, 401)["code"] == "invalid_api_key" and TOKEN not in answer.text
    shown = client.get("/v1/models", headers={"authorization": f"Bearer {TOKEN}", "host": "gpu.example"})
    assert shown.status_code == 200 and shown.headers["cache-control"] == "no-store"


def test_an_open_door_needs_a_token(tmp_path):
    with pytest.raises(TokenNeeded, match="--token"):
        ServeSettings(tmp_path, host="0.0.0.0")
    for token in ("short", "é" * 20):
        with pytest.raises(TokenNeeded, match="16"):
            ServeSettings(tmp_path, token=token)
    with pytest.raises(NotServed, match="no model 'nobody'"):
        build(ServeSettings(tmp_path, "nobody"))


def test_more_texts_than_may_wait_are_refused_for_now(client_of):
    client = client_of(texts=1, waiting=1)
    answer = client.post("/v1/completions", json={**COMPLETION, "n": 3})
    assert refused(answer, 503)["code"] == "overloaded" and answer.headers["retry-after"]


def test_one_model_alone_is_served_where_one_is_named(client_of):
    client = client_of(model="base_model")
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["base_model"]
    refused(client.post("/v1/completions", json={**COMPLETION, "model": "sft_model"}), 404)
