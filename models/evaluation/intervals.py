"""Makes 95% intervals for measured shares and means."""

import math
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959963984540054  # two-sided 95% quantile of the standard normal


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95% interval; n counts the independent units it was measured on."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Estimate:
    """Share successes/n with Wilson's score interval (1927): honest at 0 and n, where the normal one has no width."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(share, low, high, n)


def bootstrap_mean(values: list[float], seed: int = 0, resamples: int = 1000) -> Estimate:
    """Mean with a percentile bootstrap over the units (Efron 1979).

    Give one value per independent unit (a problem's average over its k samples), never one per sample.
    """
    if not values:
        raise ValueError("need at least one value")
    data_n = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means_r = data_n[rng.integers(0, len(data_n), size=(resamples, len(data_n)))].mean(axis=1)
    low, high = np.quantile(means_r, [0.025, 0.975])
    return Estimate(float(data_n.mean()), float(low), float(high), len(data_n))


def bootstrap_ratio(
    numerators: list[float], denominators: list[float], seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Σ numerators / Σ denominators over units (bits and bytes of documents), with a percentile bootstrap over them."""
    if not numerators or len(numerators) != len(denominators):
        raise ValueError("need at least one unit, and as many denominators as numerators")
    over_n, under_n = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    rng = np.random.default_rng(seed)
    drawn_rn = rng.integers(0, len(over_n), size=(resamples, len(over_n)))
    ratios_r = over_n[drawn_rn].sum(axis=1) / under_n[drawn_rn].sum(axis=1)
    low, high = np.quantile(ratios_r, [0.025, 0.975])
    return Estimate(float(over_n.sum() / under_n.sum()), float(low), float(high), len(over_n))
