"""Ratios and clips against hand-worked values."""

import math

import pytest
import torch

from models.objectives import ratios


def surrogate_at(p_old: float, p_new: float, advantage: float, low: float, high: float) -> ratios.Surrogate:
    log_ratio_BT = torch.tensor([[math.log(p_new / p_old)]], dtype=torch.float64)
    return ratios.clipped_surrogate(log_ratio_BT, torch.tensor([advantage]), torch.ones(1, 1), low=low, high=high)


@pytest.mark.parametrize(("p", "bound"), [(0.01, 0.0128), (0.9, 1.152)])
def test_dapo_clip_higher_stops_gains_at_the_known_probability(p, bound):
    below = surrogate_at(p, bound * 0.999, 1.0, 0.2, 0.28)
    above = surrogate_at(p, bound * 1.001, 1.0, 0.2, 0.28)
    assert not bool(below.clipped_BT.any())
    assert bool(above.clipped_BT.all())
    assert float(above.objective_BT) * p == pytest.approx(bound)


def test_clip_never_hides_a_loss():
    """A bad token made more likely, or a good one less likely, keeps its full gradient: the bound is pessimistic."""
    assert not bool(surrogate_at(0.5, 0.9, -1.0, 0.2, 0.2).clipped_BT.any())
    assert not bool(surrogate_at(0.5, 0.1, 1.0, 0.2, 0.2).clipped_BT.any())
    assert bool(surrogate_at(0.5, 0.1, -1.0, 0.2, 0.2).clipped_BT.all())


def test_clipped_token_has_no_gradient():
    log_ratio_BT = torch.tensor([[0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    ratios.clipped_surrogate(
        log_ratio_BT, torch.ones(1), torch.ones(1, 2), low=0.2, high=0.2
    ).objective_BT.sum().backward()
    assert log_ratio_BT.grad is not None
    assert log_ratio_BT.grad[0].tolist() == pytest.approx([0.0, math.exp(0.1)])


def test_gspo_ratio_is_the_geometric_mean():
    new_BT = torch.tensor([[-1.0 + 0.1, -2.0 + 0.3, 99.0]], dtype=torch.float64)
    old_BT = torch.tensor([[-1.0, -2.0, -5.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    found_BT = ratios.sequence_log_ratio(new_BT, old_BT, mask_BT)
    assert found_BT.exp()[0].tolist() == pytest.approx([1.221403, 1.221403, 1.0], abs=1e-6)


def test_token_ratio_is_one_outside_the_mask_even_beside_nan():
    new_BT = torch.tensor([[-1.0, float("nan")]])
    mask_BT = torch.tensor([[1.0, 0.0]])
    assert ratios.token_log_ratio(new_BT, torch.tensor([[-1.0, 0.0]]), mask_BT)[0].tolist() == [0.0, 0.0]
