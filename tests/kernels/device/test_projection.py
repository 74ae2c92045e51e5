"""Projection on any device uses the signs of models/diversity/projection.py and is no worse than torch's product."""

import numpy as np
import pytest
import torch

from kernels.device import projection
from kernels.device import projection_reference as reference
from kernels.device.logprobs import UnusableShapes, has_triton
from models.diversity.projection import project as on_cpu
from models.diversity.projection import reference_signs
from tests.kernels.device.margins import with_margins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRITON = pytest.mark.skipif(not has_triton(), reason="no triton")
PASSES = ["torch", pytest.param("triton", marks=TRITON)]
SEEDS = [0, 1, 7, 2**63 + 11, 2**64 - 1]


def vectors(rows, parameters, dtype=torch.float32):
    made = torch.randn(rows, parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return made.to(DEVICE, dtype)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_sign_is_the_data_stages(passes, seed):
    found = projection.project(torch.eye(70, device=DEVICE), 128, seed, passes)
    expected = reference_signs(seed, 0, 70, 128)
    assert np.array_equal(found.cpu().sign(), expected)
    assert np.array_equal(reference.signs(seed, 37, 70, 128), expected[37:])
    torch.testing.assert_close(found.abs(), torch.full_like(found, 128**-0.5))


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("rows", "parameters"), [(1, 1), (3, 517), (66, 130)])
def test_no_worse_than_torch_in_the_same_dtype(passes, dtype, rows, parameters, monkeypatch):
    if passes == "triton":
        from kernels.device import projection_triton

        monkeypatch.setattr(projection_triton, "PARTS", 3)
    x = vectors(rows, parameters, dtype)
    truth = reference.project(x.cpu(), 64, 5).to(DEVICE)
    matrix = torch.from_numpy(reference.signs(5, 0, parameters, 64)).to(DEVICE, dtype)
    theirs, own = (x @ matrix).double() / 8, projection.project(x, 64, 5, passes).double()
    allowed = 2e-6 * max(1.0, float(truth.abs().max()))
    assert float((own - truth).abs().max()) <= float((theirs - truth).abs().max()) + allowed


def test_the_torch_form_on_the_cpu_has_the_bits_of_the_data_stage():
    x = vectors(5, 2 * projection.BLOCK + 5).cpu()
    assert np.array_equal(projection.project(x, 128, 2**63 + 9, "torch").numpy(), on_cpu(x.numpy(), 128, 2**63 + 9))


@pytest.mark.parametrize("passes", PASSES)
def test_a_rows_bits_do_not_depend_on_its_batch(passes):
    x = vectors(66, 90)
    whole = projection.project(x, 64, 9, passes)
    assert torch.equal(whole[64:], projection.project(x[64:].contiguous(), 64, 9, passes))
    assert torch.equal(whole.flip(0), projection.project(x.flip(0), 64, 9, passes))


@TRITON
def test_triton_touches_only_its_own_bytes(monkeypatch):
    from kernels.device import projection_triton

    margins = with_margins(monkeypatch, projection_triton.torch)
    x = margins.buffer((5, 37), device=DEVICE).copy_(vectors(5, 37))
    found = projection.project(x, 64, 1, "triton").double()
    torch.testing.assert_close(found.cpu(), reference.project(x.cpu(), 64, 1), rtol=0, atol=1e-5)
    margins.check(at_least=3)


@pytest.mark.parametrize(("dim", "dtype"), [(100, torch.float32), (0, torch.float32), (64, torch.float64)])
def test_unusable_shapes_are_refused(dim, dtype):
    with pytest.raises(UnusableShapes, match=r"multiple of 64|at most float32"):
        projection.project(vectors(2, 10, dtype), dim, 0)
