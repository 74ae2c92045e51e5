"""Tool calls in a conversation: how tools are offered, how a call and its result are written, how a call is read.

Everything is text inside ordinary turns, so any tokenizer and the chat template as it is will do:

    system     … the signatures, one JSON object a line, between <tools> and </tools>
    assistant  text <tool_call>\\n{"name": "add", "arguments": {"a": 1}}\\n</tool_call>
    user       <tool_response>\\n2\\n</tool_response>

These are the tags that Hermes and Qwen models know. A model's text is untrusted: a call is read, never run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.config import InputError
from models.data.chat import ROLES, Message

BEGIN, END = "<tool_call>", "</tool_call>"
RESULT_BEGIN, RESULT_END = "<tool_response>", "</tool_response>"


class NoCall(InputError):
    """What stands between the tags of a call is not a JSON object with a name and arguments."""


@dataclass(frozen=True)
class Call:
    """A call of a tool; arguments: a JSON object, as text."""

    name: str
    arguments: str


def offered(tools: Sequence[Mapping[str, Any]], system: str = "") -> str:
    """The system turn that offers tools: their JSON signatures after what the turn says anyway."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False, sort_keys=True) for tool in tools)
    form = f'{BEGIN}\n{{"name": NAME, "arguments": {{…}}}}\n{END}'
    text = (
        f"These tools can be called:\n<tools>\n{lines}\n</tools>\nTo call one, say:\n{form}\nand wait for its result."
    )
    return f"{system}\n\n{text}" if system else text


def written(call: Call) -> str:
    """A call as the assistant says it."""
    return f'{BEGIN}\n{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}}}\n{END}'


def read(text: str) -> Call:
    """The call between the tags. Raises NoCall."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoCall("the call is not JSON") from error
    if not isinstance(said, dict) or not isinstance(said.get("name"), str) or not said["name"]:
        raise NoCall("the call names no tool")
    arguments = said.get("arguments", {})
    if not isinstance(arguments, dict):
        raise NoCall("the call's arguments are no JSON object")
    return Call(said["name"], json.dumps(arguments, ensure_ascii=False))


def conversation(turns: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Turns, those of tools among them, as turns that the chat format has.

    Results that follow each other become one turn of the user. Tools are offered in the first system turn, or in one
    that is put before all others.
    """
    made: list[Message] = []
    results = False
    for turn in turns:
        if turn["role"] == "tool":
            text = f"{RESULT_BEGIN}\n{turn['content']}\n{RESULT_END}"
            if results:
                made[-1] = Message(role="user", content=f"{made[-1]['content']}\n{text}")
            else:
                made.append(Message(role="user", content=text))
        elif turn["role"] in ROLES:
            made.append(Message(role=turn["role"], content=turn["content"]))
        else:
            raise InputError(f"unknown role {turn['role']!r}; known: {', '.join([*ROLES, 'tool'])}")
        results = turn["role"] == "tool"
    if tools:
        first = made[0]["content"] if made and made[0]["role"] == "system" else ""
        offer = Message(role="system", content=offered(tools, first))
        made = [offer, *made[1:]] if first or (made and made[0]["role"] == "system") else [offer, *made]
    return made
