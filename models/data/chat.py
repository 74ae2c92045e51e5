"""Conversations as token ids: ChatML, with a loss mask over what the assistant says.

    <|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n

Header, content and end are encoded apart, so a prompt is always a prefix of the rendered conversation. The ids equal
those of the chat template unless a content begins with a line break.
"""

from collections.abc import Sequence
from typing import TypedDict

from tokenizers import Tokenizer

from models.config import InputError
from models.data.tokenizer import IM_END_ID, IM_START_ID

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn."""

    role: str  # one of ROLES
    content: str


def render(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Ids of a whole conversation and its loss mask, equally long.

    The mask is True on the ids that the assistant has to produce: its turns' text and their <|im_end|>. A position's
    mask speaks of that position as a target.
    """
    newline = tokenizer.encode("\n").ids
    ids: list[int] = []
    mask: list[bool] = []
    for message in messages:
        header = _header(message["role"], tokenizer)
        content = tokenizer.encode(message["content"]).ids
        produced = message["role"] == "assistant"
        ids += [*header, *content, IM_END_ID, *newline]
        mask += [False] * len(header) + [produced] * (len(content) + 1) + [False] * len(newline)
    return ids, mask


def prompt_ids(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Ids of a conversation up to and including the header of the assistant's next turn."""
    return render(messages, tokenizer)[0] + _header("assistant", tokenizer)


def _header(role: str, tokenizer: Tokenizer) -> list[int]:
    if role not in ROLES:
        raise InputError(f"unknown role {role!r}; known: {', '.join(ROLES)}")
    return [IM_START_ID, *tokenizer.encode(f"{role}\n").ids]
