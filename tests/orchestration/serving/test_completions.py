"""Completions and chats: OpenAI's form, the model's own text, streamed and whole the same."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from models.data.chat import Message, prompt_ids
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, load_tokenizer
from models.inference.generate import generate_text
from models.inference.pieces import token_spellings
from models.training.checkpoint import load_model
from tests.orchestration.serving.conftest import CONTEXT

BASE = {"model": "base_model", "prompt": "The river", "max_tokens": 24, "temperature": 0.9, "seed": 5}
CHAT = {"model": "base_model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 24, "seed": 5}


def post(client: httpx.Client, path: str, body: dict) -> dict:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(client: httpx.Client, path: str, body: dict) -> list[dict]:
    """The chunks of a stream, which ends as OpenAI's do."""
    with client.stream("POST", f"/v1/{path}", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.fixture(scope="module")
def directory(served_home):
    (place,) = (served_home / "artifacts" / "base_model").glob("[0-9a-f]*")
    return place


def test_models_are_listed_and_found(server):
    listed = server.get("/v1/models").json()
    assert [one["id"] for one in listed["data"]] == ["rl_model", "sft_model", "base_model"]
    assert listed["object"] == "list" and {one["object"] for one in listed["data"]} == {"model"}
    one = server.get("/v1/models/base_model").json()
    assert one["id"] == "base_model" and server.get(f"/v1/models/{one['root'][:12]}").json()["root"] == one["root"]
    assert server.get("/health").json() == {"status": "ok"}


def test_a_completion_is_the_models_own(server, directory):
    (expected,) = generate_text(directory, ["The river"], max_new_tokens=24, temperature=0.9, seed=5)
    answer = post(server, "completions", BASE)
    assert answer["object"] == "text_completion" and answer["model"] == "base_model"
    (choice,) = answer["choices"]
    assert (choice["text"], choice["index"], choice["logprobs"]) == (expected, 0, None)
    prompt = 1 + len(load_tokenizer(directory).encode("The river").ids)
    drawn = answer["usage"]["completion_tokens"]
    assert answer["usage"] == {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}
    assert choice["finish_reason"] == ("length" if drawn == 24 else "stop")
    ids = [END_OF_TEXT_ID, *load_tokenizer(directory).encode("The river").ids]
    assert post(server, "completions", {**BASE, "prompt": ids})["choices"] == answer["choices"]


@pytest.mark.parametrize(("path", "body"), [("completions", BASE), ("chat/completions", CHAT)])
def test_a_stream_adds_up_to_the_whole(server, path, body):
    body = {**body, "n": 3, "stream_options": {"include_usage": True}}
    body |= {"logprobs": 2} if path == "completions" else {"logprobs": True, "top_logprobs": 2}
    whole, chunks = post(server, path, body), events(server, path, body)
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    for choice in whole["choices"]:
        own = [chunk["choices"][0] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == choice["index"]]
        assert [one["finish_reason"] for one in own] == [None] * (len(own) - 1) + [choice["finish_reason"]]
        if path == "completions":
            assert "".join(one["text"] for one in own) == choice["text"]
            for name in ("token_logprobs", "text_offset"):
                assert [value for one in own for value in one["logprobs"][name]] == choice["logprobs"][name]
        else:
            assert own[0]["delta"] == {"role": "assistant", "content": ""}
            assert "".join(one["delta"].get("content", "") for one in own) == choice["message"]["content"]
            told = [token for one in own if one["logprobs"] for token in one["logprobs"]["content"]]
            assert told == choice["logprobs"]["content"]
    assert len({json.dumps(one) for one in whole["choices"]}) == 3
    assert len(events(server, path, {**body, "n": 1, "stream_options": None})) > 2


def test_log_probabilities_are_the_models(server, directory):
    answer = post(server, "chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 3, "temperature": 0.7})
    (choice,) = answer["choices"]
    model, _ = load_model(directory)
    tokenizer = load_tokenizer(directory)
    spellings = token_spellings(tokenizer, directory)
    ids = prompt_ids([{"role": "user", "content": "Hi"}], tokenizer)
    for told in choice["logprobs"]["content"]:
        with torch.inference_mode():
            expected = (model(torch.tensor([ids]))[0, -1].double() / 0.7).log_softmax(-1)
        assert [top["logprob"] for top in told["top_logprobs"]] == pytest.approx(expected.topk(3)[0].tolist(), abs=1e-5)
        ids.append(spellings.index(bytes(told["bytes"])) if told["bytes"] else IM_END_ID)
        assert told["logprob"] == pytest.approx(float(expected[ids[-1]]), abs=1e-5)
    assert len(choice["logprobs"]["content"]) == answer["usage"]["completion_tokens"] > 5


def test_a_text_is_the_same_alone_and_among_many(server):
    alone = [post(server, "completions", {**BASE, "seed": seed})["choices"] for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        crowd = list(pool.map(lambda seed: post(server, "completions", {**BASE, "seed": seed})["choices"], range(12)))
    assert crowd == alone
    together = post(server, "completions", {**BASE, "n": 12, "seed": 0})["choices"]
    assert [one["text"] for one in together] == [one[0]["text"] for one in alone]
    several = post(server, "completions", {**BASE, "prompt": ["The river", "A"], "n": 2, "seed": 0})["choices"]
    assert [one["text"] for one in several[:2]] == [one["text"] for one in together[:2]]
    assert [one["index"] for one in several] == [0, 1, 2, 3]


def test_a_text_is_the_same_among_64_of_which_some_leave(server):
    alone = {seed: post(server, "completions", {**BASE, "seed": seed})["choices"] for seed in range(0, 64, 16)}

    def asked(seed: int) -> list[dict] | None:
        body = {**BASE, "seed": seed, "max_tokens": 24 if seed in alone else 8 + 5 * seed}
        if seed % 3 or seed in alone:
            return post(server, "completions", body)["choices"]
        with server.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            next(answer.iter_lines())  # and hangs up
        return None

    with ThreadPoolExecutor(64) as pool:
        crowd = list(pool.map(asked, range(64)))
    assert {seed: crowd[seed] for seed in alone} == alone and crowd.count(None) > 15


def test_stop_strings_and_stop_ids_end_a_text(server):
    whole = post(server, "completions", {**BASE, "logprobs": 0})["choices"][0]
    middle = whole["text"][7:10]
    for stop in (middle, ["\x07\x07", middle]):
        answer = post(server, "completions", {**BASE, "stop": stop})
        assert answer["choices"][0]["text"] == whole["text"][: whole["text"].index(middle)]
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] < 24


def test_a_conversation_is_read_with_all_its_turns(server, directory):
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "A"}]},
    ]
    turns += [{"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]
    answer = post(server, "chat/completions", {**CHAT, "messages": turns})
    plain = [("system", "Be brief."), ("user", "A"), ("assistant", "B"), ("user", "C")]
    same = [Message(role=role, content=content) for role, content in plain]
    ids = prompt_ids(same, load_tokenizer(directory))
    assert answer["usage"]["prompt_tokens"] == len(ids)
    completed = post(server, "completions", {**BASE, "prompt": ids, "temperature": 1.0})
    assert completed["choices"][0]["text"] == answer["choices"][0]["message"]["content"]


def test_without_a_length_a_chat_goes_on_to_the_end_of_the_context(server):
    body = {key: value for key, value in CHAT.items() if key != "max_tokens"} | {"temperature": 3}
    usage = post(server, "chat/completions", body)["usage"]
    assert 24 < usage["total_tokens"] <= CONTEXT
    assert (
        post(server, "completions", {"model": "base_model", "prompt": "A", "seed": 1})["usage"]["completion_tokens"]
        <= 16
    )


def test_who_hangs_up_frees_the_model(server):
    speaker = server.app.state.speaker
    with server.stream("POST", "/v1/completions", json={**BASE, "max_tokens": 500, "stream": True, "n": 4}) as answer:
        next(answer.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        server.post("/v1/completions", json={**BASE, "max_tokens": 500, "n": 16, "temperature": 5}, timeout=0.05)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(until_idle, speaker).result(300)


def until_idle(speaker) -> bool:
    deadline = time.monotonic() + 300
    while speaker.under_way and time.monotonic() < deadline:
        time.sleep(0.05)
    return speaker.under_way == 0
