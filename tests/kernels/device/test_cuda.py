"""On a GPU: the Triton passes at the sizes of training, against float64 and torch in the same dtype, and their memory.

`python -m pytest tests/kernels/device/test_cuda.py` needs torch, triton, pytest and hypothesis.
"""

import pytest
import torch

from kernels.device.logprobs import Settings, linear_logprobs, linear_loss
from kernels.device.logprobs_reference import IGNORED
from kernels.device.logprobs_reference import linear_logprobs as reference
from kernels.device.losses import cross_entropy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU: the kernels were not run on one")
TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def case(rows, width, columns, dtype, k=1):
    torch.manual_seed(0)
    hidden = torch.randn(rows, width, device="cuda", dtype=dtype).requires_grad_()
    weight = (torch.randn(columns, width, device="cuda") / width**0.5).to(dtype).requires_grad_()
    targets = torch.randint(0, columns, (rows, k), device="cuda")
    targets[torch.rand(rows, k, device="cuda") < 0.1] = IGNORED
    return hidden, weight, targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("softcap", [0.0, 15.0])
@pytest.mark.parametrize(
    ("rows", "width", "columns", "k"), [(252, 507, 1230, 1), (1000, 256, 32769, 2), (64, 128, 151936, 1)]
)
def test_no_worse_than_torch_in_the_same_dtype(dtype, softcap, rows, width, columns, k):
    hidden, weight, targets = case(rows, width, columns, dtype, k)
    how = Settings(chunk_rows=rows // 3 + 1, softcap=softcap, passes="triton")

    def found(function, *factors):
        stats = function(*factors)
        value = stats.selected.double().sum() + stats.lse.double().square().sum() + stats.entropy.double().sum()
        return [*(one.detach().double() for one in stats), *(g.double() for g in torch.autograd.grad(value, factors))]

    wide = [one.detach().double().requires_grad_() for one in (hidden, weight)]
    truth = found(lambda h, w: reference(h, w, targets, softcap=softcap), *wide)
    plain = found(lambda h, w: reference(h, w, targets, softcap=softcap), hidden, weight)
    ours = found(lambda h, w: linear_logprobs(h, w, targets, how), hidden, weight)
    for exact, theirs, own in zip(truth, plain, ours, strict=True):
        allowed = TOLERANCE[dtype] * max(1.0, float(exact.abs().max()))
        assert float((own - exact).abs().max()) <= float((theirs - exact).abs().max()) + allowed


def test_memory_of_32k_tokens_by_32k_words_is_under_15_percent_of_the_logits():
    hidden, weight, _ = case(32768, 1024, 32768, torch.bfloat16)
    targets = torch.randint(0, 32768, (32768,), device="cuda")

    def held(function):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        made = torch.autograd.grad(function(), (hidden, weight))
        torch.cuda.synchronize()
        del made
        return torch.cuda.max_memory_allocated() - before

    def plain(hidden, weight, targets):
        return torch.nn.functional.cross_entropy((hidden @ weight.T).float(), targets)

    compiled = torch.compile(plain)
    compiled(hidden, weight, targets)
    theirs = held(lambda: compiled(hidden, weight, targets))
    ours = held(lambda: cross_entropy(hidden, weight, targets, settings=Settings(entropy=False))[0])
    assert ours < 0.15 * theirs, f"{ours / 2**20:.0f} MiB of {theirs / 2**20:.0f}"


def test_sums_repeat_to_the_bit():
    hidden, weight, targets = case(5000, 256, 32768, torch.bfloat16)

    def once():
        total, _ = linear_loss(hidden, weight, targets, lambda stats, rows: -stats.selected.sum())
        return [total.detach(), *torch.autograd.grad(total, (hidden, weight))]

    assert all(torch.equal(one, other) for one, other in zip(once(), once(), strict=True))
