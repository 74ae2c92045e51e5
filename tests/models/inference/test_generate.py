"""Text from a model directory, the same for the same seed."""

import pytest

from models.__main__ import main
from models.config import InputError
from models.data.chat import prompt_ids
from models.data.tokenizer import load_tokenizer
from models.inference.generate import generate_text
from models.inference.sampler import generate
from models.training.checkpoint import load_model


def test_texts_follow_the_seed_and_the_order_of_prompts(base_model_dir):
    first = generate_text(base_model_dir, ["The river", "A"], max_new_tokens=12, seed=5)
    assert first == generate_text(base_model_dir, ["The river", "A"], max_new_tokens=12, seed=5)
    assert first != generate_text(base_model_dir, ["The river", "A"], max_new_tokens=12, seed=6)
    assert first[1] == generate_text(base_model_dir, ["A"], max_new_tokens=12, seed=6)[0]


def test_command_prints_the_text(base_model_dir, config_file, capsys):
    config = {"model_dir": str(base_model_dir), "prompt": "The river", "max_new_tokens": 12, "seed": 5}
    assert main(["generate", "--config", str(config_file(config))]) == 0
    assert capsys.readouterr().out == generate_text(base_model_dir, ["The river"], max_new_tokens=12, seed=5)[0] + "\n"


def test_chat_asks_as_the_user_and_samples_the_assistants_turn(base_model_dir):
    (text,) = generate_text(base_model_dir, ["Hi"], chat=True, max_new_tokens=8, seed=3)
    tokenizer, (model, _) = load_tokenizer(base_model_dir), load_model(base_model_dir)
    prompt = prompt_ids([{"role": "user", "content": "Hi"}], tokenizer)
    (expected,) = generate(model, [prompt], max_new_tokens=8, temperature=0.8, seeds=[3], stop_ids={0, 2})
    assert text == tokenizer.decode(expected.ids)


def test_prompt_that_is_too_long_is_refused(base_model_dir):
    with pytest.raises(InputError, match=r"1 to 63"):
        generate_text(base_model_dir, ["word " * 200])
