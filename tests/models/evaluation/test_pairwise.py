"""Ratings are the maximum likelihood's, their intervals hold the truth as often as they say."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.pairwise import NoVotes, Vote, fit, rate


def votes(a: str, b: str, won: int, lost: int, tied: int = 0) -> list[Vote]:
    return [Vote(a, b, "a")] * won + [Vote(a, b, "b")] * lost + [Vote(a, b, "tie")] * tied


@pytest.mark.parametrize(("won", "lost", "tied"), [(3, 1, 0), (70, 30, 0), (5, 5, 0), (60, 20, 20), (1, 8, 1)])
def test_two_players_differ_by_the_log_odds(won, lost, tied):
    ratings = rate(votes("x", "y", won, lost, tied), prior=1e-9)
    found = ratings.difference("x", "y")
    wins, n = won + tied / 2, won + lost + tied
    assert found.value == pytest.approx(math.log(wins / (n - wins)), abs=1e-6)
    assert found.high - found.value == pytest.approx(1.96 / math.sqrt(n * wins / n * (1 - wins / n)), rel=1e-3)
    assert ratings.preferred("x", "y") == pytest.approx(wins / n, abs=1e-6) and found.n == n


def test_a_cycle_of_equal_wins_has_equal_players():
    ratings = rate([*votes("x", "y", 4, 1), *votes("y", "z", 4, 1), *votes("z", "x", 4, 1)])
    assert ratings.strengths == pytest.approx(0, abs=1e-9)


def test_strengths_solve_the_likelihood_equations():
    """At the maximum every player has won as often as the strengths expect (Ford 1957), the prior's games included."""
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 9, (6, 6)) * (1 - np.eye(6))
    strengths, _ = fit(wins, prior=1e-6)
    expected = 1 / (1 + np.exp(strengths[None] - strengths[:, None]))
    assert ((wins + wins.T) * expected).sum(1) == pytest.approx(wins.sum(1), abs=1e-4)


def test_strengths_are_those_of_the_majorising_algorithm():
    """Hunter 2004: p_i <- W_i / sum_j n_ij / (p_i + p_j), another road to the same maximum."""
    rng = np.random.default_rng(1)
    wins = rng.integers(1, 12, (5, 5)) * (1 - np.eye(5))
    games, power = wins + wins.T, np.ones(5)
    for _ in range(5000):
        power = wins.sum(1) / (games / (power[:, None] + power[None])).sum(1)
    assert fit(wins, prior=1e-9)[0] == pytest.approx(np.log(power) - np.log(power).mean(), abs=1e-6)


def test_who_always_wins_has_a_finite_strength_and_a_wide_interval():
    few, many = (rate(votes("x", "y", n, 0)).difference("x", "y") for n in (3, 300))
    assert 0 < few.value < many.value < 20
    assert few.low < 0 < many.low and few.high - few.low > 4


def test_the_average_is_zero_and_a_thousand():
    ratings = rate([*votes("x", "y", 7, 2), *votes("y", "z", 5, 3)])
    assert sum(ratings.strength(player).value for player in "xyz") == pytest.approx(0, abs=1e-9)
    assert sum(ratings.elo(player).value for player in "xyz") == pytest.approx(3000)
    tenfold = rate(votes("x", "y", 1000, 100), prior=1e-9)
    assert tenfold.elo("x").value - tenfold.elo("y").value == pytest.approx(400)


def test_players_that_no_votes_connect_are_told():
    ratings = rate([*votes("x", "y", 3, 1), *votes("p", "q", 1, 1), *votes("y", "z", 1, 0)])
    assert ratings.components == (("x", "y", "z"), ("p", "q")) and not ratings.is_connected
    assert rate([*votes("x", "y", 3, 1), *votes("y", "z", 1, 0)]).is_connected
    across = ratings.difference("x", "p")
    assert across.low < 0 < across.high


@given(st.permutations(votes("x", "y", 3, 1, 1) + votes("y", "z", 2, 2) + votes("z", "x", 0, 2)))
def test_the_order_of_votes_and_sides_does_not_matter(shuffled):
    turned = {"a": "b", "b": "a", "tie": "tie"}
    ratings = rate(shuffled)
    other = rate(Vote(vote.b, vote.a, turned[vote.outcome]) for vote in reversed(shuffled))
    assert ratings.players == other.players
    assert ratings.strengths.tobytes() == rate(sorted(shuffled, key=str)).strengths.tobytes()
    assert ratings.strengths == pytest.approx(other.strengths, abs=1e-9)


def test_nothing_to_rate_from_is_refused():
    with pytest.raises(NoVotes):
        rate([])
    with pytest.raises(ValueError, match="two players"):
        Vote("x", "x", "a")
    with pytest.raises(ValueError, match="prior"):
        fit(np.zeros((2, 2)), prior=0.0)


TRUTH = np.array([-1.2, -0.5, 0.0, 0.3, 1.4])


def simulated(rng: np.random.Generator, each: int, tied: float) -> np.ndarray:
    """Wins of `each` votes a pair by players of known strengths; the share `tied` of the votes is a tie."""
    wins = np.zeros((len(TRUTH), len(TRUTH)))
    for i, j in combinations(range(len(TRUTH)), 2):
        ties = rng.binomial(each, tied)
        won = rng.binomial(each - ties, 1 / (1 + math.exp(TRUTH[j] - TRUTH[i])))
        wins[i, j] += won + ties / 2
        wins[j, i] += each - won - ties / 2
    return wins


@pytest.mark.parametrize("each", [10, 60])
def test_intervals_hold_the_truth_as_often_as_they_say(each):
    """Coverage of the 95% intervals of all differences, over 5 seeds of 200 elections each."""
    shares = []
    for seed in range(5):
        rng, held = np.random.default_rng(seed), []
        for _ in range(200):
            strengths, covariance = fit(simulated(rng, each, 0.0))
            for i, j in combinations(range(len(TRUTH)), 2):
                half = 1.96 * math.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])
                held.append(abs(strengths[i] - strengths[j] - TRUTH[i] + TRUTH[j]) <= half)
        shares.append(float(np.mean(held)))
    print(f"{each} votes a pair: coverage {min(shares):.3f} to {max(shares):.3f} over seeds, 0.95 is meant")
    assert all(0.93 <= share <= 0.97 for share in shares)


def test_ties_never_make_an_interval_too_narrow():
    """Ties draw strengths together, so the truth is taken from very many votes; the interval must hold it."""
    truth, _ = fit(simulated(np.random.default_rng(9), 200_000, 0.3))
    rng, held = np.random.default_rng(3), []
    for _ in range(300):
        strengths, covariance = fit(simulated(rng, 40, 0.3))
        half = 1.96 * np.sqrt(np.diag(covariance))
        held.append(np.abs(strengths - truth) <= half)
    print(f"a third tied: coverage {np.mean(held):.3f}, at least 0.95 is meant")
    assert np.mean(held) >= 0.95
