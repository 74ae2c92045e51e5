"""Prismatic selection: the strict threshold, the explicit empty case, and more diversity than a random draw."""

import numpy as np
import pytest

from models.diversity.prismatic import (
    NO_SPARSE_CLUSTER,
    BadSelection,
    draw_order,
    random_subset,
    select,
    sparse_clusters,
)
from models.diversity.vendi import g_vendi

SETTINGS = {"start": 80, "rounds": 4, "k_fraction": 0.1, "keep_fraction": 0.5, "target": 250}


def skills(seed: int, n: int = 900, n_skills: int = 24, skew: float = 1.3, k: int = 64) -> tuple[list[str], np.ndarray]:
    """Rows around n_skills latent directions, drawn with Zipf frequencies of exponent `skew` (0: uniform)."""
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, n_skills + 1) ** skew
    skill = generator.choice(n_skills, n, p=shares / shares.sum())
    directions = np.linalg.qr(generator.standard_normal((k, n_skills)))[0].T
    return [f"{seed}-{index:05d}" for index in range(n)], directions[skill] + 0.05 * generator.standard_normal((n, k))


def diversity(ids, features, chosen) -> float:
    row_of = {identity: row for row, identity in enumerate(ids)}
    return g_vendi(features[[row_of[identity] for identity in chosen]])


def test_threshold_is_strict():
    sparse, threshold = sparse_clusters(np.array([5, 1, 9, 5, 7, 2]), 0.5)
    assert threshold == 5 and sparse.tolist() == [1, 5]  # the fives are at the threshold, so not below it


def test_equal_sizes_have_no_sparse_cluster_and_the_round_says_so():
    assert sparse_clusters(np.array([4, 4, 4]), 0.5) == (pytest.approx([]), 4)
    rows = np.eye(2)[np.arange(40) % 2] + 1e-3 * np.random.default_rng(0).standard_normal((40, 2))
    ids = [f"{index:02d}" for index in range(40)]
    start = sorted(draw_order(ids, 0)[:4])
    even = rows.copy()
    for place, identity in enumerate(start):  # two and two: both clusters have the same size
        even[ids.index(identity)] = np.eye(2)[place % 2]
    chosen = select(ids, even, start=4, rounds=1, k_fraction=0.5, keep_fraction=0.5, target=20, seed=0)
    assert chosen.rounds[0].accepted == 0 and chosen.rounds[0].note == NO_SPARSE_CLUSTER
    assert sorted(chosen.ids) == start


def test_uniform_skills_are_more_diverse_than_skewed_ones_and_those_than_one():
    uniform, skewed, single = (g_vendi(skills(1, skew=skew)[1]) for skew in (0.0, 1.3, 20.0))
    assert uniform > skewed > single
    assert uniform > 24 and single < 3  # 24 directions, and a little of their noise


def test_selection_beats_random_of_the_same_size_in_at_least_9_of_10_pools():
    wins = 0
    for seed in range(10):
        ids, features = skills(seed)
        chosen = select(ids, features, seed=seed, **SETTINGS).ids
        random = [diversity(ids, features, random_subset(ids, len(chosen), 1000 + draw)) for draw in range(5)]
        wins += diversity(ids, features, chosen) > max(random)
    assert wins >= 9


def test_selection_by_shuffled_features_is_no_better_than_random():
    gaps, shuffled_gaps = [], []
    for seed in range(10):
        ids, features = skills(seed)
        shuffled = features[np.random.default_rng(seed).permutation(len(features))]
        for source, found in ((features, gaps), (shuffled, shuffled_gaps)):
            chosen = select(ids, source, seed=seed, **SETTINGS).ids
            random = np.mean([diversity(ids, features, random_subset(ids, len(chosen), d)) for d in range(100, 105)])
            found.append(diversity(ids, features, chosen) - random)
    assert np.mean(gaps) > 3.0
    assert abs(np.mean(shuffled_gaps)) < 3 * np.std(shuffled_gaps, ddof=1) / np.sqrt(10)
    assert abs(np.mean(shuffled_gaps)) < 0.2 * np.mean(gaps)


def test_selection_does_not_depend_on_the_order_of_candidates():
    ids, features = skills(3)
    order = np.random.default_rng(0).permutation(len(ids))
    first = select(ids, features, seed=1, **SETTINGS)
    assert first == select([ids[index] for index in order], features[order], seed=1, **SETTINGS)
    assert first != select(ids, features, seed=2, **SETTINGS)


def test_rounds_account_for_every_candidate():
    ids, features = skills(4)
    chosen = select(ids, features, seed=0, **SETTINGS)
    assert len(chosen.ids) == len(set(chosen.ids)) == chosen.start + sum(r.accepted for r in chosen.rounds) <= 250
    assert sum(r.offered for r in chosen.rounds) <= len(ids) - chosen.start
    for before, after in zip(chosen.rounds, chosen.rounds[1:], strict=False):
        assert after.pool == before.pool + before.accepted
        assert 0 <= after.acceptance <= 1


def test_target_ends_the_selection():
    ids, features = skills(5)
    assert len(select(ids, features, seed=0, **{**SETTINGS, "target": 100}).ids) == 100


def test_random_subsets_are_nested_and_vary_with_the_seed():
    ids = [str(index) for index in range(50)]
    assert random_subset(ids, 10, 3) == random_subset(ids[::-1], 20, 3)[:10]
    assert random_subset(ids, 10, 3) != random_subset(ids, 10, 4)


@pytest.mark.parametrize(
    "wrong", [{"start": 1}, {"start": 250}, {"start": 900, "target": 5000}, {"rounds": 0}, {"k_fraction": 0.0}]
)
def test_numbers_that_do_not_fit_are_a_typed_error(wrong):
    ids, features = skills(6)
    with pytest.raises(BadSelection):
        select(ids, features, seed=0, **{**SETTINGS, **wrong})
