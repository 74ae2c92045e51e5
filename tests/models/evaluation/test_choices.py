"""Questions have one right answer, are the same for ever, and are answered by chance without the prompt."""

import dataclasses

import numpy as np
import pytest
import torch

from models.data.tokenizer import load_tokenizer
from models.evaluation.bits import token_bytes
from models.evaluation.choices import SETS, Question, accuracy, chance, described, questions
from models.nets.transformer import Transformer


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer(trained["tokenizer_dir"])


class Fixed(torch.nn.Module):
    """Predicts the same, whatever precedes."""

    def __init__(self, logits_V: torch.Tensor) -> None:
        super().__init__()
        self.logits_V = torch.nn.Parameter(logits_V)

    def forward(self, ids_BT):
        return self.logits_V.expand(*ids_BT.shape, -1)


@pytest.mark.parametrize("name", SETS)
def test_the_marked_answer_is_the_right_one_and_no_other(name):
    for one in questions(name, 200, seed=1):
        right, words = one.candidates[one.answer].strip(), one.prompt.split()
        assert len(set(one.candidates)) == len(one.candidates)
        if name == "spelling":
            assert words[2].replace("-", "") == right
        elif name == "counting":
            assert str(one.prompt.partition(".")[0].count(",") + 1) == right
        else:
            numbers = [int(words[1]), int(words[3])]
            assert int(right) == (max if words[5] == "greater" else min)(numbers)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_a_function_of_its_seed(name):
    made = questions(name, 30, seed=1)
    assert made == questions(name, 30, seed=1) and made[:10] == questions(name, 10, seed=1)
    assert made != questions(name, 30, seed=2)
    assert described(name, made)["sha256"] != described(name, made[:-1])["sha256"]


def test_the_sets_are_those_of_version_1():
    """A changed set must get another version: figures of two sets must not carry one name."""
    found = {name: described(name, questions(name, 120, seed=0))["sha256"][:16] for name in SETS}
    assert found == {"spelling": "11b9ddcdba018362", "counting": "937cf118245373b7", "comparing": "52fc52745d3c820f"}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("prefers", ["nothing", "something"])
def test_whoever_ignores_the_prompt_is_right_by_chance(name, prefers, tokenizer):
    """The uniform predictor, and one that prefers some tokens strongly."""
    vocab_size = tokenizer.get_vocab_size()
    logits = torch.zeros(vocab_size)
    if prefers == "something":
        logits = torch.from_numpy(np.random.default_rng(0).normal(0, 3, vocab_size)).float()
    made = questions(name, 600, seed=3)
    found = accuracy(Fixed(logits), tokenizer, made, token_bytes(tokenizer))
    spread = np.sqrt(chance(made) * (1 - chance(made)) / len(made))
    assert abs(found.value - chance(made)) < 4 * spread


def test_equally_likely_candidates_count_their_share(tokenizer):
    """One token each, all alike: exactly chance, with no luck in it."""
    made = [Question("x", ("q", "x", "z", "j"), i % 4) for i in range(8)]
    flat = Fixed(torch.zeros(tokenizer.get_vocab_size()))
    assert {len(tokenizer.encode(one).ids) for one in made[0].candidates} == {1}
    assert accuracy(flat, tokenizer, made, token_bytes(tokenizer)).value == chance(made) == 0.25


def test_a_model_that_learned_the_answers_scores_them(tokenizer, tiny):
    torch.set_num_threads(1)
    made = questions("comparing", 12, seed=0)
    model = Transformer(dataclasses.replace(tiny, vocab_size=tokenizer.get_vocab_size()), 2)
    rows = [[0, *tokenizer.encode(q.prompt).ids, *tokenizer.encode(q.candidates[q.answer]).ids] for q in made]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(150):
        logits = model(ids[:, :-1].clamp(min=0))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert accuracy(model.eval(), tokenizer, made, token_bytes(tokenizer)).value == 1.0
