"""Programs that speak with OpenAI's server speak with ours: our teacher client, and the official one where it is."""

import pytest

from models.tasks.families import Problem
from models.tasks.server import ServerTeacher, TeacherRefused
from tests.orchestration.serving.conftest import CALL


def test_our_teacher_client_gets_solutions(server):
    problems = [Problem(f"{number:016x}", "add", 1, f"{number} + 1?", "1") for number in range(3)]
    teacher = ServerTeacher(f"{server.base_url}/v1", "sft_model", attempts=1)
    solutions = teacher.solve(problems, 2, seed=0)
    assert [[one.text for one in row] for row in solutions] == [[CALL] * 2] * 3
    other = ServerTeacher(f"{server.base_url}/v1", "nobody", attempts=1)
    with pytest.raises(TeacherRefused, match="there is no model"):
        other.solve(problems, 1, seed=0)


def test_the_official_client_completes_chats_and_streams(server):
    openai = pytest.importorskip("openai", reason="the official client is not installed")
    client = openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0)
    assert [one.id for one in client.models.list()] == ["rl_model", "sft_model", "base_model"]
    settings = {"model": "base_model", "max_tokens": 12, "seed": 4}
    done = client.completions.create(prompt="The river", logprobs=2, **settings)
    assert done.usage.completion_tokens == len(done.choices[0].logprobs.token_logprobs)
    chunks = client.completions.create(prompt="The river", stream=True, **settings)
    assert "".join(chunk.choices[0].text for chunk in chunks) == done.choices[0].text
    messages = [{"role": "user", "content": "Hi"}]
    chat = client.chat.completions.create(messages=messages, logprobs=True, top_logprobs=2, **settings)
    assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 2
    streamed = client.chat.completions.create(messages=messages, stream=True, **settings)
    assert "".join(one.choices[0].delta.content or "" for one in streamed) == chat.choices[0].message.content
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    called = client.chat.completions.create(model="sft_model", messages=messages, tools=tools).choices[0]
    assert called.finish_reason == "tool_calls" and called.message.tool_calls[0].function.name == "add"
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.completions.create(model="nobody", prompt="A")
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="base_model", prompt="A", temperature=11)
