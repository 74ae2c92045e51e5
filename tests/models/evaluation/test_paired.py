"""Intervals of differences cover what they must, and a verdict needs both of them."""

import math

import numpy as np
import pytest

from models.evaluation.intervals import Estimate
from models.evaluation.paired import BETTER, EQUAL, WORSE, bootstrap_difference, t_mean, verdict


def test_students_interval_by_hand():
    found = t_mean([1.0, 2.0, 3.0])
    half = 4.303 * 1.0 / math.sqrt(3)
    assert (found.value, found.n) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_students_interval_covers_the_mean_in_95_of_100_draws(n):
    rng = np.random.default_rng(0)
    found = [t_mean(draw.tolist()) for draw in rng.normal(7.0, 3.0, size=(2000, n))]
    covered = sum(one.low <= 7.0 <= one.high for one in found) / len(found)
    assert 0.935 <= covered <= 0.965


def test_one_training_has_no_interval():
    assert (t_mean([1.0]).low, t_mean([1.0]).high) == (-math.inf, math.inf)


def test_the_bootstrap_pairs_documents():
    """A difference that is the same on every document has no width, however much documents differ."""
    bytes_D = np.array([100.0, 200.0, 50.0, 400.0])
    other_nD = np.array([[300.0, 100.0, 70.0, 900.0], [310.0, 110.0, 75.0, 880.0]])
    found = bootstrap_difference(other_nD - 0.25 * bytes_D, other_nD, bytes_D)
    assert (found.value, found.low, found.high) == pytest.approx((-0.25, -0.25, -0.25))
    assert found.n == 4


def test_a_verdict_needs_both_intervals():
    below, above, around = Estimate(-1, -2, -0.5, 5), Estimate(1, 0.5, 2, 5), Estimate(0, -1, 1, 5)
    assert verdict(below, below) == BETTER and verdict(above, above) == WORSE
    for pair in ((below, around), (around, below), (above, around), (around, around), (below, above)):
        assert verdict(*pair) == EQUAL
