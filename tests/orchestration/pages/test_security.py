"""Who may ask, what a changing request must carry, and what every answer says to the browser."""

import pytest
from fastapi import Form, Request
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from orchestration.pages.app import build
from orchestration.pages.security import POLICY, TOKEN_HEADER
from orchestration.pages.settings import PageSettings, TokenNeeded


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
def client(tmp_path, changed) -> TestClient:
    app = build(PageSettings(tmp_path))

    @app.post("/change")
    async def change(what: str = Form("")) -> PlainTextResponse:
        changed.append(what)
        return PlainTextResponse("done")

    @app.get("/token")
    async def token(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.same_site)

    return TestClient(app, follow_redirects=False)


def test_every_answer_forbids_inline_and_outside_scripts(client):
    for path in ("/login", "/nowhere", "/static/stemma.css"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY and "http" not in POLICY


def test_a_change_needs_the_token_of_the_same_session(client, changed):
    token = client.get("/token").text
    assert client.post("/change", data={"what": "a"}).status_code == 403
    assert client.post("/change", data={"what": "a", "token": "0" * 64}).status_code == 403
    assert client.post("/change", data={"what": "form", "token": token}).status_code == 200
    assert client.post("/change", data={"what": "htmx"}, headers={TOKEN_HEADER: token}).status_code == 200
    client.cookies.clear()
    assert client.post("/change", data={"what": "b", "token": token}).status_code == 403
    assert changed == ["form", "htmx"]


def test_a_change_from_another_origin_is_refused_even_with_the_token(client, changed):
    token = client.get("/token").text
    answer = client.post("/change", data={"token": token}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403 and changed == []


def test_another_host_name_gets_nothing_on_loopback(client):
    assert client.get("/login", headers={"host": "rebound.example"}).status_code == 421
    assert client.get("/login", headers={"host": "127.0.0.1:8000"}).status_code == 200


def test_an_open_door_is_refused(tmp_path):
    with pytest.raises(TokenNeeded):
        PageSettings(tmp_path, host="0.0.0.0")
    with pytest.raises(TokenNeeded):
        PageSettings(tmp_path, host="0.0.0.0", token="short")


def test_with_a_token_nothing_is_shown_before_it_was_given(tmp_path):
    settings = PageSettings(tmp_path, host="0.0.0.0", token="a-token-of-some-length")
    client = TestClient(build(settings), follow_redirects=False)
    refused = client.get("/")
    assert (refused.status_code, refused.headers["location"]) == (303, "/login")
    page = client.get("/login").text
    token = page.split('name="token" value="')[1].split('"')[0]
    assert client.post("/login", data={"token": token, "access": "wrong"}).status_code == 401
    assert client.get("/nowhere").status_code == 303
    assert client.post("/login", data={"token": token, "access": "a-token-of-some-length"}).status_code == 303
    assert client.get("/nowhere").status_code == 404


def test_the_secret_is_made_once_and_is_the_owners_alone(tmp_path):
    first, second = (build(PageSettings(tmp_path)).state.secret for _ in range(2))
    assert first == second and len(first) == 32
    assert (tmp_path / "pages.secret").stat().st_mode & 0o077 == 0
