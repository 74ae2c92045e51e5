"""Whole losses: gradients by hand, one gradient however a step is cut, exact masks, and on-policy identities."""

import pytest
import torch

from models.objectives.algorithms import ALGORITHMS, UnknownAlgorithm, algorithm, policy_loss
from models.objectives.normalisers import BatchTotals

NAMES = sorted(ALGORITHMS)


def batch(seed: int = 0):
    """8 answers of lengths 1..8 after a 2-token prompt, in 12 positions; off-policy by a little."""
    generator = torch.Generator().manual_seed(seed)
    logits_BTV = torch.randn(8, 12, 5, generator=generator, dtype=torch.float64)
    ids_BT = torch.randint(5, (8, 12), generator=generator)
    position_T = torch.arange(12)
    mask_BT = ((position_T >= 2) & (position_T < 2 + torch.arange(1, 9)[:, None])).to(torch.float64)
    old_BT = chosen(logits_BTV, ids_BT) + 0.1 * torch.randn(8, 12, generator=generator, dtype=torch.float64)
    advantages_B = torch.randn(8, generator=generator, dtype=torch.float64)
    totals = BatchTotals(sequences=8, tokens=int(mask_BT.sum()), max_tokens=10)
    return logits_BTV, ids_BT, old_BT, advantages_B, mask_BT, totals


def chosen(logits_BTV: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits_BTV, dim=-1).gather(-1, ids_BT.unsqueeze(-1)).squeeze(-1)


def gradient(name: str, cuts: list[slice], seed: int = 0) -> torch.Tensor:
    logits_BTV, ids_BT, old_BT, advantages_B, mask_BT, totals = batch(seed)
    logits_BTV.requires_grad_(True)
    for cut in cuts:
        logprobs_BT = chosen(logits_BTV[cut], ids_BT[cut])
        policy_loss(ALGORITHMS[name], logprobs_BT, old_BT[cut], advantages_B[cut], mask_BT[cut], totals).loss.backward()
    assert logits_BTV.grad is not None
    return logits_BTV.grad


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_give_the_gradient_of_the_whole_step(name):
    whole = gradient(name, [slice(0, 8)])
    assert torch.allclose(whole, gradient(name, [slice(i, i + 2) for i in range(0, 8, 2)]), atol=1e-15)
    assert torch.allclose(whole, gradient(name, [slice(0, 1), slice(1, 8)]), atol=1e-15)


def test_a_token_mean_per_micro_batch_would_depend_on_the_cut():
    """Why BNPO is not offered: dividing by the micro-batch's own token count gives other gradients for other cuts."""
    logits_BTV, ids_BT, old_BT, advantages_B, mask_BT, _ = batch()
    found = []
    for size in (8, 2):
        leaf = logits_BTV.clone().requires_grad_(True)
        for i in range(0, 8, size):
            cut = slice(i, i + size)
            own = BatchTotals(size, int(mask_BT[cut].sum()), 10)
            loss = policy_loss(
                ALGORITHMS["dapo"], chosen(leaf[cut], ids_BT[cut]), old_BT[cut], advantages_B[cut], mask_BT[cut], own
            ).loss
            (loss * size / 8).backward()
        assert leaf.grad is not None
        found.append(leaf.grad)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_only_sampled_tokens_have_gradient(name):
    *_, mask_BT, _ = batch()
    size_BT = gradient(name, [slice(0, 8)]).abs().sum(dim=-1)
    assert float(size_BT[mask_BT == 0].max()) == 0.0
    last = (2 + torch.arange(1, 9)) - 1
    if name != "gspo":  # GSPO's narrow clip silences whole answers of this off-policy batch
        assert (size_BT[torch.arange(8), last] > 0).float().mean() > 0.5, "the end token is trained"


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("dr_grpo", lambda length: 1 / (8 * 10)),
        ("grpo", lambda length: 1 / (8 * length)),
        ("dapo", lambda length: 1 / 36),
        ("rloo", lambda length: 1 / 8),
        ("gspo", lambda length: 1 / (8 * length)),
    ],
)
def test_on_policy_gradient_equals_the_one_by_hand(name, weight):
    """With ratio 1: dL/dlogits = −A · weight · (onehot − softmax) on sampled tokens."""
    logits_BTV, ids_BT, _, advantages_B, mask_BT, totals = batch()
    old_BT = chosen(logits_BTV, ids_BT)
    leaf = logits_BTV.clone().requires_grad_(True)
    found = policy_loss(ALGORITHMS[name], chosen(leaf, ids_BT), old_BT, advantages_B, mask_BT, totals)
    found.loss.backward()
    weights_B = torch.tensor([weight(length) for length in range(1, 9)], dtype=torch.float64)
    score_BTV = torch.nn.functional.one_hot(ids_BT, 5) - torch.softmax(logits_BTV, dim=-1)
    by_hand_BTV = -(advantages_B * weights_B)[:, None, None] * score_BTV * mask_BT[..., None]
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad, by_hand_BTV, atol=1e-15)
    assert found.clipped_tokens == 0


@pytest.mark.parametrize("name", ["dr_grpo", "grpo"])
def test_a_loss_of_zero_still_has_a_gradient(name):
    """Equal lengths, ratio 1, centred advantages: the loss is 0 and learning goes on."""
    logits_BTV, ids_BT, _, _, _, _ = batch()
    mask_BT = torch.ones(8, 12, dtype=torch.float64)
    rewards_NG = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 1]], dtype=torch.float64)
    advantages_B = ALGORITHMS[name].advantage(rewards_NG).flatten()
    leaf = logits_BTV.clone().requires_grad_(True)
    old_BT = chosen(logits_BTV, ids_BT)
    loss = policy_loss(
        ALGORITHMS[name], chosen(leaf, ids_BT), old_BT, advantages_B, mask_BT, BatchTotals(8, 96, 12)
    ).loss
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-15)
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) > 1e-3


def test_kl_to_an_equal_reference_is_zero_and_pulls_towards_another():
    logits_BTV, ids_BT, _, _, mask_BT, totals = batch()
    leaf = logits_BTV.clone().requires_grad_(True)
    logprobs_BT = chosen(leaf, ids_BT)
    same = logprobs_BT.detach()
    zeros_B = torch.zeros(8)
    rule = ALGORITHMS["dr_grpo"]
    at_home = policy_loss(rule, logprobs_BT, same, zeros_B, mask_BT, totals, reference_logprobs_BT=same, beta=0.1)
    assert (at_home.loss.item(), at_home.kl_sum) == (0.0, 0.0)
    away = policy_loss(rule, logprobs_BT, same, zeros_B, mask_BT, totals, reference_logprobs_BT=same + 0.5, beta=0.1)
    assert away.kl_sum == pytest.approx(0.148721 * 36, rel=1e-5)
    away.loss.backward()
    assert leaf.grad is not None
    nudged = chosen(logits_BTV - leaf.grad, ids_BT)
    assert bool((nudged > same)[mask_BT > 0].all()), "the reference likes every sampled token more, so they rise"


def test_an_unknown_name_is_refused_with_the_names():
    with pytest.raises(UnknownAlgorithm, match="dr_grpo"):
        algorithm("ppo")
