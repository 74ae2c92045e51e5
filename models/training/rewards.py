"""Makes the reward of a completion, in named parts: the verifier's verdict, or the coin of the control arm.

`true`: 1 when the completion ended by itself and its final answer is the problem's (models/tasks/verify.py), else 0. A
completion that was cut off at the length limit earns nothing, so that ending is learnt together with being right.
`random`: a fair coin that sees nothing of the completion. It runs through the same code as `true`, so any gain it makes
is a gain of the machinery and not of the reward; some published gains vanish against it (Shao et al. 2025,
"Spurious Rewards").
"""

from dataclasses import dataclass
from typing import Literal

from models.config import InputError
from models.seeds import derive
from models.tasks.verify import verify

RewardKind = Literal["true", "random"]
KINDS = ("true", "random")


@dataclass(frozen=True)
class Reward:
    """total: what the policy is trained on. parts: what it is made of, by name, for the record."""

    total: float
    parts: dict[str, float]


def reward_of(kind: str, *, answer: str, completion: str, ended: bool, seed: int) -> Reward:
    """The reward of one completion; `seed` decides the coin of the control arm and nothing else."""
    if kind == "true":
        right = verify(answer, completion)
        return Reward(right * float(ended), {"right": right, "ended": float(ended)})
    if kind == "random":
        coin = float(derive(seed, "coin") & 1)
        return Reward(coin, {"coin": coin, "ended": float(ended)})
    raise InputError(f"unknown reward {kind!r}; one of {', '.join(KINDS)}")
