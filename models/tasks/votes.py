"""Majority vote over several solutions of one problem: the gate that needs no gold answer.

An answer wins when strictly more than half of all votes agree on it after normalisation (models/tasks/verify.py). A
vote without a readable answer counts as a vote but can never win. Wang et al., "Self-Consistency" (arXiv
2203.11171), with a strict majority instead of the plurality, for a plurality gate of three votes never rejects
anything.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from models.tasks.verify import normalise

NO_ANSWER = "no_answer"  # no vote had a readable answer
TIE = "tie"  # two or more answers share the first place
NO_MAJORITY = "no_majority"  # one answer leads, with half of the votes or fewer
REASONS = (NO_ANSWER, TIE, NO_MAJORITY)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one vote. `answer` is the leading normalised answer, None if there is none or a tie."""

    answer: str | None
    votes: int  # votes cast, unreadable ones included
    majority: int  # votes for the leading answer
    reason: str | None  # why the vote is not valid (REASONS); None when it is

    @property
    def valid(self) -> bool:
        """True when a strict majority agreed."""
        return self.reason is None


def majority(answers: Sequence[str | None]) -> Verdict:
    """Count the raw answers of one problem's solutions; the order of votes decides nothing."""
    normalised = [normalise(answer) for answer in answers]
    ranked = Counter(answer for answer in normalised if answer is not None).most_common(2)
    if not ranked:
        return Verdict(None, len(answers), 0, NO_ANSWER)
    leader, count = ranked[0]
    if len(ranked) > 1 and ranked[1][1] == count:
        return Verdict(None, len(answers), count, TIE)
    return Verdict(leader, len(answers), count, None if 2 * count > len(answers) else NO_MAJORITY)


def strict_majority_probability(accuracy: float, votes: int) -> float:
    """P(more than half of `votes` independent votes are right), each right with probability `accuracy`.

    The share of problems whose right answer passes the gate. n=3, p=.6: .648; for p < .5 more votes make it worse.
    """
    needed = votes // 2 + 1
    return sum(comb(votes, k) * accuracy**k * (1 - accuracy) ** (votes - k) for k in range(needed, votes + 1))
