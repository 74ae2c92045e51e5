"""Intervals against published values and against their own promise: 95% coverage."""

import math

import numpy as np
import pytest

from models.evaluation.intervals import bootstrap_mean, wilson


def test_wilson_known_values():
    """Newcombe (1998), table I: 81 of 263 gives .2553 to .3662; 15 of 148 .0624 to .1605; 0 of 20 0 to .1611."""
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = wilson(successes, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert found.value == successes / n


def test_wilson_mirrors_and_keeps_its_width_at_the_ends():
    all_right, all_wrong = wilson(20, 20), wilson(0, 20)
    assert all_right.low == pytest.approx(1 - all_wrong.high)
    assert (all_right.high, all_wrong.low) == (1.0, 0.0)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_wilson_covers_the_truth_about_95_times_in_100(p):
    """Exact coverage by summing the binomial, n = 60."""
    n = 60
    covered = sum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if wilson(k, n).low <= p <= wilson(k, n).high
    )
    assert 0.93 < covered < 0.97


def test_bootstrap_width_is_that_of_the_standard_error():
    values = np.random.default_rng(3).random(400).tolist()
    found = bootstrap_mean(values, seed=1)
    expected = 2 * 1.96 * np.std(values) / math.sqrt(400)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)
    assert found.low < found.value < found.high
    assert bootstrap_mean(values, seed=1) == found


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="n >= 1"):
        wilson(0, 0)
