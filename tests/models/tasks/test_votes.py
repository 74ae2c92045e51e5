"""Majority vote: strict, blind to order, never won by silence, and right as often as the binomial says."""

from itertools import permutations, product

import pytest

from models.tasks.families import generate
from models.tasks.teachers import ProceduralTeacher
from models.tasks.verify import verify
from models.tasks.votes import NO_ANSWER, NO_MAJORITY, TIE, majority, strict_majority_probability


@pytest.mark.parametrize(
    ("answers", "winner", "count", "reason"),
    [
        (["4", "4", "5"], "4", 2, None),
        (["1,000", "1000.0", "7"], "1000", 2, None),
        (["4"], "4", 1, None),
        (["4", "5", "6"], None, 1, TIE),
        (["4", "5"], None, 1, TIE),
        (["4", "4", "5", "5"], None, 2, TIE),
        (["4", "4", "5", "6"], "4", 2, NO_MAJORITY),  # exactly half is no majority
        (["4", "4", None, None], "4", 2, NO_MAJORITY),  # silence wins nothing, but it counts
        (["4", None, None], "4", 1, NO_MAJORITY),
        ([None, "", "  "], None, 0, NO_ANSWER),
        ([], None, 0, NO_ANSWER),
    ],
)
def test_outcomes(answers, winner, count, reason):
    verdict = majority(answers)
    assert (verdict.answer, verdict.majority, verdict.reason) == (winner, count, reason)
    assert verdict.valid == (reason is None) and verdict.votes == len(answers)


def test_the_order_of_votes_decides_nothing():
    for answers in (["4", "4", "5", None], ["4", "5", "5", "4"], ["1", "2", "3", None]):
        assert len({majority(order) for order in permutations(answers)}) == 1


@pytest.mark.parametrize(
    ("accuracy", "votes", "value"),
    [(0.6, 3, 0.648), (0.6, 5, 0.68256), (0.6, 11, 0.753498), (0.6, 41, 0.903483), (0.4, 11, 0.246502)],
)
def test_probability_of_a_right_majority_has_the_known_values(accuracy, votes, value):
    assert strict_majority_probability(accuracy, votes) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("votes", [3, 4, 5])
def test_probability_equals_the_enumeration_of_all_votes(votes):
    accuracy, total = 0.6, 0.0
    for right in product((True, False), repeat=votes):
        verdict = majority([("right" if is_right else f"wrong-{index}") for index, is_right in enumerate(right)])
        weight = accuracy ** sum(right) * (1 - accuracy) ** (votes - sum(right))
        total += weight * (verdict.valid and verdict.answer == "right")
    assert total == pytest.approx(strict_majority_probability(accuracy, votes))


def test_a_real_teachers_votes_reach_the_binomial_rate():
    problems = [p for family in ("gcd", "number_sorting") for p in generate(family, 600, 1, 3)]
    teacher = ProceduralTeacher({"gcd": 0.4, "number_sorting": 0.4}, typical_share=0.0)
    verdicts = [majority([s.answer for s in solutions]) for solutions in teacher.solve(problems, 3, seed=2)]
    right = sum(v.valid and verify(p.answer, v.answer) for p, v in zip(problems, verdicts, strict=True)) / len(problems)
    spread = (0.648 * 0.352 / len(problems)) ** 0.5
    assert abs(right - 0.648) < 4 * spread


def test_a_typical_mistake_makes_majorities_wrong_and_random_slips_hardly_do():
    problems = generate("number_sorting", 800, 1, 3)

    def wrong_left(typical_share: float) -> float:
        teacher = ProceduralTeacher({"number_sorting": 0.4}, typical_share=typical_share)
        verdicts = [majority([s.answer for s in solutions]) for solutions in teacher.solve(problems, 3, seed=5)]
        kept = [(p, v) for p, v in zip(problems, verdicts, strict=True) if v.valid]
        return sum(verify(p.answer, v.answer) == 0 for p, v in kept) / len(kept)

    assert wrong_left(0.0) < wrong_left(0.5) < wrong_left(1.0)
    assert wrong_left(0.0) < 0.15 and wrong_left(1.0) > 0.25
