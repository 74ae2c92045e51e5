"""A conversation's ids, its loss mask, and the chat template of the export agree."""

import json

import pytest

from models.config import InputError
from models.data.chat import prompt_ids, render
from models.data.tokenizer import CHAT_TEMPLATE, IM_END_ID, IM_START_ID, load_tokenizer

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "And <|im_end|> 3?"},
    {"role": "assistant", "content": "9"},
]


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer(trained["tokenizer_dir"])


def test_loss_lies_on_the_assistants_text_and_its_end_alone(tokenizer):
    ids, mask = render(TALK, tokenizer)
    assert len(ids) == len(mask)
    learnt = [index for index, counted in zip(ids, mask, strict=True) if counted]
    expected = [*tokenizer.encode("It is 4.").ids, IM_END_ID, *tokenizer.encode("9").ids, IM_END_ID]
    assert learnt == expected


def test_a_prompt_is_a_prefix_of_the_conversation_it_opens(tokenizer):
    ids, mask = render(TALK, tokenizer)
    prompt = prompt_ids(TALK[:4], tokenizer)
    assert ids[: len(prompt)] == prompt
    assert mask[len(prompt)] and not any(mask[len(prompt) - 3 : len(prompt)])


def test_content_cannot_forge_a_turn(tokenizer):
    ids, _ = render(TALK, tokenizer)
    assert ids.count(IM_START_ID) == ids.count(IM_END_ID) == len(TALK)


def test_ids_equal_those_of_the_chat_template(tokenizer, trained, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(trained["tokenizer_dir"])
    talk = [message for message in TALK if "<|" not in message["content"]]
    assert theirs.apply_chat_template(talk, return_dict=False) == render(talk, tokenizer)[0]
    prompted = theirs.apply_chat_template(talk[:2], add_generation_prompt=True, return_dict=False)
    assert prompted == prompt_ids(talk[:2], tokenizer)
    config = json.loads((trained["tokenizer_dir"] / "tokenizer_config.json").read_text())
    assert config["chat_template"] == CHAT_TEMPLATE


def test_unknown_roles_are_refused(tokenizer):
    with pytest.raises(InputError, match="robot"):
        render([{"role": "robot", "content": "x"}], tokenizer)
