"""/chat says what the model says, streamed or whole, as long as somebody listens, and hostile output does nothing."""

import json
import re
import threading
import time
from html import unescape
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn

from models.inference.generate import generate_text
from orchestration.pages.app import build
from orchestration.pages.saying import BadTurn, Pieces, calls, pieces, turns_of
from orchestration.pages.settings import PageSettings
from orchestration.pages.speaking import NAME
from tests.orchestration.pages.conftest import token_in
from tests.orchestration.pages.serving import free_port
from tests.orchestration.pages.voices_home import CALL, HOSTILE


def say(client, prompt: str, *, to: str = "/chat", turns: tuple[str, ...] = (), **query):
    token = token_in(client.get("/chat").text)
    return client.post(f"{to}?{urlencode(query)}", data={"token": token, "prompt": prompt, "turn": list(turns)})


def events(answer) -> list[dict]:
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_whole_answer_is_that_of_the_generate_command(asking, speaking_lake):
    directory = speaking_lake.open_dir("base_model")
    expected = generate_text(directory, ["The river"], max_new_tokens=20, temperature=0.7, seed=4)[0]
    streamed = events(
        say(asking, "The river", to="/chat/stream", model="base_model", seed=4, max_new_tokens=20, temperature=0.7)
    )
    assert streamed[-1]["event"] == "done" and streamed[-1]["raw"] == expected
    assert "".join(event["raw"] for event in streamed[:-1]) == expected
    html = say(asking, "The river", model="base_model", seed=4, max_new_tokens=20, temperature=0.7).text
    assert html.count('class="drawn"') == len(streamed) - 1 and "seed 4" in html


def test_a_form_without_script_carries_the_conversation_on(asking):
    first = say(asking, "Hello", model="sft_model", temperature=0)
    turns = [json.loads(one) for one in _fields(first.text)]
    assert turns == [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": HOSTILE}]
    second = say(asking, "And again?", turns=tuple(_fields(first.text)), model="sft_model", temperature=0)
    assert len(_fields(second.text)) == 4 and second.text.count('class="turn user"') == 2
    assert 'action="/chat?model=sft_model&amp;temperature=0"' in second.text


def test_without_a_seed_every_answer_has_one_of_its_own_that_says_it_again(asking):
    notes = [events(say(asking, "The", to="/chat/stream", model="base_model"))[-1] for _ in range(2)]
    seeds = [note["note"].rpartition("seed ")[2] for note in notes]
    assert seeds[0] != seeds[1]
    again = events(say(asking, "The", to="/chat/stream", model="base_model", seed=seeds[0]))[-1]
    assert again["raw"] == notes[0]["raw"]


def test_a_stop_string_ends_the_answer_before_it(asking):
    done = events(say(asking, "Hello", to="/chat/stream", model="sft_model", temperature=0, stop="(1)"))[-1]
    assert done["raw"] == "<script>alert" and "stop string" in done["note"]


def test_hostile_output_is_text_in_the_page_and_in_the_stream(asking):
    html = say(asking, HOSTILE, model="sft_model", temperature=0).text
    main = html.split("<main")[1]
    assert "<script>alert" not in main and "<img" not in main and "\u202e" not in main
    assert "&lt;script" in main and "\\u202e" in main
    streamed = events(say(asking, "x", to="/chat/stream", model="sft_model", temperature=0))
    assert all("\u202e" not in event["text"] for event in streamed[:-1]) and "\u202e" in streamed[-1]["raw"]


def test_a_tool_call_is_shown_as_one_and_not_run(asking):
    html = say(asking, "Delete it", model="rl_model", temperature=0).text
    assert "Tool call: rm (it was not run)" in html
    (call,) = events(say(asking, "Delete it", to="/chat/stream", model="rl_model", temperature=0))[-1]["calls"]
    assert (call["name"], json.loads(call["arguments"])) == ("rm", [1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no call", []),
        (CALL, [("rm", "[\n 1\n]")]),
        ('<tool_call>{"name": "f"}</tool_call> and <tool_call>not json</tool_call>', [("f", "{}"), (None, "not json")]),
        ('<tool_call>{"name": 3}</tool_call>', [(None, '{"name": 3}')]),
        ("<tool_call>" + "[" * 10_000, [(None, "[" * 10_000)]),
        ('<tool_call>{"name": "\u202e", "arguments": {"a": "\\u202e"}}', [("\\u202e", '{\n "a": "\\u202e"\n}')]),
    ],
)
def test_calls_are_read_as_far_as_they_got(text, expected):
    assert [(call.name, call.arguments) for call in calls(text)] == expected


def test_tokens_that_make_one_character_become_one_piece():
    def token(text: str | None, shown: str) -> dict:
        return {"event": "token", "token": 7, "text": text, "bytes": "c3", "shown": shown, "logprob": -0.5}

    done = {"event": "done", "rest": "!", "drawn": [token(None, ""), token(None, "é"), token("a", "a"), token("!", "")]}
    assert [piece.raw for piece in pieces(done)] == ["é", "a", "!"]
    assert pieces(done)[0].told.count("60.65%") == 2 and pieces(done)[1].told.count("\n") == 0
    assert Pieces().of(token(None, "")) is None


def test_what_cannot_be_asked_is_said_and_the_conversation_stays(asking):
    long = say(asking, "word " * 5000, model="base_model")
    assert long.status_code == 200 and 'role="alert">the text' in long.text and "4,095" in long.text
    assert events(say(asking, "word " * 5000, to="/chat/stream", model="base_model"))[-1]["event"] == "error"
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 10**9}, {"seed": "x"}):
        assert say(asking, "a", **wrong).status_code == 422
    assert say(asking, "  ").status_code == 422
    assert say(asking, "a", turns=("no json",)).status_code == 422
    assert say(asking, "a", model="nobody").status_code == 404


