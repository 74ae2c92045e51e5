"""The chunked and the Triton form give what the plain one gives: values, gradients, and no byte beside their own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels.device import logprobs
from kernels.device.logprobs import Settings, UnusableShapes, linear_logprobs, linear_loss
from kernels.device.logprobs_reference import IGNORED, TokenStats
from kernels.device.logprobs_reference import linear_logprobs as reference

REPO = Path(__file__).resolve().parents[3]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PASSES = ["torch", pytest.param("triton", marks=pytest.mark.skipif(not logprobs.has_triton(), reason="no triton"))]
# forward and backward, above what torch itself errs in that dtype (the rule of Cut Cross-Entropy's tests)
TOLERANCE = {torch.float32: (1e-5, 5e-4), torch.float16: (1e-3, 1e-3), torch.bfloat16: (1e-2, 1e-2)}


def case(rows, width, columns, k=None, *, dtype=torch.float64, seed=0, scale=3.0):
    """Hidden states, weights, targets with some ignored, and what each statistic receives from above."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    hidden, weight = draw(rows, width) * scale / width**0.5, draw(columns, width)
    shape = (rows,) if k is None else (rows, k)
    targets = torch.randint(0, columns, shape, generator=generator)
    targets[torch.rand(shape, generator=generator) < 0.2] = IGNORED
    upstream = TokenStats(draw(*shape), draw(rows), draw(rows))
    return (
        hidden.to(DEVICE, dtype),
        weight.to(DEVICE, dtype),
        targets.to(DEVICE),
        TokenStats(*(u.to(DEVICE) for u in upstream)),
    )


def differentiated(function, hidden, weight, targets, upstream, **how):
    """Statistics and the gradients of hidden states and weights under the upstream gradients, all in float64."""
    hidden, weight = hidden.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    stats = function(hidden, weight, targets, **how)
    value = sum((one.double() * received).sum() for one, received in zip(stats, upstream, strict=True))
    value.backward()
    return [one.detach().double() for one in (*stats, hidden.grad, weight.grad)]


def chunked(hidden, weight, targets, **how):
    return linear_logprobs(hidden, weight, targets, Settings(**how))


def assert_as_good_as_torch(hidden, weight, targets, upstream, dtype, *, softcap=0.0, **how):
    """error(ours) <= error(torch in the same dtype) + tolerance, both against float64."""
    truth = differentiated(reference, hidden.double(), weight.double(), targets, upstream, softcap=softcap)
    plain = differentiated(reference, hidden, weight, targets, upstream, softcap=softcap)
    ours = differentiated(chunked, hidden, weight, targets, upstream, softcap=softcap, **how)
    names = ("selected", "lse", "entropy", "of hidden", "of weight")
    for name, exact, theirs, found in zip(names, truth, plain, ours, strict=True):
        allowed = TOLERANCE[dtype][name.startswith("of")] * max(1.0, float(exact.abs().max()))
        error, peer = float((found - exact).abs().max()), float((theirs - exact).abs().max())
        assert error <= peer + allowed, f"{name}: {error:.2e}, torch {peer:.2e}"


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("softcap", [0.0, 15.0])
@pytest.mark.parametrize(
    ("rows", "width", "columns", "k", "chunk"),
    [(25, 12, 507, None, 7), (13, 31, 252, 3, 13), (3, 5, 1, 1, 2), (1, 1, 4099, 2, 9)],
)
def test_no_worse_than_torch_in_the_same_dtype(passes, dtype, softcap, rows, width, columns, k, chunk):
    hidden, weight, targets, upstream = case(rows, width, columns, k, dtype=dtype)
    assert_as_good_as_torch(hidden, weight, targets, upstream, dtype, softcap=softcap, chunk_rows=chunk, passes=passes)


def test_bfloat16_is_no_worse_than_torch():
    hidden, weight, targets, upstream = case(33, 31, 252, dtype=torch.bfloat16)
    assert_as_good_as_torch(hidden, weight, targets, upstream, torch.bfloat16, chunk_rows=8, passes="torch")


