"""The masks keep what the plain reference keeps, at least one token always, and draws stay inside them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.config import InputError
from models.inference.narrow import kept_plainly, likely, narrow, nucleus
from models.inference.sampler import generate, pick
from models.nets.transformer import Transformer
from models.seeds import uniforms

SIXTEENTHS = st.lists(st.integers(0, 16), min_size=1, max_size=12).filter(any)  # exact sums, and many ties


@given(SIXTEENTHS, st.integers(0, 16), st.integers(0, 16))
def test_masks_are_those_of_the_reference(sixteenths, top_p, min_p):
    weights = [count / 16 for count in sixteenths]
    top_p, min_p = max(top_p, 1) / 16, min_p / 16
    narrowed = narrow(torch.tensor([weights], dtype=torch.float64), top_p=top_p, min_p=min_p)[0]
    kept = kept_plainly(weights, top_p=top_p, min_p=min_p)
    assert set(narrowed.nonzero()[:, 0].tolist()) == {token for token in kept if weights[token]}
    assert all(narrowed[token] == weights[token] for token in kept) and kept


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=30, unique=True), st.integers(1, 30), st.floats(0.05, 1))
def test_rules_are_applied_one_after_the_other(logits, top_k, top_p):
    weights = (torch.tensor([logits], dtype=torch.float64) / 8).softmax(-1)
    narrowed = narrow(weights, top_k=top_k, top_p=top_p, min_p=0.01)[0]
    assert set(narrowed.nonzero()[:, 0].tolist()) == kept_plainly(weights[0].tolist(), top_k, top_p, 0.01)


def test_every_row_may_have_limits_of_its_own():
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], dtype=torch.float64)
    assert nucleus(weights, torch.tensor([[0.5], [0.6]])).tolist() == [[True, False, False], [True, True, False]]
    assert likely(weights, torch.tensor([[0.7], [0.5]])).tolist() == [[True, False, False], [True, True, False]]


def test_nothing_asked_gives_back_the_very_tensor():
    weights = torch.tensor([[0.5, 0.3, 0.2]])
    assert narrow(weights) is weights


@pytest.mark.parametrize(("top_p", "min_p"), [(0.7, 0.0), (1.0, 0.2), (0.9, 0.1)])
def test_draws_follow_what_is_left_of_the_distribution(top_p, min_p):
    draws = 30_000
    logits = torch.linspace(-2, 2, 12)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    uniform = torch.from_numpy(uniforms(range(draws), 1)[:, 0])
    tokens, logprobs = pick(logits.expand(draws, -1), uniform, 1.0, top_p=top_p, min_p=min_p)
    full = logits.double().softmax(-1)
    torch.testing.assert_close(logprobs, full.log()[tokens])
    kept = sorted(kept_plainly(full.tolist(), top_p=top_p, min_p=min_p))
    assert 1 < len(kept) < 12 and set(tokens.tolist()) == set(kept)
    exact = full[kept].numpy() / full[kept].sum().item()
    assert chisquare(np.bincount(tokens, minlength=12)[kept], exact * draws).pvalue > 1e-4


def test_the_largest_uniform_number_still_draws_inside_the_mask():
    logits = torch.tensor([[3.0, 2.0, 1.0, -40.0]]).expand(4000, -1)
    weights = torch.linspace(0.2, 0.9, 4000)[:, None] * logits  # whole sums that round in many ways
    tokens, _ = pick(weights, torch.full((4000,), 1 - 2.0**-53, dtype=torch.float64), 1.0, top_k=2)
    assert set(tokens.tolist()) <= {0, 1}


def test_switched_off_they_change_no_bit_of_a_completion(tiny):
    model = Transformer(tiny, seed=1).eval()
    settings = {"max_new_tokens": 20, "temperature": 0.9, "seeds": [3, 4], "stop_ids": {7}, "top_k": 40}
    plain = generate(model, [[5, 6], [8]], **settings)
    assert plain == generate(model, [[5, 6], [8]], **settings, top_p=1.0, min_p=0.0)
    assert plain != generate(model, [[5, 6], [8]], **settings, top_p=0.05)


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"top_p": 1.5}, {"top_p": float("nan")}, {"min_p": -0.1}])
def test_limits_that_mean_nothing_are_refused(tiny, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        generate(Transformer(tiny), [[5]], max_new_tokens=1, temperature=1.0, seeds=[1], stop_ids=(), **wrong)
