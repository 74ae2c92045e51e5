"""The scan by doubling and the one in Triton are the recurrence, and their gradients are the recurrence's."""

import pytest
import torch

from kernels.device import scan as scans
from kernels.device import scan_reference as reference
from kernels.device.logprobs import UnusableShapes, has_triton
from kernels.device.scan import scan, selective_scan
from tests.kernels.device.margins import with_margins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRITON = pytest.mark.skipif(not has_triton(), reason="no triton")
PASSES = ["torch", pytest.param("triton", marks=TRITON)]
TOLERANCE = {torch.float32: 2e-5, torch.float16: 1e-3}


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(rows, tokens, channels, states, dtype=torch.float64):
    """Arguments of the selective scan: a document begins in the middle of every row."""
    x, step = numbers(rows, tokens, channels, seed=1) - 0.5, numbers(rows, tokens, channels, seed=2) / 4
    write, read = (numbers(rows, tokens, states, seed=seed) - 0.5 for seed in (3, 4))
    decay = numbers(channels, states, seed=5) * 3
    before = numbers(rows, channels, states, seed=6) - 0.5
    goes_on = torch.ones(rows, tokens, dtype=torch.bool)
    goes_on[:, tokens // 2 + 1 :: 7] = False
    learned = [one.to(DEVICE, dtype) for one in (x, step, write, read, decay)]
    return *learned, goes_on.to(DEVICE), before.to(DEVICE, dtype)


def differentiated(function, given):
    """Results and gradients of the six tensors under fixed upstream gradients, float64."""
    leaves = [one.detach().requires_grad_(one.is_floating_point()) for one in given]
    y, last = function(*leaves)
    value = (y.double() * (numbers(*y.shape, seed=8) - 0.5).to(DEVICE)).sum()
    value = value + (last.double() * (numbers(*last.shape, seed=9) - 0.5).to(DEVICE)).sum()
    gradients = torch.autograd.grad(value, [one for one in leaves if one.requires_grad])
    return [one.detach().double() for one in (y, last, *gradients)]


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 11, 19, 3), (1, 9, 5, 8)])
def test_no_worse_than_torch_in_the_same_dtype(passes, dtype, shape, monkeypatch):
    monkeypatch.setattr(scans, "CHUNK", 4)
    if passes == "triton":
        from kernels.device import scan_triton

        monkeypatch.setattr(scan_triton, "KEPT", 4)
    given = case(*shape, dtype=dtype)
    truth = differentiated(
        reference.selective_scan, [one.double() if one.is_floating_point() else one for one in given]
    )
    theirs = differentiated(reference.selective_scan, given)
    ours = differentiated(lambda *tensors: selective_scan(*tensors, passes=passes), given)
    for exact, peer, found in zip(truth, theirs, ours, strict=True):
        allowed = TOLERANCE[dtype] * max(1.0, float(exact.abs().max()))
        assert float((found - exact).abs().max()) <= float((peer - exact).abs().max()) + allowed


def test_finite_differences_agree(monkeypatch):
    monkeypatch.setattr(scans, "CHUNK", 3)
    given = case(2, 5, 3, 2)
    leaves = [one.requires_grad_(one.is_floating_point()) for one in given]
    torch.autograd.gradcheck(lambda *tensors: selective_scan(*tensors, passes="torch"), leaves)


@pytest.mark.parametrize("passes", PASSES)
def test_a_text_in_two_calls_gives_what_it_gives_in_one(passes):
    x, step, write, read, decay, goes_on, before = case(2, 9, 3, 2, torch.float32)
    whole, last = selective_scan(x, step, write, read, decay, goes_on, before, passes)
    pieces = []
    for part in (slice(0, 4), slice(4, 9)):
        cut = (one[:, part] for one in (x, step, write, read))
        y, before = selective_scan(*cut, decay, goes_on[:, part], before, passes)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(before, last, rtol=0, atol=1e-6)


@TRITON
def test_triton_touches_only_its_own_bytes(monkeypatch):
    from kernels.device import scan_triton

    monkeypatch.setattr(scan_triton, "KEPT", 4)
    margins = with_margins(monkeypatch, scan_triton.torch)
    given = [
        margins.buffer(tuple(one.shape), dtype=one.dtype, device=DEVICE).copy_(one) if one.is_floating_point() else one
        for one in case(2, 6, 17, 3, torch.float32)
    ]
    found = differentiated(lambda *tensors: selective_scan(*tensors, passes="triton"), given)
    assert all(one.isfinite().all() for one in found)
    margins.check(at_least=16)


@pytest.mark.parametrize("tokens", [1, 2, 3, 8, 13, 64])
def test_doubling_gives_what_the_recurrence_gives(tokens):
    a, u = numbers(2, tokens, 3, 4, seed=1), numbers(2, tokens, 3, 4, seed=2) - 0.5
    torch.testing.assert_close(scan(a, u), reference.scan(a, u), rtol=1e-12, atol=1e-12)


def test_a_factor_of_zero_starts_anew():
    a, u = numbers(1, 9, 2, seed=1), numbers(1, 9, 2, seed=2)
    a[:, 5] = 0
    torch.testing.assert_close(scan(a, u)[:, 5:], scan(a[:, 5:], u[:, 5:]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 7, 10])
def test_gradients_of_the_doubling_hold_against_differences(tokens):
    a, u = numbers(2, tokens, 3, seed=3).requires_grad_(), numbers(2, tokens, 3, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(scan, (a, u))


def test_arguments_that_do_not_belong_together_are_refused():
    given = case(2, 3, 4, 5)
    with pytest.raises(UnusableShapes, match="the others are"):
        selective_scan(*given[:2], given[3][..., :2], *given[3:])
    with pytest.raises(UnusableShapes, match="a token"):
        selective_scan(given[0][:, :0], *given[1:])