@given(rows=st.integers(0, 12), width=st.integers(1, 9), columns=st.integers(1, 40), k=st.integers(1, 4) | st.none(),
       chunk=st.integers(0, 13), softcap=st.sampled_from([0.0, 5.0]), seed=st.integers(0, 2**32))  # fmt: skip
@given_settings(max_examples=60, deadline=None)
def test_chunks_of_any_size_equal_the_whole(rows, width, columns, k, chunk, softcap, seed):
    hidden, weight, targets, upstream = case(rows, width, columns, k, seed=seed)
    expected = differentiated(reference, hidden, weight, targets, upstream, softcap=softcap)
    found = differentiated(
        chunked, hidden, weight, targets, upstream, softcap=softcap, chunk_rows=chunk, passes="torch"
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_finite_differences_agree_with_the_gradients():
    hidden, weight, targets, _ = case(5, 4, 7, 2)
    for softcap in (0.0, 2.0):
        how = Settings(chunk_rows=2, softcap=softcap)
        torch.autograd.gradcheck(
            lambda h, w, how=how: linear_logprobs(h, w, targets, how),
            (hidden.requires_grad_(), weight.requires_grad_()),
        )


@pytest.mark.parametrize("passes", PASSES)
def test_a_loss_by_chunks_equals_the_loss_on_the_statistics(passes):
    hidden, weight, targets, upstream = case(23, 8, 130, dtype=torch.float32)
    coefficient, factor = upstream.lse.float(), 1.7

    def parts(stats, rows):
        return (stats.selected.exp() * coefficient[rows] + stats.lse.square() + 0.3 * stats.entropy).sum()

    leaves = [[one.clone().requires_grad_() for one in (hidden, weight)] for _ in range(2)]
    how = Settings(chunk_rows=5, passes=passes)
    total, stats = linear_loss(*leaves[0], targets, parts, how)
    whole = linear_logprobs(*leaves[1], targets, how)
    (total * factor).backward()
    (parts(whole, slice(None)) * factor).backward()
    torch.testing.assert_close(total, parts(whole, slice(None)))
    for one, other in zip(leaves[0], leaves[1], strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(one, other) and not one.requires_grad for one, other in zip(stats, whole, strict=True))


@pytest.mark.parametrize("passes", PASSES)
def test_gradient_is_made_only_for_what_asks_for_it(passes):
    hidden, weight, targets, _ = case(6, 4, 19, dtype=torch.float32)
    for asks in (hidden, weight):
        for one in (hidden, weight):
            one.requires_grad_(one is asks)
            one.grad = None
        how = Settings(passes=passes)
        linear_loss(hidden, weight, targets, lambda stats, rows: -stats.selected.sum(), how)[0].backward()
        linear_logprobs(hidden, weight, targets, how).lse.sum().backward()
        assert [one.grad is not None for one in (hidden, weight)] == [one is asks for one in (hidden, weight)]
    with torch.no_grad():
        assert not linear_loss(hidden, weight, targets, lambda stats, rows: stats.lse.sum())[0].requires_grad


@pytest.mark.skipif(not logprobs.has_triton(), reason="no triton")
@pytest.mark.parametrize(("rows", "columns", "k"), [(3, 37, 1), (5, 1023, 2), (2, 4097, 3)])
def test_triton_reads_and_writes_only_its_own_bytes(rows, columns, k):
    from kernels.device import logprobs_triton

    guard = 64
    generator = torch.Generator().manual_seed(1)
    buffer = torch.full((rows, guard + columns + guard), float("nan"), device=DEVICE)
    buffer[:, guard:-guard] = torch.randn(rows, columns, generator=generator).to(DEVICE)
    logits = buffer[:, guard:-guard]
    around = torch.full((rows + 2, k), 2**40, dtype=torch.int64, device=DEVICE)  # a target far outside of any memory
    targets = around[1:-1]
    targets[:] = torch.randint(0, columns, (rows, k), generator=generator).to(DEVICE)
    expected = reference(logits, torch.eye(columns, device=DEVICE), targets)
    found = TokenStats(*logprobs_triton.statistics(logits, targets, Settings()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    upstream = TokenStats(*(torch.ones(shape, device=DEVICE) for shape in ((rows, k), (rows,), (rows,))))
    logprobs_triton.gradient(logits, targets, found.lse, found.entropy, upstream, Settings())
    assert torch.isfinite(logits).all()
    assert buffer[:, :guard].isnan().all() and buffer[:, -guard:].isnan().all()


@pytest.mark.parametrize("passes", PASSES)
def test_nan_and_infinity_are_not_hidden(passes):
    hidden, weight, targets, _ = case(4, 3, 50, dtype=torch.float32)
    hidden[2] = float("nan")
    stats = linear_logprobs(hidden, weight, targets.abs() % 50, Settings(passes=passes))
    assert [bool(one) for one in stats.lse.isnan()] == [False, False, True, False]
    assert [bool(one) for one in stats.selected.isnan()] == [False, False, True, False]


def test_sums_repeat_to_the_bit():
    hidden, weight, targets, upstream = case(40, 16, 300, dtype=torch.float32)
    runs = [differentiated(chunked, hidden, weight, targets, upstream, chunk_rows=7) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


class LargestResult(TorchDispatchMode):
    """Elements of the largest tensor that any operation gives back."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        sizes = [one.numel() for one in tree_leaves(found) if isinstance(one, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return found


@pytest.mark.parametrize("entropy", [False, True])
def test_no_tensor_is_larger_than_a_chunk_of_logits(entropy):
    rows, width, columns, chunk = 512, 4, 3000, 32
    hidden, weight, targets, _ = case(rows, width, columns, dtype=torch.float32)
    leaves = [one.requires_grad_() for one in (hidden, weight)]
    how = Settings(chunk_rows=chunk, entropy=entropy, passes="torch")
    with LargestResult() as seen:
        linear_loss(*leaves, targets, lambda stats, rows: stats.lse.sum(), how)[0].backward()
        sum(one.sum() for one in linear_logprobs(*leaves, targets, how)).backward()
    assert chunk * columns <= seen.elements <= max(chunk * columns, weight.numel())
    with LargestResult() as plain:
        reference(hidden, weight, targets)
    assert plain.elements == rows * columns


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": torch.zeros(3, 5)},
        {"targets": torch.zeros(4, dtype=torch.int64)},
        {"targets": torch.zeros(3, dtype=torch.int32)},
        {"weight": torch.zeros(7, 4, dtype=torch.float64)},
        {"targets": torch.zeros(3, 1, 1, dtype=torch.int64)},
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(change):
    given = {"hidden": torch.zeros(3, 4), "weight": torch.zeros(7, 4), "targets": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(UnusableShapes, match="hidden"):
        linear_logprobs(*(given | change).values())


def test_autocast_casts_both_factors_as_a_linear_layer_does():
    hidden, weight, targets, _ = case(6, 8, 40, dtype=torch.float32)
    weight.requires_grad_()
    with torch.autocast(DEVICE, torch.bfloat16):
        stats = linear_logprobs(hidden, weight, targets)
        logits = torch.nn.functional.linear(hidden, weight).float()
    torch.testing.assert_close(stats.lse, logits.logsumexp(-1))
    stats.lse.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_the_module_loads_and_works_without_triton():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from importlib import util; found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'triton' else found(name, *rest)\n"
        "from kernels.device.logprobs import has_triton, linear_logprobs\n"
        "from kernels.device.losses import cross_entropy\n"
        "assert not has_triton()\n"
        "targets = torch.zeros(2, dtype=torch.int64)\n"
        "print(float(linear_logprobs(torch.zeros(2, 3), torch.zeros(5, 3), targets).lse[0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1.6094379)  # ln 5
