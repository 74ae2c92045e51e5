"""Losses on the linear log-prob primitive: none of them ever holds the N x V logits.

Policy losses (GRPO and its kin) take `selected` of `linear_logprobs` in place of log-probs that they gather themselves.
"""

import dataclasses

import torch.nn.functional as F
from torch import Tensor

from kernels.device.logprobs import DEFAULT, Settings, linear_logprobs, linear_loss
from kernels.device.logprobs_reference import TokenStats


def cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, z_loss: float = 0.0, settings: Settings = DEFAULT
) -> tuple[Tensor, TokenStats]:
    """Mean cross-entropy (nats) over the targets that are not ignored, and the statistics of all rows, detached.

    z_loss adds that multiple of their mean squared log partition function (PaLM, arXiv 2204.02311, section 5).
    """
    real_N = (targets_N != settings.ignore_index).float()
    count = real_N.sum().clamp(min=1)  # stays on the device

    def token_loss(stats: TokenStats, rows: slice) -> Tensor:
        value = -stats.selected.sum()
        return (value + z_loss * (stats.lse.square() * real_N[rows]).sum() if z_loss else value) / count

    return linear_loss(hidden_ND, weight_VD, targets_N, token_loss, settings)


def distillation(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    teacher_ids_NK: Tensor,
    teacher_probs_NK: Tensor,
    *,
    settings: Settings = DEFAULT,
) -> tuple[Tensor, TokenStats]:
    """Mean cross-entropy (nats) against a teacher's K kept tokens a position; its gradient is that of the forward KL.

    Probabilities need not sum to 1: what the teacher left out pulls on nothing. An id may be ignored.
    """

    def token_loss(stats: TokenStats, rows: slice) -> Tensor:
        return -(stats.selected * teacher_probs_NK[rows]).sum() / len(hidden_ND)

    return linear_loss(hidden_ND, weight_VD, teacher_ids_NK, token_loss, settings)


def dpo(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    answers_N: Tensor,
    reference_B: Tensor,
    *,
    beta: float,
    settings: Settings = DEFAULT,
) -> Tensor:
    """Direct preference optimisation (arXiv 2305.18290, eq. 7), the mean over pairs of answers.

    answers_N: which answer a row belongs to; answers 0, 2, … are preferred to 1, 3, …. reference_B: each answer's
    log-probability under the reference model.
    """
    stats = linear_logprobs(hidden_ND, weight_VD, targets_N, dataclasses.replace(settings, entropy=False))
    policy_B = stats.selected.new_zeros(len(reference_B)).index_add(0, answers_N, stats.selected)
    margin_P2 = (policy_B - reference_B).view(-1, 2)
    return -F.logsigmoid(beta * (margin_P2[:, 0] - margin_P2[:, 1])).mean()
