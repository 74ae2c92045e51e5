"""Tool calls: what is written is read back, hostile text is no call, and results stand where models look for them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import InputError
from models.data.chat import Message
from models.data.tools import BEGIN, END, Call, NoCall, conversation, offered, read, written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(name=st.text(min_size=1), arguments=st.dictionaries(st.text(), JSON))
def test_a_call_is_read_as_it_was_written(name, arguments):
    call = Call(name, json.dumps(arguments, ensure_ascii=False))
    text = written(call)
    assert text.startswith(BEGIN) and text.endswith(END)
    assert read(text.removeprefix(BEGIN).removesuffix(END)) == call


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": 3}', '{"name": ""}', '{"name": "f", "arguments": [1]}', "[" * 100_000, '"f"']
)
def test_anything_else_is_no_call(text):
    with pytest.raises(NoCall):
        read(text)


def test_arguments_may_be_left_out():
    assert read('{"name": "now"}') == Call("now", "{}")


def test_results_become_one_turn_of_the_user_and_tools_stand_in_the_system_turn():
    tool = {"name": "add", "parameters": {"type": "object"}}
    call = Message(role="assistant", content=written(Call("add", "{}")))
    turns = [Message(role="user", content="1+1, 2+2?"), call]
    turns += [Message(role="tool", content=result) for result in ("2", "4")] + [Message(role="user", content="go on")]
    made = conversation(turns, [tool])
    assert [turn["role"] for turn in made] == ["system", "user", "assistant", "user", "user"]
    assert made[3]["content"] == "<tool_response>\n2\n</tool_response>\n<tool_response>\n4\n</tool_response>"
    assert made[0]["content"] == offered([tool]) and json.dumps(tool, sort_keys=True) in made[0]["content"]
    system = Message(role="system", content="Be brief.")
    assert conversation([system, *turns], [tool])[0]["content"] == offered([tool], "Be brief.")
    assert conversation(turns[:2], []) == turns[:2]
    with pytest.raises(InputError, match="unknown role 'root'"):
        conversation([Message(role="root", content="")], [])
