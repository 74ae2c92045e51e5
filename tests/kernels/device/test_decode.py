"""Paged attention of single tokens gives what the plain function gives, whatever stands beside a row or behind it."""

import pytest
import torch

from kernels.device import decode
from kernels.device import decode_reference as reference
from kernels.device.logprobs import has_triton
from tests.kernels.device.margins import with_margins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PASSES = ["torch", pytest.param("triton", marks=pytest.mark.skipif(not has_triton(), reason="no triton"))]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3}
SLOTS = 16


def case(lengths, heads, kv_heads, width, dtype, seed=0):
    """Rows with pages of their own in a random order; what no row looks at is no number."""
    generator = torch.Generator().manual_seed(seed)
    pages = [-(-length // SLOTS) for length in lengths]
    order = torch.randperm(sum(pages), generator=generator)
    pools = torch.full((2, sum(pages), SLOTS, kv_heads, width), float("nan"), dtype=dtype)
    tables = torch.full((len(lengths), max(pages) + 1), -1, dtype=torch.int32)
    for row, length in enumerate(lengths):
        own = order[sum(pages[:row]) : sum(pages[: row + 1])]
        tables[row, : len(own)] = own
        for place in range(length):
            held = torch.randn(2, kv_heads, width, generator=generator).to(dtype)
            pools[:, own[place // SLOTS], place % SLOTS] = held
    q = torch.randn(len(lengths), heads, width, generator=generator).to(dtype)
    at = torch.tensor(lengths, dtype=torch.int32)
    return [one.to(DEVICE) for one in (q, pools[0], pools[1], tables, at)]


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("lengths", "heads", "kv_heads", "width"), [([1], 1, 1, 5), ([3, 40, 16], 6, 2, 33), ([300, 7], 3, 1, 8)]
)
def test_no_worse_than_torch_in_the_same_dtype(passes, dtype, lengths, heads, kv_heads, width):
    given = case(lengths, heads, kv_heads, width, dtype)
    exact = reference.paged_attention(*given)
    peer = decode.paged_attention(*given, passes="torch").double()
    found = decode.paged_attention(*given, passes=passes)
    assert found.dtype == dtype and found.isfinite().all()
    worst = float((peer - exact).abs().max())
    assert float((found.double() - exact).abs().max()) <= worst + TOLERANCE[dtype]
    assert worst < 4 * TOLERANCE[dtype], "the peer itself is right"


@pytest.mark.skipif(not has_triton(), reason="no triton")
def test_a_row_is_the_same_to_the_bit_alone_and_in_a_batch_with_a_longer_table():
    q, keys, values, tables, lengths = case([300, 5, 129], 4, 2, 16, torch.float32)
    together = decode.paged_attention(q, keys, values, tables, lengths, passes="triton")
    for row in range(3):
        own = slice(row, row + 1)
        short = tables[own, : -(-int(lengths[row]) // SLOTS)].contiguous()
        alone = decode.paged_attention(q[own], keys, values, short, lengths[own], passes="triton")
        assert torch.equal(alone, together[own])


@pytest.mark.skipif(not has_triton(), reason="no triton")
def test_triton_writes_only_its_own_bytes(monkeypatch):
    from kernels.device import decode_triton

    guarded = with_margins(monkeypatch, decode_triton.torch)
    q, keys, values, tables, lengths = case([17, 3], 3, 1, 5, torch.float32)
    found = decode.paged_attention(q, keys, values, tables, lengths, passes="triton")
    assert found.isfinite().all()
    guarded.check(at_least=3)


def test_no_row_gives_no_row():
    q, keys, values, tables, lengths = case([2], 2, 1, 4, torch.float32)
    for passes in ("torch", "triton") if has_triton() else ("torch",):
        assert decode.paged_attention(q[:0], keys, values, tables[:0], lengths[:0], passes=passes).shape == (0, 2, 4)
