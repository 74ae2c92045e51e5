"""The fused passes give what the plain functions give, forward and back, and touch no byte beside their own."""

import pytest
import torch

from kernels.device import fused
from kernels.device import fused_reference as reference
from kernels.device.logprobs import has_triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PASSES = ["torch", pytest.param("triton", marks=pytest.mark.skipif(not has_triton(), reason="no triton"))]
TOLERANCE = {torch.float32: 2e-5, torch.float16: 1e-3}
EPS = 1e-6


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotary(tokens, width):
    angles = torch.arange(tokens)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.cat([angles, angles], -1)
    return torch.stack([angles.cos(), angles.sin()]).float().to(DEVICE)


CASES = {
    "swiglu": lambda n, d: ((normal(n, d), normal(n, d, seed=1)), ()),
    "add_rms_norm": lambda n, d: ((normal(n, d), normal(n, d, seed=1), 1 + normal(d, seed=2)), (EPS,)),
    "norm_rope": lambda n, d: ((normal(2, n, 3, 2 * d), 1 + normal(2 * d, seed=2)), (rotary(n, 2 * d), EPS)),
}


def differentiated(function, tensors, rest):
    """Results and gradients of the tensors under fixed upstream gradients, float64."""
    leaves = [one.detach().requires_grad_() for one in tensors]
    found = function(*leaves, *rest)
    found = found if isinstance(found, tuple) else (found,)
    value = sum((one.double() * normal(*one.shape, seed=9 + i).to(one.device)).sum() for i, one in enumerate(found))
    return [one.detach().double() for one in (*found, *torch.autograd.grad(value, leaves))]


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (7, 33), (3, 130), (150, 5)])
def test_no_worse_than_torch_in_the_same_dtype(passes, dtype, name, rows, width):
    tensors, rest = CASES[name](rows, width)
    tensors = [one.to(DEVICE, dtype) for one in tensors]
    plain = getattr(reference, name)
    truth = differentiated(plain, [one.double() for one in tensors], rest)
    theirs = differentiated(plain, tensors, rest)
    ours = differentiated(lambda *given: getattr(fused, name)(*given, passes=passes), tensors, rest)
    for exact, peer, found in zip(truth, theirs, ours, strict=True):
        allowed = TOLERANCE[dtype] * max(1.0, float(exact.abs().max()))
        assert float((found - exact).abs().max()) <= float((peer - exact).abs().max()) + allowed


@pytest.mark.parametrize("name", CASES)
def test_finite_differences_agree(name):
    tensors, rest = CASES[name](3, 4)
    function = getattr(fused, name)
    torch.autograd.gradcheck(lambda *given: function(*given, *rest), [one.requires_grad_() for one in tensors])


def test_heads_are_those_of_the_transformer(tiny_attention):
    attention, x, table = tiny_attention
    from models.nets.transformer import rotate

    weight, eps = attention.q_norm.weight, attention.q_norm.eps
    expected = rotate(attention.q_norm(x), table[:, : x.shape[1], None])
    torch.testing.assert_close(fused.norm_rope(x, weight, table[:, : x.shape[1]], eps, passes="torch"), expected)


@pytest.fixture
def tiny_attention():
    from models.config import TransformerConfig
    from models.nets.transformer import Attention, rotary_table

    config = TransformerConfig(64, 32, 1, 4, 2, 8, 64, 16)
    attention = Attention(config)
    torch.nn.init.normal_(attention.q_norm.weight)
    return attention, torch.randn(2, 11, 4, 8), rotary_table(config)


@pytest.mark.skipif(not has_triton(), reason="no triton")
@pytest.mark.parametrize("name", CASES)
def test_triton_writes_only_its_own_bytes(name, monkeypatch):
    from kernels.device import fused_triton

    guarded = []

    def with_margins(like):
        whole = torch.full((like.numel() + 128,), float("nan"), dtype=like.dtype, device=like.device)
        guarded.append((whole, like.numel()))
        return whole[64 : 64 + like.numel()].view(like.shape)

    monkeypatch.setattr(fused_triton.torch, "empty_like", with_margins)
    tensors, rest = CASES[name](5, 37)
    tensors = [with_margins(one.float()).copy_(one.float()) for one in tensors]
    found = differentiated(lambda *given: getattr(fused, name)(*given, passes="triton"), tensors, rest)
    assert all(one.isfinite().all() for one in found) and len(guarded) > len(tensors)
    for whole, size in guarded:
        assert whole[:64].isnan().all() and whole[64 + size :].isnan().all() and not whole[64 : 64 + size].isnan().any()
