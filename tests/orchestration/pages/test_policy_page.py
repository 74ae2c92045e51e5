"""A threshold saved from a page: a version with its reason, two who save at once, and its use where Dagster is away."""

import html as entities
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from assets import policy as policies
from assets.policy.own import own_ids
from orchestration.pages.app import build
from orchestration.pages.policy_page import follows
from orchestration.pages.settings import PageSettings
from tests.orchestration.pages.conftest import token_in
from tests.orchestration.pages.serving import free_port
from tests.small_demo import copy_home

CHANGE = {"set": ["line_punct_ratio.min=0.3"], "parent": "fineweb@1", "name": "ours", "seen": "0", "seen_of": "ours"}


@pytest.fixture
def home(smoke, tmp_path) -> Path:
    copy = tmp_path / "home"
    copy_home(smoke.home, copy)
    return copy


@pytest.fixture
def client(pages_of, home, monkeypatch) -> TestClient:
    monkeypatch.delenv("STEMMA_POLICY", raising=False)
    pages_of(home)  # the environment
    settings = PageSettings(home, dagster=f"http://127.0.0.1:{free_port()}")
    return TestClient(build(settings), follow_redirects=False)


def post(client: TestClient, path: str, **data):
    token = token_in(client.get("/policy").text)
    return client.post(path, data={"token": token, **data})


def save(client: TestClient, by: str = "Ann", why: str = "lines without an end", **changes):
    return post(client, "/policy/save", **{**CHANGE, "by": by, "why": why, **changes})


def test_a_saved_threshold_is_a_version_that_says_who_and_why(client, home):
    answer = save(client, snapshot="web-sample-2024", rule="line_punct_ratio")
    assert answer.status_code == 303 and urlsplit(answer.headers["location"]).path == "/policy/ours@1"
    loaded = policies.load("ours@1", home)
    assert {rule.rule: rule.source for rule in loaded.rules}["line_punct_ratio"] == "Ann: lines without an end"
    html = client.get(answer.headers["location"]).text
    assert "line_punct_frac &gt;= 0.12" in html and "line_punct_frac &gt;= 0.3" in html
    after = policies.what_if(policies.load("fineweb"), CHANGE["set"])
    assert policies.difference(loaded, after) == []
    assert (home / "policy").exists() is False, "saved is not used"
    assert client.get("/policy").text.count("lines without an end") == 1


def test_two_who_save_at_once_both_succeed_and_the_later_hears_of_the_other(client, home):
    clients = [client, TestClient(client.app, follow_redirects=False)]
    tokens = [token_in(one.get("/policy").text) for one in clients]
    answers, barrier = [], threading.Barrier(2)

    def one(i: int) -> None:
        barrier.wait()
        data = {**CHANGE, "set": [f"line_punct_ratio.min=0.{i + 3}"], "by": f"person {i}", "why": "at once"}
        answers.append(clients[i].post("/policy/save", data={"token": tokens[i], **data}))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [303, 303]
    assert own_ids(home) == ["ours@1", "ours@2"]
    later = next(answer.headers["location"] for answer in answers if "/ours@2" in answer.headers["location"])
    html = client.get(later).text
    assert 'data-testid="meanwhile"' in html and 'href="/policy/ours@2?against=ours@1"' in html
    bounds = {policies.load(name, home).rules[-4].min for name in own_ids(home)}
    assert bounds == {0.3, 0.4}, "both thresholds are there"


BAD = [
    {"name": "../x"}, {"name": ""}, {"name": "fineweb"}, {"by": ""}, {"why": " "}, {"why": "x" * 600}, {"set": []},
    {"set": ["line_punct_ratio.min=nan"]}, {"set": ["line_punct_ratio.min=9"]}, {"set": ["nope.min=1"]},
    {"drop": ["nope"]}, {"parent": "nobody"}, {"parent": "../../x.yaml"}, {"seen": "x"},
]  # fmt: skip


@pytest.mark.parametrize("changes", BAD)
def test_what_cannot_be_saved_is_told_and_nothing_is_written(client, home, changes):
    answer = save(client, **changes)
    assert answer.status_code in (404, 422) and 'role="alert"' in answer.text
    assert own_ids(home) == []


def test_a_save_without_the_token_is_refused(client, home):
    assert client.post("/policy/save", data={**CHANGE, "by": "a", "why": "b"}).status_code == 403
    assert client.post("/policy/strict@1/use").status_code == 403
    assert own_ids(home) == [] and not (home / "policy").exists()


def test_hostile_words_are_kept_as_words(client, home):
    answer = save(client, by="<script>alert(1)</script>", why="\u202eevil\n---\nname: strict\n{{ 7*7 }}")
    html = client.get(answer.headers["location"]).text + client.get("/policy").text
    assert "<script>alert" not in html and "49" not in html.split("<main")[1].split("pages kept")[0]
    loaded = policies.load("ours@1", home)
    assert loaded.name == "ours" and "\\u202e" in loaded.description


def test_using_one_holds_though_dagster_is_away_and_the_page_says_what_starts_it(client, home):
    save(client)
    answer = post(client, "/policy/ours@1/use")
    assert answer.status_code == 503 and 'data-testid="away"' in answer.text and "make ui" in answer.text
    assert policies.chosen(home) == "ours@1"
    command = entities.unescape(answer.text.split('<pre class="command"><code>')[1].split("</code>")[0])
    assert command.startswith("dagster asset materialize") and command.count("--partition") == 2
    html = client.get("/").text
    assert "The home goes by" in html and "/policy/ours@1" in html
    assert "What if" in client.get("/?policy=ours@1").text


def test_a_policy_that_the_environment_names_counts_more_and_is_said(client, home, monkeypatch):
    save(client)
    monkeypatch.setenv("STEMMA_POLICY", "strict")
    assert "STEMMA_POLICY" in client.get("/policy/ours@1").text
    answer = post(client, "/policy/ours@1/use")
    assert answer.status_code == 422 and "STEMMA_POLICY" in answer.text
    assert not (home / "policy").exists()


def test_what_is_made_again_is_what_the_policy_decides_and_what_follows(client, home):
    site = client.app.state.site
    save(client)
    fineweb, strict = policies.load("fineweb"), policies.load("strict")
    rules = follows(site, fineweb, policies.load("ours@1", home))
    assert rules[0] == "decisions" and rules[-1] == "corpus_card" and "corpus" in rules and "documents" not in rules
    assert "documents" in follows(site, fineweb, strict), "another extractor reads the crawl again"
    assert "tokenizer" not in rules, "models are trained when they are asked for"


@pytest.mark.parametrize(
    "path", ["/policy/nobody", "/policy/..%2f..%2fetc%2fpasswd", "/policy/a.yaml", "/policy/ours@9"]
)
def test_unknown_policies_are_pages_that_say_so(client, path):
    assert client.get(path).status_code == 404


def test_a_home_without_pages_can_still_show_policies(empty):
    html = empty.get("/policy/strict").text
    assert "There are no pages to decide about yet" in html
    assert empty.get("/policy").status_code == 200
