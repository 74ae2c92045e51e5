"""Every loss on the primitive is the one that materialised logits give, with its gradient."""

import pytest
import torch
import torch.nn.functional as F

from kernels.device.logprobs import Settings, linear_logprobs
from kernels.device.logprobs_reference import IGNORED
from kernels.device.losses import cross_entropy, distillation, dpo
from models.objectives.algorithms import algorithm, policy_loss
from models.objectives.normalisers import BatchTotals

ROWS, WIDTH, COLUMNS = 24, 9, 61
HOW = Settings(chunk_rows=5)


@pytest.fixture
def factors():
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(ROWS, WIDTH).requires_grad_(), draw(COLUMNS, WIDTH).requires_grad_()


@pytest.fixture
def targets():
    found = torch.randint(0, COLUMNS, (ROWS,), generator=torch.Generator().manual_seed(4))
    found[[0, 7, 23]] = IGNORED
    return found


def assert_equal_with_gradients(ours, plain, factors):
    torch.testing.assert_close(ours, plain)
    for one, other in zip(torch.autograd.grad(ours, factors), torch.autograd.grad(plain, factors), strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_cross_entropy_with_z_loss(factors, targets, z_loss):
    logits = factors[0] @ factors[1].T
    real = targets != IGNORED
    plain = F.cross_entropy(logits, targets) + z_loss * logits.logsumexp(-1)[real].square().mean()
    ours, stats = cross_entropy(*factors, targets, z_loss=z_loss, settings=HOW)
    assert_equal_with_gradients(ours, plain, factors)
    torch.testing.assert_close(-stats.selected.sum() / real.sum(), F.cross_entropy(logits, targets))


def test_cross_entropy_of_no_target_is_zero_without_gradient(factors):
    value, _ = cross_entropy(*factors, torch.full((ROWS,), IGNORED), z_loss=0.1, settings=HOW)
    assert value == 0
    assert all(not one.any() for one in torch.autograd.grad(value, factors))


def test_distillation_has_the_gradient_of_the_forward_divergence(factors):
    teacher = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(5), dtype=torch.float64).softmax(-1)
    everything = torch.arange(COLUMNS).expand(ROWS, -1)
    ours, _ = distillation(*factors, everything, teacher, settings=HOW)
    student = (factors[0] @ factors[1].T).log_softmax(-1)
    divergence = F.kl_div(student, teacher, reduction="batchmean")
    entropy = -(teacher * teacher.log()).sum(-1).mean()
    assert_equal_with_gradients(ours - entropy, divergence, factors)


def test_distillation_on_the_tokens_that_a_teacher_kept(factors):
    teacher = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(5), dtype=torch.float64).softmax(-1)
    kept = teacher.topk(4)
    ours, _ = distillation(*factors, kept.indices, kept.values, settings=HOW)
    student = (factors[0] @ factors[1].T).log_softmax(-1)
    plain = -(student.gather(-1, kept.indices) * kept.values).sum(-1).mean()
    assert_equal_with_gradients(ours, plain, factors)


def test_preference_optimisation(factors, targets):
    answers = torch.arange(ROWS) // 6
    reference = torch.tensor([-20.0, -21.0, -19.0, -18.0], dtype=torch.float64)
    logprobs = (factors[0] @ factors[1].T).log_softmax(-1)
    chosen = logprobs.gather(-1, targets.clamp(min=0)[:, None])[:, 0] * (targets != IGNORED)
    policy = chosen.view(4, 6).sum(-1) - reference
    plain = -F.logsigmoid(0.1 * (policy[0::2] - policy[1::2])).mean()
    assert_equal_with_gradients(dpo(*factors, targets, answers, reference, beta=0.1, settings=HOW), plain, factors)


@pytest.mark.parametrize("rule", ["grpo", "dr_grpo", "dapo", "gspo"])
def test_policy_losses_take_the_selected_log_probs(factors, targets, rule):
    rows, tokens = 4, ROWS // 4
    mask = (targets != IGNORED).view(rows, tokens).double()
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5], dtype=torch.float64)
    logprobs = (factors[0] @ factors[1].T).log_softmax(-1)
    plain = logprobs.gather(-1, targets.clamp(min=0)[:, None]).view(rows, tokens) * mask
    old = plain.detach() + 0.1 * torch.sin(torch.arange(ROWS, dtype=torch.float64)).view(rows, tokens) * mask
    totals = BatchTotals(rows, int(mask.sum()), tokens)
    ours = linear_logprobs(*factors, targets, HOW).selected.view(rows, tokens)
    losses = [policy_loss(algorithm(rule), one, old, advantages, mask, totals).loss for one in (ours, plain)]
    assert_equal_with_gradients(*losses, factors)
