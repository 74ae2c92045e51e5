"""Makes a policy-gradient loss out of one advantage, one ratio, one clip and one normaliser, chosen by name.

| name | advantage | ratio | clip | normaliser | source |
|---|---|---|---|---|---|
| dr_grpo | r − mean | token | .2 / .2 | answers · Lmax | Liu et al. 2025 |
| grpo | (r − mean) / std | token | .2 / .2 | answer's mean, then mean | Shao et al. 2024, as TRL and verl |
| dapo | (r − mean) / std | token | .2 / .28 | all tokens of the step | Yu et al. 2025 |
| rloo | r − mean of the others | token | .2 / .2 | sum per answer, then mean | Ahmadian et al. 2024 |
| gspo | (r − mean) / std | answer^(1/length) | 3e-4 / 4e-4 | answer's mean, then mean | Zheng et al. 2025 |
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.objectives import advantages, kl, normalisers, ratios
from models.objectives.normalisers import BatchTotals

AdvantageRule = Callable[[torch.Tensor], torch.Tensor]
RatioRule = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
NormaliserRule = Callable[[torch.Tensor, BatchTotals], torch.Tensor]


class UnknownAlgorithm(ValueError):
    """The recipe names a policy-gradient algorithm that is not in ALGORITHMS."""


@dataclass(frozen=True)
class Algorithm:
    """One row of the table above. clip_low and clip_high: how far the ratio may fall below or rise above 1."""

    name: str
    advantage: AdvantageRule
    log_ratio: RatioRule
    clip_low: float
    clip_high: float
    normaliser: NormaliserRule


ALGORITHMS = {
    rule.name: rule
    for rule in (
        Algorithm("dr_grpo", advantages.centred, ratios.token_log_ratio, 0.2, 0.2, normalisers.constant),
        Algorithm("grpo", advantages.standardised, ratios.token_log_ratio, 0.2, 0.2, normalisers.sequence_mean),
        Algorithm("dapo", advantages.standardised, ratios.token_log_ratio, 0.2, 0.28, normalisers.token_mean),
        Algorithm("rloo", advantages.leave_one_out, ratios.token_log_ratio, 0.2, 0.2, normalisers.sequence_sum),
        Algorithm("gspo", advantages.standardised, ratios.sequence_log_ratio, 3e-4, 4e-4, normalisers.sequence_mean),
    )
}


@dataclass(frozen=True)
class PolicyLoss:
    """loss: scalar with gradient, this micro-batch's share. clipped_tokens: how many tokens the clip silenced.
    kl_sum: Σ k3 to the reference over the sampled tokens, nats (0 without a reference)."""

    loss: torch.Tensor
    clipped_tokens: int
    kl_sum: float


def algorithm(name: str) -> Algorithm:
    """The named rule; raises UnknownAlgorithm that lists the names."""
    if name not in ALGORITHMS:
        raise UnknownAlgorithm(f"unknown algorithm {name!r}; one of {', '.join(sorted(ALGORITHMS))}")
    return ALGORITHMS[name]


def policy_loss(
    rule: Algorithm,
    logprobs_BT: torch.Tensor,
    old_logprobs_BT: torch.Tensor,
    advantages_B: torch.Tensor,
    mask_BT: torch.Tensor,
    totals: BatchTotals,
    *,
    reference_logprobs_BT: torch.Tensor | None = None,
    beta: float = 0.0,
) -> PolicyLoss:
    """−Σ weight · (surrogate − β·k3). Summed over the micro-batches of a step it is that step's loss, however cut.

    logprobs_BT: log π of the sampled tokens under the trained policy (gradient flows here only); old_logprobs_BT: under
    the policy that sampled; mask_BT: float, 1 on sampled tokens. On the first update after sampling every ratio is 1,
    so with centred advantages the loss is near 0 while its gradient is not: a loss of 0 is no sign of a fault.
    """
    weights_BT = rule.normaliser(mask_BT, totals)
    log_ratio_BT = rule.log_ratio(logprobs_BT, old_logprobs_BT, mask_BT)
    surrogate = ratios.clipped_surrogate(log_ratio_BT, advantages_B, mask_BT, low=rule.clip_low, high=rule.clip_high)
    loss = -(weights_BT * surrogate.objective_BT).sum()
    kl_sum = 0.0
    if reference_logprobs_BT is not None:
        live_BT = mask_BT.bool()
        kl_BT = torch.where(live_BT, kl.k3(logprobs_BT, reference_logprobs_BT), torch.zeros_like(logprobs_BT))
        loss = loss + beta * (weights_BT * kl_BT).sum()
        kl_sum = float(kl_BT.detach().sum())
    return PolicyLoss(loss, int(surrogate.clipped_BT.sum()), kl_sum)
