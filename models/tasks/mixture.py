"""A mixture of problems over families and levels, in stated proportions, each problem once.

Shares become whole numbers by the largest-remainder method. A level that runs out of problems passes what is
missing to the family's next level; what the hardest level cannot give either is reported as a shortfall, never made
up elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.config import InputError
from models.tasks.families import LEVELS, Problem, generate


@dataclass(frozen=True)
class Mixture:
    """Distinct problems in the order family, level; `shortfall` counts what each family could not give."""

    problems: tuple[Problem, ...]
    shortfall: dict[str, int]


def zipf_shares(n: int, exponent: float) -> list[float]:
    """Shares proportional to rank^-exponent for ranks 1..n, summing to 1. Exponent 0 is uniform."""
    weights = [rank**-exponent for rank in range(1, n + 1)]
    return [weight / sum(weights) for weight in weights]


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to total, in proportion to shares (largest remainder; the earlier one wins a tie)."""
    if not shares or min(shares) < 0 or sum(shares) <= 0:
        raise InputError(f"shares must be non-negative and not all zero: {list(shares)}")
    exact = [total * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda place: (counts[place] - exact[place], place))
    for place in by_remainder[: total - sum(counts)]:
        counts[place] += 1
    return counts


def draw(
    families: Sequence[str],
    total: int,
    *,
    zipf: float,
    level_shares: Sequence[float],
    seed: int,
    roles: tuple[str, ...],
    exclude: frozenset[str] = frozenset(),
) -> Mixture:
    """`total` problems of the given roles; the first family is the most frequent one (share of rank r ∝ r^-zipf).

    Problems whose id is in `exclude` are never drawn. InputError when shares or families cannot be used.
    """
    if len(level_shares) != len(LEVELS) or len(set(families)) != len(families):
        raise InputError(f"need {len(LEVELS)} level shares and distinct families, got {level_shares} and {families}")
    taken: dict[str, Problem] = {}
    shortfall: dict[str, int] = {}
    for family, count in zip(families, apportion(total, zipf_shares(len(families), zipf)), strict=True):
        missing = 0
        for level, wanted in zip(LEVELS, apportion(count, level_shares), strict=True):
            missing += wanted
            if not missing:
                continue
            known = exclude | taken.keys()
            fresh = generate(family, missing, seed, level, roles=roles, exclude=known, allow_fewer=True)
            taken.update((problem.problem_id, problem) for problem in fresh)
            missing -= len(fresh)
        if missing:
            shortfall[family] = missing
    return Mixture(tuple(taken.values()), shortfall)
