"""Rows are sampled from the right distribution, each by its own seed, with the log-probabilities of a full pass."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from models.config import InputError
from models.inference.sampler import generate, pick
from models.nets.transformer import Transformer
from models.seeds import uniforms


@pytest.fixture(scope="module")
def model(tiny) -> Transformer:
    model = Transformer(tiny, seed=1)
    with torch.no_grad():
        model.head.weight.mul_(30)
    return model.eval()


PROMPTS = [[5, 6, 7], [8], list(range(10, 40)), [9, 9, 250, 3, 4], [77] * 12, [1, 2]]
SEEDS = [11, 12, 13, 14, 15, 16]


def sample(model, prompts=PROMPTS, seeds=SEEDS, **changes):
    settings = {"max_new_tokens": 20, "temperature": 1.0, "stop_ids": {7, 20}} | changes
    return generate(model, prompts, seeds=seeds, **settings)


@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_exact_probabilities(temperature, top_k):
    draws = 30_000
    logits = torch.linspace(-2, 2, 12)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    tokens, logprobs = pick(
        logits.expand(draws, -1), torch.from_numpy(uniforms(range(draws), 1)[:, 0]), temperature, top_k
    )
    exact = (logits.double() / temperature).softmax(-1)
    torch.testing.assert_close(logprobs, exact.log()[tokens])
    if top_k:
        exact = exact.where(exact >= exact.topk(top_k).values[-1], 0.0)
        exact = exact / exact.sum()
    counts = torch.bincount(tokens, minlength=12).numpy()
    support = exact.numpy() > 0
    assert counts[~support].sum() == 0
    assert chisquare(counts[support], draws * exact.numpy()[support]).pvalue > 1e-4


def test_first_tokens_of_many_seeds_follow_the_model(model):
    draws = 8_000
    completions = sample(model, [[5, 6, 7]] * draws, range(draws), max_new_tokens=1, stop_ids=())
    exact = model(torch.tensor([[5, 6, 7]]))[0, -1].detach().double().softmax(-1).numpy()
    counts = np.bincount([completion.ids[0] for completion in completions], minlength=len(exact))
    likely = exact * draws >= 10
    observed = np.append(counts[likely], counts[~likely].sum())
    expected = np.append(exact[likely], exact[~likely].sum()) * draws
    assert likely.sum() > 10 and chisquare(observed, expected).pvalue > 1e-4


def test_a_row_alone_is_the_row_in_the_batch(model):
    together = sample(model)
    for row, expected in enumerate(together):
        (alone,) = sample(model, [PROMPTS[row]], [SEEDS[row]])
        assert alone.ids == expected.ids and alone.finished == expected.finished
        assert alone.logprobs == pytest.approx(expected.logprobs, abs=1e-5)


def test_equal_prompts_are_rows_of_their_own(model):
    prompts, seeds = [PROMPTS[0], PROMPTS[2], PROMPTS[0], PROMPTS[0]], [21, 22, 23, 21]
    together = sample(model, prompts, seeds)
    alone = [sample(model, [prompt], [seed])[0].ids for prompt, seed in zip(prompts, seeds, strict=True)]
    assert [completion.ids for completion in together] == alone
    assert together[0].ids == together[3].ids != together[2].ids


def test_order_of_the_rows_does_not_matter(model):
    turned = sample(model, PROMPTS[::-1], SEEDS[::-1])
    assert [completion.ids for completion in turned[::-1]] == [completion.ids for completion in sample(model)]


def test_logprobs_are_those_of_one_full_pass_at_the_temperature(model):
    temperature = 0.7
    for prompt, completion in zip(PROMPTS, sample(model, temperature=temperature, top_k=50), strict=True):
        logits = model(torch.tensor([prompt + completion.ids]))[0, len(prompt) - 1 : -1].detach()
        full = (logits / temperature).log_softmax(-1)
        expected = [full[step, token].item() for step, token in enumerate(completion.ids)]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)


def test_rows_end_with_their_stop_token_or_at_the_limit(model):
    completions = sample(model, PROMPTS * 8, range(48), temperature=2.0, stop_ids=set(range(0, 300, 8)))
    assert {completion.finished for completion in completions} == {True, False}
    for completion in completions:
        stops = [token % 8 == 0 for token in completion.ids]
        assert not any(stops[:-1]) and stops[-1] is completion.finished
        assert completion.finished or len(completion.ids) == 20


def test_no_row_passes_the_models_length(model):
    prompt = list(range(4, 64))  # 60 of 64 tokens
    long, short = sample(model, [prompt, [5]], [1, 2], stop_ids=())
    assert (len(long.ids), len(short.ids)) == (4, 20)
    assert not long.finished


def test_temperature_zero_takes_the_likeliest_token(model):
    (completion,) = sample(model, [PROMPTS[0]], [1], temperature=0, stop_ids=(), max_new_tokens=6)
    tokens = list(PROMPTS[0])
    for picked in completion.ids:
        assert picked == int(model(torch.tensor([tokens]))[0, -1].argmax())
        tokens.append(picked)


@pytest.mark.parametrize(
    "call",
    [
        {"prompts": [[]], "seeds": [1]},
        {"prompts": [[4] * 64], "seeds": [1]},
        {"prompts": [[4]], "seeds": [1, 2]},
        {"temperature": -1.0},
    ],
)
def test_unusable_calls_are_refused(model, call):
    with pytest.raises(InputError):
        sample(model, **call)


def test_nothing_asked_gives_nothing(model):
    assert sample(model, [], []) == []
    assert [completion.ids for completion in sample(model, max_new_tokens=0)] == [[]] * len(PROMPTS)
