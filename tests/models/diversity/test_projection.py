"""Projection: streamed signs are the dense matrix, rows are independent of batches, inner products survive."""

import numpy as np
import pytest

from models.diversity.projection import PARAMETER_BLOCK, ROWS_PER_BATCH, project, reference_signs, signs


@pytest.mark.parametrize("dim", [64, 192, 1024])
@pytest.mark.parametrize("seed", [0, 7, 2**63 + 11])
def test_signs_equal_the_plain_definition(dim, seed):
    assert np.array_equal(signs(seed, 37, 301, dim), reference_signs(seed, 37, 301, dim))


def test_signs_do_not_depend_on_the_block_they_are_made_in():
    whole = signs(3, 0, 100, 128)
    assert np.array_equal(whole, np.concatenate([signs(3, 0, 41, 128), signs(3, 41, 100, 128)]))


def test_signs_are_balanced_and_uncorrelated():
    matrix = signs(5, 0, 20_000, 128).astype(np.float64)
    standard_error = 1 / np.sqrt(len(matrix))
    assert np.abs(matrix.mean(axis=0)).max() < 4.5 * standard_error
    correlation = matrix.T @ matrix / len(matrix) - np.eye(128)
    assert np.abs(correlation).max() < 6 * standard_error
    assert abs(np.mean(matrix[1:] * matrix[:-1])) < 5 / np.sqrt(matrix.size)


@pytest.mark.parametrize("n_parameters", [1, PARAMETER_BLOCK, 3 * PARAMETER_BLOCK + 5])
def test_streamed_projection_equals_the_dense_product(n_parameters):
    vectors = np.random.default_rng(0).standard_normal((7, n_parameters)).astype(np.float32)
    dense = vectors.astype(np.float64) @ reference_signs(2, 0, n_parameters, 64) / np.sqrt(64)
    assert np.allclose(project(vectors, 64, 2), dense, rtol=1e-4, atol=1e-4 * np.sqrt(n_parameters))


def test_a_rows_bits_do_not_depend_on_its_batch():
    vectors = np.random.default_rng(1).standard_normal((ROWS_PER_BATCH, 5000)).astype(np.float32)
    whole = project(vectors, 128, 9)
    assert np.array_equal(whole, project(vectors, 128, 9))
    for shards in (2, 5, 64):
        parts = [project(part, 128, 9) for part in np.array_split(vectors, shards)]
        assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(whole[::-1], project(np.ascontiguousarray(vectors[::-1]), 128, 9))


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.95])
def test_inner_products_are_unbiased_with_the_known_spread(cosine):
    generator = np.random.default_rng(4)
    x, noise = np.linalg.qr(generator.standard_normal((4000, 2)))[0].T
    y = cosine * x + np.sqrt(1 - cosine**2) * noise
    dim, pairs = 1024, np.stack([x, y]).astype(np.float32)
    spread = np.sqrt((1 + cosine**2 - 2 * np.sum(x**2 * y**2)) / dim)
    found = []
    for seed in range(40):
        px, py = project(pairs, dim, seed)
        found.append(float(px @ py))
    assert max(abs(value - cosine) for value in found) < 5 * spread
    assert abs(np.mean(found) - cosine) < 4 * spread / np.sqrt(40)
    assert 0.031 < spread < 0.044
    assert 0.7 < np.std(found, ddof=1) / spread < 1.35


@pytest.mark.parametrize(("rows", "dim"), [(1, 100), (1, 0), (ROWS_PER_BATCH + 1, 64)])
def test_unusable_shapes_are_refused(rows, dim):
    with pytest.raises(ValueError, match=r"multiple of 64|float32 rows"):
        project(np.ones((rows, 10), dtype=np.float32), dim, 0)
