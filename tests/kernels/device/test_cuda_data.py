"""On a GPU: MinHash, k-means, projection and the selective scan at the sizes of real work, against plain forms.

`python -m pytest tests/kernels/device/test_cuda_data.py` needs torch, triton, numpy and pytest.
"""

import numpy as np
import pytest
import torch

from kernels.device import kmeans, kmeans_reference, minhash, projection, projection_reference, scan_reference
from kernels.device.scan import selective_scan

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU: the kernels were not run on one")
TOLERANCE = {torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)


def normal(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to("cuda", dtype)


def test_minhash_has_the_bits_of_plain_arithmetic():
    draws = np.random.default_rng(0)
    lengths = draws.integers(0, 3000, 500)
    hashes = draws.integers(0, 2**64, lengths.sum(), dtype=np.uint64)
    a, b = (draws.integers(1, minhash.MERSENNE_61, 112, dtype=np.uint64) for _ in range(2))
    offsets = np.cumsum([0, *lengths])
    given = [torch.from_numpy(one.view(np.int64)).cuda() for one in (hashes, offsets, a, b)]
    for passes in ("triton", "torch"):
        found = minhash.signatures(*given, passes=passes).cpu().numpy().view(np.uint64)
        for document in range(0, 500, 7):
            part = hashes[offsets[document] : offsets[document + 1], None]
            values = (part * a + b) % np.uint64(minhash.MERSENNE_61)
            assert np.array_equal(found[document], values.min(0, initial=minhash.MERSENNE_61))


@pytest.mark.parametrize("dtype", [*TOLERANCE, torch.float64], ids=str)
def test_kmeans_is_no_worse_than_torch_in_the_same_dtype(dtype):
    x, centroids = (torch.nn.functional.normalize(normal(n, 507, seed=n)).to(dtype) for n in (100_003, 1023))
    exact = x.double() @ centroids.double().T
    labels, theirs = kmeans.assign(x, centroids, "triton"), (x @ centroids.T).argmax(1)
    short = [exact.amax(1) - exact.gather(1, one[:, None])[:, 0] for one in (labels, theirs)]
    assert float(short[0].max()) <= float(short[1].max()) + TOLERANCE.get(dtype, 1e-14)
    found = [kmeans.means(x, labels, centroids.double(), "triton") for _ in range(2)]
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], kmeans_reference.means(x, labels, centroids), rtol=0, atol=1e-13)


@DTYPES
def test_projection_is_no_worse_than_torch_in_the_same_dtype(dtype):
    x = normal(67, 100_003, dtype=dtype)
    matrix = torch.from_numpy(projection_reference.signs(2**63 + 5, 0, 100_003, 512)).cuda()
    truth = x.double() @ matrix / 512**0.5
    own = projection.project(x, 512, 2**63 + 5, "triton")
    error, peer = ((one.double() - truth).abs().max() for one in (own, (x @ matrix.to(dtype)).double() / 512**0.5))
    assert float(error) <= float(peer) + TOLERANCE[torch.float32] * float(truth.abs().max())
    assert torch.equal(own[64:], projection.project(x[64:].contiguous(), 512, 2**63 + 5, "triton"))


def scan_case(rows, tokens, channels, states, dtype):
    step, decay = normal(rows, tokens, channels, seed=1).sigmoid() / 8, normal(channels, states, seed=2)
    x, write, read = (normal(rows, tokens, n, seed=3 + i) for i, n in enumerate((channels, states, states)))
    goes_on = (torch.rand(rows, tokens, generator=torch.Generator().manual_seed(7)) > 0.01).cuda()
    learned = [one.to(dtype) for one in (x, step, write, read, decay)]
    return *learned, goes_on, normal(rows, channels, states, dtype=dtype, seed=8)


def differentiated(function, given):
    leaves = [one.detach().requires_grad_(one.is_floating_point()) for one in given]
    y, last = function(*leaves)
    value = (y.double() * normal(*y.shape, seed=9)).sum() + (last.double() * normal(*last.shape, seed=10)).sum()
    gradients = torch.autograd.grad(value, [one for one in leaves if one.requires_grad])
    return [one.detach().double() for one in (y, last, *gradients)]


@DTYPES
def test_selective_scan_is_no_worse_than_torch_in_the_same_dtype(dtype):
    given = scan_case(2, 515, 260, 16, dtype)
    wide = [one.double() if one.is_floating_point() else one for one in given]
    truth, theirs = differentiated(scan_reference.selective_scan, wide), differentiated(selective_scan_in_torch, given)
    ours, again = (differentiated(lambda *one: selective_scan(*one, passes="triton"), given) for _ in range(2))
    for exact, peer, found, repeated in zip(truth, theirs, ours, again, strict=True):
        allowed = TOLERANCE[dtype] * max(1.0, float(exact.abs().max()))
        assert float((found - exact).abs().max()) <= float((peer - exact).abs().max()) + allowed
        assert torch.equal(found, repeated)


def selective_scan_in_torch(*given):
    return selective_scan(*given, passes="torch")


def test_mamba_on_a_gpu_is_mamba_on_a_cpu():
    from models.config import TransformerConfig
    from models.nets.mixed import build

    config = TransformerConfig(64, 32, 2, 4, 2, 8, 0, 300, net="mamba")
    tokens = torch.randint(0, 64, (3, 300), generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        model = build(config, seed=1).to(device)
        logits = model(tokens.to(device))
        logits.square().mean().backward()
        found.append([logits.detach().cpu(), *(weight.grad.cpu() for weight in model.parameters())])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-3, atol=1e-5)
