"""Normalisers against the hand-worked pair of answers, and length neutrality of each."""

import pytest
import torch

from models.objectives import normalisers
from models.objectives.normalisers import BatchTotals

# advantage +1 with length 1, advantage −1 with length 3, at most 4 tokens
MASK = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
ADVANTAGES = torch.tensor([1.0, -1.0])
TOTALS = BatchTotals(sequences=2, tokens=4, max_tokens=4)


@pytest.mark.parametrize(
    ("normaliser", "expected"),
    [
        (normalisers.sequence_mean, 0.0),
        (normalisers.token_mean, -0.5),
        (normalisers.constant, -0.25),
        (normalisers.sequence_sum, -1.0),
    ],
)
def test_objective_of_the_known_pair(normaliser, expected):
    weights_BT = normaliser(MASK, TOTALS)
    assert float((weights_BT * ADVANTAGES[:, None]).sum()) == pytest.approx(expected, abs=1e-6)


def test_constant_prices_a_long_wrong_answer_like_a_short_one():
    """Per token, GRPO pushes a 100-token answer 10 times less than a 10-token one; Dr.GRPO pushes them equally."""
    mask_BT = (torch.arange(100) < torch.tensor([[10], [100]])).float()
    totals = BatchTotals(sequences=2, tokens=110, max_tokens=100)
    grpo_BT, dr_grpo_BT = normalisers.sequence_mean(mask_BT, totals), normalisers.constant(mask_BT, totals)
    assert float(grpo_BT[0, 0] / grpo_BT[1, 0]) == pytest.approx(10.0)
    assert float(dr_grpo_BT[0, 0] / dr_grpo_BT[1, 0]) == pytest.approx(1.0)


def test_an_empty_answer_weighs_nothing():
    for normaliser in (
        normalisers.sequence_mean,
        normalisers.token_mean,
        normalisers.constant,
        normalisers.sequence_sum,
    ):
        assert torch.equal(normaliser(torch.zeros(1, 4), BatchTotals(1, 0, 4)), torch.zeros(1, 4))
