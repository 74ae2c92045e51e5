"""Makes ratings of models from votes on pairs of answers: Bradley-Terry by maximum likelihood, with intervals.

P(a is preferred to b) = 1 / (1 + exp(s_b - s_a)), strengths s in natural log-odds (Bradley and Terry 1952). A tie is
half a win for either side (so is "both are bad": it says nothing about which is better). A tied vote then carries a
whole vote's information, so intervals are somewhat too wide where ties are many, never too narrow.

Every player also drew `prior` games against an average one of strength 0 (half won, half lost): so a player who only
won, and players who were never compared, have finite strengths, near to what the votes say once there are some.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.evaluation.intervals import Z_95, Estimate

Outcome = Literal["a", "b", "tie"]
SCORE: dict[str, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}  # of side a
PRIOR = 0.5  # games
ELO, ELO_MEAN = 400 / math.log(10), 1000.0
STEPS, SMALL = 100, 1e-10


class NoVotes(ValueError):
    """There is nothing to rate from."""


@dataclass(frozen=True)
class Vote:
    """One comparison: two different players, and which was preferred."""

    a: str
    b: str
    outcome: Outcome

    def __post_init__(self) -> None:
        if self.a == self.b or self.outcome not in SCORE:
            raise ValueError(f"a vote compares two players with {', '.join(SCORE)}: {self}")


@dataclass(frozen=True)
class Ratings:
    """Strengths of all players, the average 0, with their joint uncertainty. Arrays follow `players`, which are sorted.

    wins: (N, N), how often the row was preferred to the column, ties half each way. covariance: (N, N), of strengths.
    components: the players that votes connect, largest first; strengths of two components are held against each other
    by the prior alone, and mean nothing.
    """

    players: tuple[str, ...]
    strengths: np.ndarray
    covariance: np.ndarray
    wins: np.ndarray
    components: tuple[tuple[str, ...], ...]

    @property
    def is_connected(self) -> bool:
        """Whether votes lead from every player to every other."""
        return len(self.components) == 1

    def strength(self, player: str) -> Estimate:
        """A player's strength above the average, in natural log-odds, with its 95% interval; n: its votes."""
        i = self.players.index(player)
        return self._estimate(self.strengths[i], self.covariance[i, i], self.wins[i].sum() + self.wins[:, i].sum())

    def elo(self, player: str) -> Estimate:
        """The same on the scale that chess players know: the average is 1000, 400 more are odds of ten to one."""
        found = self.strength(player)
        low, value, high = (ELO_MEAN + ELO * one for one in (found.low, found.value, found.high))
        return Estimate(value, low, high, found.n)

    def difference(self, one: str, other: str) -> Estimate:
        """How much stronger `one` is than `other`, with its 95% interval; n: the votes between them."""
        i, j = self.players.index(one), self.players.index(other)
        variance = self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j]
        return self._estimate(self.strengths[i] - self.strengths[j], variance, self.wins[i, j] + self.wins[j, i])

    def preferred(self, one: str, other: str) -> float:
        """The probability that `one` is preferred to `other`."""
        return 1 / (1 + math.exp(-self.difference(one, other).value))

    def _estimate(self, value: float, variance: float, votes: float) -> Estimate:
        half = Z_95 * math.sqrt(max(variance, 0.0))
        return Estimate(float(value), float(value - half), float(value + half), round(votes))


def rate(votes: Iterable[Vote], prior: float = PRIOR) -> Ratings:
    """The ratings of all players that were voted on; the order of the votes does not matter. Raises NoVotes."""
    votes = list(votes)
    if not votes:
        raise NoVotes("nobody has voted yet")
    players = tuple(sorted({player for vote in votes for player in (vote.a, vote.b)}))
    place = {player: i for i, player in enumerate(players)}
    wins = np.zeros((len(players), len(players)))
    for vote in votes:
        score = SCORE[vote.outcome]
        wins[place[vote.a], place[vote.b]] += score
        wins[place[vote.b], place[vote.a]] += 1 - score
    strengths, covariance = fit(wins, prior)
    return Ratings(players, strengths, covariance, wins, _components(players, wins))


def fit(wins: np.ndarray, prior: float = PRIOR) -> tuple[np.ndarray, np.ndarray]:
    """Strengths (N,) with mean 0 and their covariance (N, N), by Newton's method on the concave log-likelihood.

    wins: (N, N), how often the row was preferred to the column, halves allowed. The covariance is the inverse of the
    observed information, of strengths less their mean.
    """
    if prior <= 0:
        raise ValueError(f"prior must be above 0 games, or a player who always wins has no finite strength: {prior}")
    games = wins + wins.T
    strengths = np.zeros(len(wins))
    value = _log_likelihood(strengths, wins, prior)
    for _ in range(STEPS):
        gradient, information = _derivatives(strengths, wins, games, prior)
        step, size = np.linalg.solve(information, gradient), 1.0
        while (better := _log_likelihood(strengths + size * step, wins, prior)) < value and size > SMALL:
            size /= 2
        strengths, value = strengths + size * step, max(better, value)
        if np.abs(size * step).max() < SMALL:
            break
    centring = np.eye(len(wins)) - 1 / len(wins)
    _, information = _derivatives(strengths, wins, games, prior)
    return centring @ strengths, centring @ np.linalg.inv(information) @ centring


def _log_likelihood(strengths: np.ndarray, wins: np.ndarray, prior: float) -> float:
    against = strengths[:, None] - strengths[None]
    own = prior / 2 * (np.logaddexp(0, -strengths) + np.logaddexp(0, strengths))
    return float(-(wins * np.logaddexp(0, -against)).sum() - own.sum())


def _derivatives(
    strengths: np.ndarray, wins: np.ndarray, games: np.ndarray, prior: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (N,) and observed information (N, N) of the log-likelihood."""
    expected = _logistic(strengths[:, None] - strengths[None])
    alone = _logistic(strengths)
    gradient = (wins - games * expected).sum(1) + prior * (0.5 - alone)
    weight = games * expected * (1 - expected)
    return gradient, np.diag(weight.sum(1) + prior * alone * (1 - alone)) - weight


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _components(players: Sequence[str], wins: np.ndarray) -> tuple[tuple[str, ...], ...]:
    linked, left, found = (wins + wins.T) > 0, set(range(len(players))), []
    while left:
        reached, edge = set(), {min(left)}
        while edge:
            reached |= edge
            edge = {int(j) for i in edge for j in np.flatnonzero(linked[i])} - reached
        left -= reached
        found.append(tuple(players[i] for i in sorted(reached)))
    return tuple(sorted(found, key=lambda names: (-len(names), names)))
