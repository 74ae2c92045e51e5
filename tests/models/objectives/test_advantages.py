"""Advantages against exact values: hand-worked groups, and bandits enumerated over every tuple of actions."""

import itertools

import numpy as np
import pytest
import torch

from models.objectives import advantages


def rewards(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_standardised_uses_bessels_correction():
    assert advantages.standardised(rewards(1, 0, 0, 0))[0].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5])


def test_leave_one_out_is_reward_minus_mean_of_others():
    assert advantages.leave_one_out(rewards(1, 2, 4))[0].tolist() == pytest.approx([-2.0, -0.5, 2.5])


def test_centred_sums_to_zero_and_ignores_a_constant():
    r_NG = torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    assert advantages.centred(r_NG).sum(dim=1).tolist() == pytest.approx([0.0, 0.0])
    assert torch.allclose(advantages.centred(r_NG), advantages.centred(r_NG + 7.0))


def test_mean_relative_is_zero_where_nothing_was_won():
    assert advantages.mean_relative(rewards(0, 0, 0))[0].tolist() == [0.0, 0.0, 0.0]
    assert advantages.mean_relative(rewards(1, 0, 0, 0))[0].tolist() == pytest.approx([3.0, -1.0, -1.0, -1.0])


RULES = [advantages.centred, advantages.leave_one_out, advantages.standardised, advantages.mean_relative]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 1e-3, 12345.678, -0.1])
@pytest.mark.parametrize("size", [2, 3, 6, 7, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_rewards_give_exactly_zero(rule, value, size, dtype):
    r_NG = torch.full((3, size), value, dtype=dtype)
    assert torch.equal(rule(r_NG), torch.zeros(3, size, dtype=torch.float64))


def test_rounding_in_the_mean_would_not_have_been_zero():
    """The reason for the spread test: for some constants the mean of equal rewards is not that reward."""
    draws = np.random.default_rng(0).random(400).tolist()
    noisy = [v for v in draws if sum([v] * 7) / 7 != v]
    assert noisy
    for value in noisy:
        assert advantages.centred(rewards(*[value] * 7)).abs().max() == 0.0


@pytest.mark.parametrize("rule", RULES)
def test_a_group_of_one_is_refused(rule):
    with pytest.raises(advantages.GroupTooSmall):
        rule(torch.ones(4, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_is_refused(bad):
    with pytest.raises(advantages.RewardNotFinite):
        advantages.centred(rewards(1.0, bad))


def test_share_of_silent_groups_matches_the_binomial():
    """P(all equal) = p^G + (1−p)^G, by enumeration of the 2^8 reward tuples at p = .1: .4305."""
    p, size = 0.1, 8
    tuples_NG = torch.tensor(list(itertools.product([0.0, 1.0], repeat=size)), dtype=torch.float64)
    probability_N = (p**tuples_NG * (1 - p) ** (1 - tuples_NG)).prod(dim=1)
    silent = float(probability_N[advantages.constant_groups(tuples_NG)].sum())
    assert silent == pytest.approx(p**size + (1 - p) ** size)
    assert silent == pytest.approx(0.4305, abs=5e-5)


def expected_gradient(rule, logits_K: torch.Tensor, reward_K: torch.Tensor, size: int) -> torch.Tensor:
    """E[1/G Σ A_i ∇log π(a_i)] over every tuple of `size` actions, exactly."""
    p_K = torch.softmax(logits_K, dim=0)
    tuples_NG = torch.tensor(list(itertools.product(range(len(p_K)), repeat=size)))
    probability_N = p_K[tuples_NG].prod(dim=1)
    advantages_NG = rule(reward_K[tuples_NG])
    score_NGK = torch.nn.functional.one_hot(tuples_NG, len(p_K)).to(p_K) - p_K
    return (probability_N[:, None, None] * advantages_NG[:, :, None] * score_NGK).sum(dim=(0, 1)) / size


def true_gradient(logits_K: torch.Tensor, reward_K: torch.Tensor) -> torch.Tensor:
    logits_K = logits_K.clone().requires_grad_(True)
    (torch.softmax(logits_K, dim=0) * reward_K).sum().backward()
    assert logits_K.grad is not None
    return logits_K.grad


LOGITS = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64)
REWARD = torch.tensor([1.0, 0.25, -0.5], dtype=torch.float64)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_centred_gives_the_true_gradient_shrunk_by_g_minus_1_over_g(size):
    found = expected_gradient(advantages.centred, LOGITS, REWARD, size)
    assert torch.allclose(found, (size - 1) / size * true_gradient(LOGITS, REWARD), atol=1e-14)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_leave_one_out_gives_exactly_the_true_gradient(size):
    found = expected_gradient(advantages.leave_one_out, LOGITS, REWARD, size)
    assert torch.allclose(found, true_gradient(LOGITS, REWARD), atol=1e-14)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_mean_relative_gives_the_maxrl_factor(size):
    logits_K, reward_K = torch.tensor([0.0, 1.3], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    p = float(torch.softmax(logits_K, dim=0)[0])
    factor = (1 - (1 - p) ** (size - 1)) / p
    found = expected_gradient(advantages.mean_relative, logits_K, reward_K, size)
    assert torch.allclose(found, factor * true_gradient(logits_K, reward_K), atol=1e-14)


@pytest.mark.parametrize(("p", "expected"), [(0.1, 0.196), (0.3, 0.386), (0.5, 0.434)])
def test_standardised_on_bernoulli_rewards_matches_the_known_factor(p, expected):
    logits_K = torch.tensor([p, 1 - p], dtype=torch.float64).log()
    reward_K = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = expected_gradient(advantages.standardised, logits_K, reward_K, 8)
    assert float(found[0]) == pytest.approx(expected, abs=5e-4)
