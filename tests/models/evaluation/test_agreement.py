"""Kappa against values worked out by hand; the queue's order, whom it never asks twice, and what it draws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.agreement import drawn, kappa
from models.evaluation.agreement import queue as queued


def table(counts: dict[tuple[str, str], int]) -> tuple[list[str], list[str]]:
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def test_two_raters_of_fifty_items_with_the_interval_worked_out_by_hand():
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed .7, expected .5 * .6 + .5 * .4 = .5, kappa .2 / .5.

    Variance: (.4 (.5 - 1.1 * .3)^2 + .3 (.5 - .9 * .3)^2 + .09 (.1 * 1.1^2 + .2 * .9^2) - .05^2) / (50 * .5^4).
    """
    found = kappa(*table({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}))
    assert (found.n, found.observed, found.expected) == (50, pytest.approx(0.7), pytest.approx(0.5))
    assert found.kappa == pytest.approx(0.4)
    half = 1.959964 * math.sqrt((0.02743 + 0.02547 - 0.0025) / 3.125)
    assert (found.low, found.high) == (pytest.approx(0.4 - half, abs=1e-6), pytest.approx(0.4 + half, abs=1e-6))


def test_three_categories_worked_out_by_hand():
    """Rows 10, 4, 1 / 6, 10, 2 / 0, 2, 5 of 40: observed 25/40; marginals 15, 18, 7 and 16, 16, 8;
    expected (15 * 16 + 18 * 16 + 7 * 8) / 1600 = .365."""
    rows = {"good": (10, 4, 1), "bad": (6, 10, 2), "unsure": (0, 2, 5)}
    found = kappa(*table({(a, b): n for a, ns in rows.items() for b, n in zip(rows, ns, strict=True)}))
    assert found.kappa == pytest.approx((0.625 - 0.365) / (1 - 0.365))


def test_agreement_on_everything_has_an_interval_that_narrows_with_the_items():
    few, many = (kappa(*table({("good", "good"): n, ("bad", "bad"): n})) for n in (2, 200))
    assert few.kappa == many.kappa == 1.0 and few.high == many.high == 1.0
    assert few.low is not None and many.low is not None and few.low < 0.1 < 0.9 < many.low


def test_two_who_always_say_the_same_one_thing_have_no_kappa():
    assert kappa(["good"] * 5, ["good"] * 5).kappa is None


def test_two_who_never_agree_are_below_chance():
    found = kappa(["good", "bad"] * 10, ["bad", "good"] * 10)
    assert found.kappa == pytest.approx(-1.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40))
def test_kappa_does_not_care_who_comes_first_or_in_which_order(pairs):
    one, other = kappa(*zip(*pairs, strict=True)), kappa(*zip(*[(b, a) for a, b in reversed(pairs)], strict=True))
    assert (one.kappa is None) == (other.kappa is None)
    if one.kappa is not None:
        assert other.kappa == pytest.approx(one.kappa) and -1 <= one.low <= one.kappa + 1e-9
        assert other.low == pytest.approx(one.low) and other.high == pytest.approx(one.high)


@pytest.mark.parametrize(("one", "other"), [([], []), (["good"], [])])
def test_nothing_or_unequal_lists_are_refused(one, other):
    with pytest.raises(ValueError, match="as many labels"):
        kappa(one, other)


def queue(ids, scores, labelled, *, seed=0, **settings) -> list[str]:
    return queued(ids, scores, labelled, draw=drawn(ids, seed), **settings)


IDS, SCORES = ["d", "b", "c", "a", "e", "f"], np.array([0.9, 0.4, 0.6, 0.5, np.nan, 0.02])


def test_the_least_certain_come_first_ties_by_id_and_the_unscored_last():
    assert queue(IDS, SCORES, [], length=9, every=0) == ["a", "b", "c", "d", "f", "e"]


def test_a_labelled_page_never_comes_again_and_a_skipped_one_is_passed():
    assert queue(IDS, SCORES, {"a", "c"}, length=9, every=0) == ["b", "d", "f", "e"]
    assert queue(IDS, SCORES, {"a"}, length=2, skipped=1, every=0) == ["c", "d"]
    assert queue(IDS, SCORES, set(IDS), length=3) == []


def test_every_fourth_page_that_somebody_labels_is_drawn_from_all():
    ids, scores = [f"{i:03}" for i in range(400)], np.linspace(0, 1, 400)
    asked, labelled = [], []
    for _ in range(40):
        asked += queue(ids, scores, labelled, length=1)
        labelled = list(asked)
    assert len(set(asked)) == 40
    far = [abs(int(one) / 399 - 0.5) > 0.1 for one in asked]
    assert not any(one for place, one in enumerate(far) if (place + 1) % 4)
    assert sum(far) >= 6  # of ten drawn ones, 8 are expected that far from the border
    assert queue(ids, scores, [], length=40) == asked  # looking ahead is labelling one by one


def test_the_queue_is_a_function_of_pages_labels_and_seed():
    order = np.random.default_rng(1).permutation(len(IDS))
    shuffled = queue([IDS[i] for i in order], SCORES[order], ["c"], length=6, seed=5, every=2)
    assert shuffled == queue(IDS, SCORES, {"c"}, length=6, seed=5, every=2)
    draws = {tuple(queue(IDS, SCORES, [], length=6, seed=seed, every=1)) for seed in range(20)}
    assert len(draws) > 10
