"""Differences between trainings, paired by seed and by document, and what may be said of them.

Two intervals of a difference, for two things that could have come out otherwise: the seed (which documents are read in
which order, initial weights), by Student's t over the seeds' differences; and the held-out documents, by a bootstrap
over them of the seeds' mean difference. A variant is called better or worse only where both leave 0 out.
"""

import math
from collections.abc import Sequence

import numpy as np

from models.evaluation.intervals import Estimate

# two-sided 95% quantiles of Student's t by degrees of freedom (Fisher and Yates 1938, table III)
# fmt: off
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)
# fmt: on
BETTER, WORSE, EQUAL = "better", "worse", "no difference shown"


def t_mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values with Student's 95% interval; of one value it has no ends (infinite)."""
    if not values:
        raise ValueError("need at least one value")
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Estimate(mean, -math.inf, math.inf, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = T_95[min(n - 1, len(T_95)) - 1] * deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def bootstrap_difference(bits_nD: np.ndarray, other_nD: np.ndarray, bytes_D: np.ndarray, seed: int = 0) -> Estimate:
    """Bits per byte minus the other's, over documents resampled together; mean over n seeds (rows).

    bits_nD, other_nD: bits by seed and document. bytes_D: UTF-8 bytes of the scored part of each document.
    """
    difference_D = bits_nD.mean(0) - other_nD.mean(0)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(bytes_D), size=(1000, len(bytes_D)))
    low, high = np.quantile(difference_D[drawn].sum(1) / bytes_D[drawn].sum(1), [0.025, 0.975])
    return Estimate(float(difference_D.sum() / bytes_D.sum()), float(low), float(high), len(bytes_D))


def verdict(by_seed: Estimate, by_document: Estimate) -> str:
    """What the two intervals of a difference in bits per byte allow to say; less is better."""
    if max(by_seed.high, by_document.high) < 0:
        return BETTER
    return WORSE if min(by_seed.low, by_document.low) > 0 else EQUAL
