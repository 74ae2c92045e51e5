"""Draws are those of the plain form, of the sampler in torch, and of nobody else's row."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.decode.draw import draw
from kernels.decode.reference import drawn_plainly
from models.inference.sampler import pick


def drawn(logits, temperature, top_k, top_p, min_p, uniforms):
    """Each row's token and log-probability, with the same settings in all rows."""
    rows, vocabulary = logits.shape
    padded = np.full((rows, -(-vocabulary // 32) * 32), 1e9, np.float32)  # what stands there must not matter
    padded[:, :vocabulary] = logits
    own = [np.full(rows, value) for value in (float(temperature), top_k, float(top_p), float(min_p))]
    return draw(padded, vocabulary, own[0], own[1].astype(np.int64), own[2], own[3], np.asarray(uniforms))[:2]


SETTINGS = {
    "temperature": st.sampled_from([0, 0.3, 1, 2]),
    "top_k": st.sampled_from([0, 1, 3, 40]),
    "top_p": st.sampled_from([1, 0.95, 0.5, 0.01]),
    "min_p": st.sampled_from([0, 0.07, 0.9]),
}


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 30), vocabulary=st.integers(1, 400), coarse=st.booleans(), **SETTINGS)
def test_draws_are_those_of_the_plain_form(seed, vocabulary, coarse, temperature, top_k, top_p, min_p):
    random = np.random.default_rng(seed)
    logits = (random.standard_normal((4, vocabulary)) * random.choice([0.1, 1, 5])).astype(np.float32)
    if coarse:
        logits = np.round(logits)  # many equals
    uniforms = random.random(4)
    tokens, logprobs = drawn(logits, temperature, top_k, top_p, min_p, uniforms)
    for row in range(4):
        token, logprob = drawn_plainly(logits[row], temperature, top_k, top_p, min_p, uniforms[row])
        if coarse and top_p < 1 and token != tokens[row]:
            continue  # a border in the middle of equals can lie on a rounding
        assert tokens[row] == token
        assert logprobs[row] == pytest.approx(logprob, abs=1e-6)


@pytest.mark.parametrize("settings_", [(1.0, 0, 1.0, 0.0), (0.7, 40, 0.9, 0.0), (1.3, 0, 1.0, 0.05), (0, 0, 1, 0)])
def test_draws_are_those_of_the_sampler(settings_):
    temperature, top_k, top_p, min_p = settings_
    random = np.random.default_rng(3)
    logits, uniforms = random.standard_normal((64, 8192)).astype(np.float32), random.random(64)
    tokens, logprobs = drawn(logits, temperature, top_k, top_p, min_p, uniforms)
    expected, theirs = pick(torch.tensor(logits), torch.tensor(uniforms), temperature, top_k, top_p, min_p)
    assert tokens.tolist() == expected.tolist()
    assert logprobs == pytest.approx(theirs.numpy(), abs=1e-6)


def test_frequencies_are_the_probabilities():
    logits = np.array([0.0, 1.0, 2.0, -1.0, 0.5], np.float32)
    count = 20_000
    tokens, _ = drawn(np.tile(logits, (count, 1)), 0.8, 0, 1, 0, (np.arange(count) + 0.5) / count)
    weights = np.exp(logits.astype(np.float64) / 0.8)
    for token, expected in enumerate(weights / weights.sum()):
        assert Counter(tokens.tolist())[token] / count == pytest.approx(expected, abs=2 / count)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
def test_the_ends_of_the_unit_interval_draw_what_may_be_drawn(uniform):
    logits = np.array([[-200.0, 0.0, -3.0, 0.0, -200.0]], np.float32)
    (token,), _ = drawn(logits, 1, 0, 1, 0, [uniform])
    assert token == (1 if uniform == 0 else 3)
    (token,), _ = drawn(logits, 1, 1, 1, 0, [uniform])
    assert token == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_draw_nothing_and_harm_nobody(bad):
    logits = np.zeros((3, 50), np.float32)
    logits[1, 7] = bad
    tokens, logprobs = drawn(logits, 1, 0, 0.9, 0, [0.1, 0.1, 0.1])
    assert tokens[1] == -1 and math.isnan(logprobs[1])
    assert tokens[0] == tokens[2] >= 0 and logprobs[0] == pytest.approx(-math.log(50))


def test_a_row_draws_the_same_among_others():
    random = np.random.default_rng(5)
    logits, uniforms = random.standard_normal((33, 500)).astype(np.float32), random.random(33)
    together = drawn(logits, 0.9, 50, 0.9, 0.01, uniforms)
    for row in range(33):
        alone = drawn(logits[row : row + 1], 0.9, 50, 0.9, 0.01, uniforms[row : row + 1])
        assert (alone[0][0], alone[1][0]) == (together[0][row], together[1][row])
