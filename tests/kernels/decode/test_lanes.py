"""Vectors of 16: right to rounding, and the same to the bit however rows are cut into tiles."""

import numpy as np
import pytest
from numba import njit

from kernels.decode.lanes import PANEL, add_product, exponentials, largest, product, squares, swiglu


@njit
def _exponentials(a, shift, scale, out):
    return exponentials(a, 0, a.size, np.float32(shift), np.float32(scale), out, 0)


@njit
def _largest(a):
    return largest(a, 0, a.size)


@njit
def _squares(a):
    return squares(a, 0, a.size)


@njit
def _swiglu(gate, up):
    swiglu(gate, 0, up, 0, gate.size)


def _products(x, w, rows):
    y = np.full(rows * PANEL, np.nan, np.float32)  # what stands there must not matter
    product(x.ravel(), 0, x.shape[1], w.ravel(), 0, PANEL, x.shape[1], y, 0, PANEL, rows)
    return y.reshape(rows, PANEL)


@pytest.mark.parametrize("depth", [1, 7, 64, 301])
def test_a_rows_product_is_the_same_bits_in_every_tile(depth):
    random = np.random.default_rng(depth)
    x, w = (random.standard_normal(shape).astype(np.float32) for shape in ((29, depth), (depth, PANEL)))
    whole = _products(x, w, 29)
    exact = x.astype(np.float64) @ w.astype(np.float64)
    assert np.abs(whole - exact).max() <= 1e-6 * np.abs(x.astype(np.float64)).max() * depth
    for rows in range(1, 29):
        assert np.array_equal(_products(x, w, rows), whole[:rows])
    for row in range(29):
        assert np.array_equal(_products(x[row:], w, 1)[0], whole[row])


def test_a_product_in_two_parts_is_the_product_at_once():
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(shape).astype(np.float32) for shape in ((11, 96), (96, PANEL)))
    y = np.empty(11 * PANEL, np.float32)
    product(x.ravel(), 0, 96, w.ravel(), 0, PANEL, 32, y, 0, PANEL, 11)
    add_product(x.ravel(), 32, 96, w.ravel(), 32 * PANEL, PANEL, 64, y, 0, PANEL, 11)
    assert np.array_equal(y.reshape(11, PANEL), _products(x, w, 11))


def test_exponentials_are_those_of_numpy_to_a_bit_or_two():
    a = np.linspace(-87, 88, 16 * 4000).astype(np.float32)
    out = np.empty_like(a)
    total = _exponentials(a, 0, 1, out)
    exact = np.exp(a.astype(np.float64))
    assert (np.abs(out - exact) / exact).max() < 2e-7
    assert total == pytest.approx(float(out.astype(np.float64).sum()), rel=1e-12)
    a[:] = np.linspace(-500, 3, a.size)
    _exponentials(a, 3, 2, out)
    assert np.abs(out - np.exp((a.astype(np.float64) - 3) * 2)).max() < 1e-6


def test_nothing_comes_of_minus_infinity_and_nan_stays():
    a = np.full(16, -np.inf, np.float32)
    out = np.ones(16, np.float32)
    assert _exponentials(a, 0, 1, out) == 0 and not out.any()
    a[3] = np.nan
    assert np.isnan(_exponentials(a, 0, 1, out))


def test_the_largest_and_the_squares():
    random = np.random.default_rng(1)
    for _ in range(50):
        a = random.standard_normal(16 * int(random.integers(1, 20))).astype(np.float32)
        assert _largest(a) == a.max()
        assert _squares(a) == pytest.approx(float((a.astype(np.float64) ** 2).sum()), rel=1e-6)


def test_swiglu_at_all_sizes():
    gate = np.linspace(-300, 300, 16 * 500).astype(np.float32)
    up = np.linspace(-2, 2, gate.size).astype(np.float32)
    with np.errstate(over="ignore"):
        exact = gate.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64))) * up
    _swiglu(gate, up)
    assert np.abs(gate - exact).max() <= 1e-6 * np.abs(exact).max()
