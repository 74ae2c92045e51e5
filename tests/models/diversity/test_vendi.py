"""G-Vendi: closed forms, both Gram branches, the finite-sample ceiling."""

import math

import numpy as np
import pytest

from models.diversity.projection import project
from models.diversity.vendi import DegenerateFeatures, ceiling, g_vendi, unit_rows


def entropy(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares)


def test_identical_rows_have_diversity_1():
    assert g_vendi(np.tile([[0.3, -2.0, 5.0]], (17, 1))) == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "k"), [(8, 8), (5, 9)])
def test_orthogonal_rows_have_diversity_n(n, k):
    assert g_vendi(np.eye(n, k) * np.arange(1, n + 1)[:, None]) == pytest.approx(n)


@pytest.mark.parametrize("sizes", [(3, 1), (5, 2, 1)])
def test_orthogonal_groups_have_the_exponential_of_their_entropy(sizes):
    rows = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    assert g_vendi(rows) == pytest.approx(math.exp(entropy(*(size / sum(sizes) for size in sizes))))


def test_groups_of_three_and_one_have_the_published_value():
    assert g_vendi(np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])) == pytest.approx(1.754765, abs=1e-6)


@pytest.mark.parametrize("cosine", [0.5, 0.0, -0.5, 0.9])
def test_two_rows_depend_on_their_cosine_only(cosine):
    rows = np.array([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
    assert g_vendi(rows) == pytest.approx(math.exp(entropy((1 + cosine) / 2, (1 - cosine) / 2)))


def test_two_rows_of_cosine_one_half_have_the_published_value():
    assert g_vendi(np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])) == pytest.approx(1.754765, abs=1e-6)


def test_it_is_blind_to_sign():
    v = np.array([0.2, -1.0, 3.0])
    assert g_vendi(np.stack([v, -v])) == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "k"), [(30, 12), (12, 30), (20, 20)])
def test_both_gram_branches_agree(n, k):
    rows = np.random.default_rng(n).standard_normal((n, k))
    wide = np.hstack([rows, np.zeros((n, max(0, n - k + 1)))])  # zero columns change the branch, not the value
    tall = g_vendi(rows)
    assert n <= wide.shape[1]
    assert g_vendi(wide) == pytest.approx(tall, rel=1e-9)


@pytest.mark.parametrize(("n", "k", "value"), [(100, 1024, 95.2), (512, 512, 310.5), (1024, 1024, 621.1)])
def test_ceiling_has_the_known_values(n, k, value):
    assert ceiling(n, k) == pytest.approx(value, abs=0.06)
    assert ceiling(n, k) == ceiling(k, n)


@pytest.mark.parametrize(("n", "k"), [(100, 1024), (200, 200), (600, 128)])
def test_isotropic_rows_reach_the_ceiling(n, k):
    measured = g_vendi(np.random.default_rng(0).standard_normal((n, k)))
    assert measured == pytest.approx(ceiling(n, k), rel=0.01)


def test_projection_lowers_100_orthonormal_rows_to_the_ceiling():
    rows = np.linalg.qr(np.random.default_rng(1).standard_normal((3000, 100)))[0].T.astype(np.float32)
    projected = np.concatenate([project(rows[:50], 1024, 0), project(rows[50:], 1024, 0)])
    assert g_vendi(rows) == pytest.approx(100, rel=1e-4)
    assert g_vendi(projected) == pytest.approx(95.3, abs=0.6)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_a_typed_error(bad):
    rows = np.ones((4, 3))
    rows[2] = bad
    with pytest.raises(DegenerateFeatures, match="row 2"):
        unit_rows(rows)


def test_a_single_vector_is_not_a_matrix():
    with pytest.raises(DegenerateFeatures, match="shape"):
        unit_rows(np.ones(3))
