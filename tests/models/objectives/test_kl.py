"""KL estimators against closed forms on policies small enough to enumerate."""

import pytest
import torch

from models.objectives import kl


@pytest.mark.parametrize(("log_ratio", "expected"), [(0.5, 0.148721), (-0.5, 0.106531), (0.0, 0.0)])
def test_k3_known_values(log_ratio, expected):
    assert float(kl.k3(torch.tensor(0.0), torch.tensor(log_ratio))) == pytest.approx(expected, abs=1e-6)


def policies() -> tuple[torch.Tensor, torch.Tensor]:
    policy = torch.log_softmax(torch.tensor([0.2, -1.0, 0.7], dtype=torch.float64), dim=0)
    reference = torch.log_softmax(torch.tensor([1.0, 0.0, -0.3], dtype=torch.float64), dim=0)
    return policy, reference


@pytest.mark.parametrize("estimator", [kl.k1, kl.k3])
def test_estimators_are_unbiased(estimator):
    policy, reference = policies()
    expected = float((policy.exp() * estimator(policy, reference)).sum())
    assert expected == pytest.approx(float(kl.exact(policy, reference)), abs=1e-14)


def test_k3_is_never_negative():
    gap = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    assert float(kl.k3(torch.zeros_like(gap), gap).min()) >= 0.0


def test_gradient_ascent_reaches_the_closed_form_optimum():
    _, reference = policies()
    rewards, beta = torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64), 0.5
    logits = reference.clone().requires_grad_(True)
    for _ in range(2000):
        policy = torch.log_softmax(logits, dim=0)
        objective = (policy.exp() * rewards).sum() - beta * kl.exact(policy, reference)
        (gradient,) = torch.autograd.grad(objective, logits)
        logits = (logits + 0.5 * gradient).detach().requires_grad_(True)
    found = torch.log_softmax(logits, dim=0).detach()
    assert float(kl.exact(found, kl.optimum(reference, rewards, beta))) < 1e-6
