"""The scan by doubling is the recurrence, its gradient is the recurrence's."""

import pytest
import torch

from models.nets.scan import scan, scan_reference


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("tokens", [1, 2, 3, 8, 13, 64])
def test_doubling_gives_what_the_recurrence_gives(tokens):
    a, u = numbers(2, tokens, 3, 4, seed=1), numbers(2, tokens, 3, 4, seed=2) - 0.5
    torch.testing.assert_close(scan(a, u), scan_reference(a, u), rtol=1e-12, atol=1e-12)


def test_a_decay_of_zero_starts_anew():
    a, u = numbers(1, 9, 2, seed=1), numbers(1, 9, 2, seed=2)
    a[:, 5] = 0
    torch.testing.assert_close(scan(a, u)[:, 5:], scan(a[:, 5:], u[:, 5:]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 7, 10])
def test_gradients_hold_against_differences(tokens):
    a, u = numbers(2, tokens, 3, seed=3).requires_grad_(), numbers(2, tokens, 3, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(scan, (a, u))