@pytest.mark.parametrize("turn", ["", "[1]", '{"role": "judge", "content": ""}', '{"role": "user"}', "[" * 100_000])
def test_turns_that_no_page_of_ours_would_send_are_refused(turn):
    with pytest.raises(BadTurn):
        turns_of([turn])
    with pytest.raises(BadTurn, match="begin a new one"):
        turns_of(['{"role": "user", "content": "' + "x" * 1000 + '"}'] * 201)


def test_an_answer_is_not_given_to_another_site(asking):
    for to in ("/chat", "/chat/stream"):
        assert asking.post(to, data={"prompt": "a"}).status_code == 403


def test_a_home_without_models_says_what_makes_one(empty):
    assert "stemma demo" in empty.get("/chat").text


def test_a_browser_that_goes_away_ends_the_text(speaking_lake, models_program):
    """Over a real server: the text is under way while somebody reads, and ended as soon as nobody does."""
    app, port = build(PageSettings(speaking_lake.local)), free_port()
    app.state.site.kept[NAME] = models_program
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=300) as browser:
            assert _until(lambda: server.started)
            token = token_in(browser.get("/chat").text)
            query = {"model": "base_model", "max_new_tokens": 2048, "seed": 1}
            form = {"token": token, "prompt": "The river"}
            with browser.stream("POST", "/chat/stream", params=query, data=form) as answer:
                lines = answer.iter_lines()
                assert [json.loads(next(lines))["event"] for _ in range(3)] == ["piece"] * 3
                assert models_program.ask({"ask": "status"})["speaking"] == 1
        assert _until(lambda: models_program.ask({"ask": "status"})["speaking"] == 0)
        assert models_program.under_way == 0
    finally:
        server.should_exit = True
        thread.join(300)


def test_a_model_of_a_whole_demo_answers(pages):
    done = events(say(pages, "Count the ones: 11", to="/chat/stream", model="rl_model", seed=1))[-1]
    pages.app.state.site.kept[NAME].close()
    assert done["event"] == "done" and "of rl" in done["note"]


def _until(holds, timeout_s: float = 300.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def _fields(html: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'name="turn" value="([^"]*)"', html)]
