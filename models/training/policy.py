"""Makes the loss of one policy update out of scored rollouts, and the figures that tell whether to trust it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.device.logprobs import Settings, linear_logprobs
from models.nets.transformer import Transformer
from models.objectives.advantages import constant_groups
from models.objectives.algorithms import Algorithm, policy_loss
from models.objectives.normalisers import BatchTotals
from models.training.losses import Loss
from models.training.rollouts import Batch, Rollout, collate


class PolicyMismatch(RuntimeError):
    """The trainer's log-probabilities of fresh samples are not the sampler's: other weights, or other arithmetic."""


@dataclass(frozen=True)
class Scored:
    """Rollouts of whole groups with their advantages (B,), float64, and which rows carry signal (bool B)."""

    rollouts: list[Rollout]
    advantages_B: Tensor
    live_B: Tensor

    def part(self, index: int, parts: int) -> "Scored":
        """The index-th of `parts` equal pieces, in order."""
        size = len(self.rollouts) // parts
        cut = slice(index * size, (index + 1) * size)
        return Scored(self.rollouts[cut], self.advantages_B[cut], self.live_B[cut])


def score(rollouts: Sequence[Rollout], group_size: int, rule: Algorithm) -> Scored:
    """Advantages within each run of group_size rollouts. Groups of equal rewards are silent: exactly 0."""
    rewards_NG = torch.tensor([rollout.reward.total for rollout in rollouts], dtype=torch.float64).view(-1, group_size)
    advantages_NG = rule.advantage(rewards_NG)
    live_NG = (~constant_groups(rewards_NG))[:, None].expand_as(advantages_NG)
    return Scored(list(rollouts), advantages_NG.flatten(), live_NG.flatten())


def sampled_logprobs(model: Transformer, batch: Batch, head: str = "materialised") -> tuple[Tensor, Tensor]:
    """log π of each sampled token, (B, C) and 0 outside the mask, and the entropies there (flat, nats, no gradient).

    Only the states that predict a sampled token are projected to the vocabulary; with head "chunked" few at a time.
    """
    live_BC = batch.mask_BC.bool()
    states_SD = model.hidden(batch.ids_RT, branches_BT=batch.branches_RT).flatten(0, 1)
    if head == "chunked":
        states_ND, targets_N = states_SD[batch.sources_BC[live_BC]], batch.targets_BC[live_BC]
        stats = linear_logprobs(states_ND, model.head.weight, targets_N, Settings(softcap=model.config.softcap))
        return torch.zeros_like(batch.mask_BC).masked_scatter(live_BC, stats.selected), stats.entropy.detach()
    logprobs_NV = model.logits(states_SD[batch.sources_BC[live_BC]]).log_softmax(-1)
    chosen_N = logprobs_NV.gather(-1, batch.targets_BC[live_BC][:, None])[:, 0]
    settled_NV = logprobs_NV.detach()
    entropy_N = -(settled_NV.exp() * settled_NV).sum(-1)
    return torch.zeros_like(batch.mask_BC).masked_scatter(live_BC, chosen_N), entropy_N


def step_loss(
    model: Transformer,
    scored: Scored,
    rule: Algorithm,
    *,
    max_new_tokens: int,
    max_logprob_gap: float | None,
    reference: Transformer | None = None,
    beta: float = 0.0,
    head: str = "materialised",
) -> Loss:
    """The policy loss of these rollouts, with its figures.

    Rows of silent groups are left out of the arithmetic, for their gradient is exactly 0 (not so with a reference,
    whose KL speaks of every row); the weights use the totals of all rows, so leaving them out changes nothing. When
    nothing carries signal the first row stands in, with advantage 0, so that the checks below still run.

    max_logprob_gap: limit in nats on the mean |trainer − sampler| per token, for rollouts of the very policy that is
    being trained; above it PolicyMismatch is raised. None for rollouts that an earlier update has already been made
    from. Figures: clip_fraction (of tokens), entropy (nats per token), logprob_gap_mean, logprob_gap_max, kl (nats).
    """
    totals = BatchTotals(len(scored.rollouts), sum(sum(r.mask) for r in scored.rollouts), max_new_tokens)
    everyone = range(len(scored.rollouts))
    rows = list(everyone) if reference is not None else [i for i in everyone if bool(scored.live_B[i])]
    rows = rows or [0]
    device = model.embedding.weight.device
    batch = collate([scored.rollouts[i] for i in rows], device)
    logprobs_BC, entropy_N = sampled_logprobs(model, batch, head)
    reference_BC = None
    if reference is not None:
        with torch.no_grad():
            reference_BC, _ = sampled_logprobs(reference, batch, head)
    found = policy_loss(
        rule,
        logprobs_BC,
        batch.old_logprobs_BC,
        scored.advantages_B[rows].to(device),
        batch.mask_BC,
        totals,
        reference_logprobs_BT=reference_BC,
        beta=beta,
    )
    tokens = entropy_N.numel()
    gaps_N = (logprobs_BC.detach() - batch.old_logprobs_BC).abs()[batch.mask_BC.bool()]
    gap = float(gaps_N.mean())
    if max_logprob_gap is not None and not gap <= max_logprob_gap:
        raise PolicyMismatch(
            f"trainer and sampler differ by {gap:.3g} nats per token on fresh samples (limit {max_logprob_gap:g}): "
            "they do not run the same weights or the same arithmetic"
        )
    metrics: dict[str, Tensor | float] = {
        "clip_fraction": found.clipped_tokens / tokens,
        "entropy": float(entropy_N.mean()),
        "logprob_gap_mean": gap,
        "logprob_gap_max": float(gaps_N.max()),
        "kl": found.kl_sum / tokens,
    }
    return Loss(found.loss, metrics, tokens=batch.ids_RT.numel())
