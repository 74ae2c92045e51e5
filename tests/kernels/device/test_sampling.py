"""Draws from rows of logits are those of the plain function and of the CPU's engine, for any settings of the rows."""

import numpy as np
import pytest
import torch

from kernels.decode.draw import draw as drawn_on_cpu
from kernels.device import sampling, sampling_reference
from kernels.device.logprobs import has_triton
from tests.kernels.device.margins import with_margins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PASSES = ["torch", pytest.param("triton", marks=pytest.mark.skipif(not has_triton(), reason="no triton"))]


def settings(rows, seed):
    """A setting of every kind beside every other; uniform numbers."""
    random = np.random.default_rng(seed)
    made = (
        random.choice([0.0, 0.5, 1.0, 1.7], rows),
        random.choice([0, 1, 3, 40, 10**6], rows),
        random.choice([1.0, 0.9, 0.5, 1e-6], rows),
        random.choice([0.0, 0.05, 1.0], rows),
        random.random(rows),
    )
    return [torch.from_numpy(one).to(DEVICE) for one in made]


def logits_of(rows, columns, seed, levels=None):
    """levels: so many different values, so that there are ties."""
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 3
    return (made if levels is None else (made * levels / 12).round() * 12 / levels).to(DEVICE)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize(
    ("rows", "columns", "levels"), [(1, 1, None), (12, 7, None), (9, 301, None), (9, 301, 6), (2, 2500, 9)]
)
def test_tokens_and_log_probabilities_are_those_of_sorting(passes, rows, columns, levels):
    logits, given = logits_of(rows, columns, seed=columns, levels=levels), settings(rows, seed=rows)
    tokens, logprobs = sampling_reference.draw(logits.cpu(), *(one.cpu() for one in given))
    found = sampling.draw(logits, *given, passes=passes)
    assert torch.equal(found.tokens.cpu(), tokens)
    torch.testing.assert_close(found.logprobs.cpu(), logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("levels", [None, 5])
def test_they_are_those_of_the_engine_on_the_cpu(passes, levels):
    logits, given = logits_of(9, 320, seed=5, levels=levels), settings(9, seed=9)
    expected = drawn_on_cpu(logits.cpu().numpy().copy(), 320, *(one.cpu().numpy() for one in given))
    found = sampling.draw(logits, *given, passes=passes)
    assert found.tokens.tolist() == expected[0].tolist()
    for own, theirs in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(own.cpu().double(), torch.from_numpy(theirs).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("passes", PASSES)
def test_draws_follow_the_distribution_and_depend_on_no_other_row(passes):
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125], device=DEVICE).log().repeat(40, 1)
    uniforms = torch.arange(40, device=DEVICE).double() / 40
    same = [torch.ones(40, device=DEVICE), torch.zeros(40, device=DEVICE).long(), torch.ones(40, device=DEVICE)]
    found = sampling.draw(logits, *same, torch.zeros(40, device=DEVICE), uniforms, passes=passes)
    assert torch.bincount(found.tokens).tolist() == [20, 10, 5, 5]
    alone = sampling.draw(logits[7:8], *(one[7:8] for one in same), same[0][:1] * 0, uniforms[7:8], passes=passes)
    assert [one.tolist() for one in alone] == [one[7:8].tolist() for one in found]


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_row_that_is_no_number_draws_nothing_and_the_others_draw(passes, wrong):
    logits, given = logits_of(3, 9, seed=1), settings(3, seed=3)
    expected = sampling.draw(logits, *given, passes="torch").tokens
    logits[1, 4] = wrong
    found = sampling.draw(logits, *given, passes=passes)
    assert found.tokens.tolist() == [int(expected[0]), -1, int(expected[2])]
    assert found.logprobs.isnan().tolist() == [False, True, False]


@pytest.mark.skipif(not has_triton(), reason="no triton")
def test_triton_writes_only_its_own_bytes(monkeypatch):
    from kernels.device import sampling_triton

    guarded = with_margins(monkeypatch, sampling_triton.torch)
    sampling.draw(logits_of(3, 37, seed=2), *settings(3, seed=4), passes="triton")
    guarded.check(at_least=4)
