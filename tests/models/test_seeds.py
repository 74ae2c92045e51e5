"""Numbers depend on their seed and place alone, and are uniform."""

import numpy as np
from scipy.stats import chisquare

from models.seeds import derive, uniforms


def test_a_rows_numbers_do_not_depend_on_the_other_rows_or_the_length():
    alone = uniforms([17], 5)
    among = uniforms([3, 17, 2**63 + 1, -1], 40)
    assert np.array_equal(alone[0], among[1, :5])
    assert len({tuple(row) for row in among}) == 4


def test_numbers_are_uniform_along_positions_and_along_seeds():
    for numbers in (uniforms([1], 20_000).ravel(), uniforms(range(20_000), 1).ravel()):
        counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
        assert counts.sum() == 20_000
        assert chisquare(counts).pvalue > 1e-4


def test_derived_seeds_differ_by_every_part_of_the_place():
    seeds = [derive(0), derive(1), derive(0, "a"), derive(0, "a", 1), derive(0, "a", 11), derive(0, "a1")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(0, "a", 1) == seeds[3]
