"""Mixtures: shares become exact counts, problems are distinct and of their role, what is missing is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import InputError
from models.tasks.families import role_of
from models.tasks.mixture import apportion, draw, zipf_shares


def test_zipf_shares_have_the_stated_ratios():
    shares = zipf_shares(5, 1.0)
    assert sum(shares) == pytest.approx(1.0)
    assert [shares[0] / share for share in shares] == pytest.approx([1, 2, 3, 4, 5])
    assert zipf_shares(4, 0.0) == pytest.approx([0.25] * 4)


@given(st.integers(0, 5000), st.lists(st.floats(0, 10), min_size=1, max_size=12).filter(lambda s: sum(s) > 1e-6))
def test_apportioned_counts_sum_to_the_total_and_are_within_one_of_their_share(total, shares):
    counts = apportion(total, shares)
    assert sum(counts) == total
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - total * share / sum(shares)) < 1 + 1e-6


@pytest.mark.parametrize("shares", [[], [0.0, 0.0], [1.0, -0.1]])
def test_shares_that_mean_nothing_are_refused(shares):
    with pytest.raises(InputError):
        apportion(10, shares)


FAMILIES = ("number_sorting", "gcd", "products", "count_bits")
DEFAULTS = {"zipf": 1.0, "level_shares": (0.5, 0.3, 0.2), "seed": 1, "roles": ("sft",)}


def test_a_mixture_is_distinct_skewed_and_of_its_role():
    mixture = draw(FAMILIES, 200, **DEFAULTS)
    assert mixture == draw(FAMILIES, 200, **DEFAULTS) != draw(FAMILIES, 200, **{**DEFAULTS, "seed": 2})
    families = [problem.family for problem in mixture.problems]
    assert [families.count(family) for family in FAMILIES] == apportion(200, [1, 1 / 2, 1 / 3, 1 / 4])
    assert len({problem.problem_id for problem in mixture.problems}) == 200 and not mixture.shortfall
    assert {role_of(problem.problem_id) for problem in mixture.problems} == {"sft"}


def test_an_exhausted_level_passes_on_to_the_next_one_and_the_rest_is_reported():
    mixture = draw(("products",), 90, **{**DEFAULTS, "level_shares": (1.0, 0.0, 0.0)})
    levels = [problem.level for problem in mixture.problems]
    assert not mixture.shortfall and len(levels) == 90 and 0 < levels.count(2) < 60  # level 1 has 100 problems in all
    settings = {**DEFAULTS, "level_shares": (0.0, 0.0, 1.0), "roles": ("heldout",)}
    greedy = draw(("products",), 1600, **settings)  # fewer than 1300 of its problems are held out
    assert greedy.shortfall == {"products": 1600 - len(greedy.problems)} and len(greedy.problems) > 1000


def test_excluded_problems_are_never_drawn():
    first = draw(FAMILIES, 80, **DEFAULTS)
    excluded = frozenset(problem.problem_id for problem in first.problems)
    second = draw(FAMILIES, 80, **DEFAULTS, exclude=excluded)
    assert len(second.problems) == 80 and not excluded & {problem.problem_id for problem in second.problems}


def test_repeated_families_and_missing_shares_are_refused():
    with pytest.raises(InputError):
        draw(("gcd", "gcd"), 10, **DEFAULTS)
    with pytest.raises(InputError):
        draw(("gcd",), 10, **{**DEFAULTS, "level_shares": (1.0,)})
