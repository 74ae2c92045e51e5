"""A text pauses behind its tool call, and goes on when the conversation comes back with its result."""

import json

import pytest

from models.data.chat import prompt_ids
from models.data.tokenizer import load_tokenizer
from models.data.tools import conversation
from tests.orchestration.serving.conftest import BROKEN, CALL
from tests.orchestration.serving.test_completions import events, post

TOOL = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {}}}}
ASKED = {
    "model": "sft_model",
    "messages": [{"role": "user", "content": "1 + 2?"}],
    "tools": [{"type": "function", "function": TOOL}],
}


def test_a_call_pauses_the_text(server):
    (choice,) = post(server, "chat/completions", ASKED)["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == "So: "
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function" and call["id"].startswith("call_")
    assert call["function"]["name"] == "add" and json.loads(call["function"]["arguments"]) == {"a": 1, "b": [2]}


def test_a_streamed_call_shows_nothing_of_its_tags(server):
    deltas = [chunk["choices"][0] for chunk in events(server, "chat/completions", ASKED)]
    assert "".join(one["delta"].get("content", "") for one in deltas) == "So: "
    calls = [one["delta"]["tool_calls"] for one in deltas if "tool_calls" in one["delta"]]
    assert len(calls) == 1 and calls[0][0]["index"] == 0 and calls[0][0]["function"]["name"] == "add"
    assert deltas[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("extra", [{"tools": None}, {"tool_choice": "none"}])
def test_without_tools_a_call_is_text(server, extra):
    (choice,) = post(server, "chat/completions", {**ASKED, **extra})["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")


def test_what_is_no_call_stays_text(server):
    (choice,) = post(server, "chat/completions", {**ASKED, "model": "rl_model"})["choices"]
    assert (choice["message"], choice["finish_reason"]) == ({"role": "assistant", "content": BROKEN}, "stop")


def test_a_text_goes_on_with_the_result(server, served_home):
    asked = {**ASKED, "model": "base_model", "seed": 3, "max_tokens": 4}
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [*ASKED["messages"], {"role": "assistant", "content": "So:", "tool_calls": [call]}]
    turns.append({"role": "tool", "tool_call_id": "c1", "content": "3"})
    answer = post(server, "chat/completions", {**asked, "messages": turns})
    (directory,) = (served_home / "artifacts" / "base_model").glob("[0-9a-f]*")
    said = 'So:\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    same = [("user", "1 + 2?"), ("assistant", said), ("tool", "3")]
    rendered = conversation([{"role": role, "content": text} for role, text in same], [TOOL])
    ids = prompt_ids(rendered, load_tokenizer(directory))
    assert answer["usage"]["prompt_tokens"] == len(ids)
    body = {"model": "base_model", "prompt": ids, "seed": 3, "max_tokens": 4, "temperature": 1.0}
    assert post(server, "completions", body)["choices"][0]["text"] == answer["choices"][0]["message"]["content"]
