"""A step's logits are the plain form's, and a row's bits depend on nothing but the row."""

import numba
import numpy as np
import pytest

from kernels.decode.reference import logits_plainly
from kernels.decode.step import PAGE, PANEL, Sizes, Weights, forward, page_bytes, panels, pools

VOCABULARY = 77
SHAPES = {  # width, layers, heads, key heads, head width, inner width, norms of heads
    "grouped": (32, 2, 4, 2, 8, 64, True),
    "odd": (44, 2, 6, 3, 38, 71, False),
    "wide heads": (48, 1, 2, 1, 96, 40, True),
}


def made(shape):
    """Random weights of a shape, and what else a step needs."""
    depth, layers, heads, kv_heads, width, hidden, normed = shape
    random = np.random.default_rng(depth)

    def some(*size):
        return (random.standard_normal(size) / np.sqrt(size[-1])).astype(np.float32)

    def near_one(*size):
        return (1 + 0.2 * random.standard_normal(size)).astype(np.float32)

    def stacked(outputs, inputs):
        return np.stack([panels(some(outputs, inputs)) for _ in range(layers)])

    down = np.stack([panels(np.pad(some(depth, hidden), ((0, 0), (0, -hidden % PANEL)))) for _ in range(layers)])
    angles = np.arange(300)[:, None] * 100.0 ** -(np.arange(0, width, 2) / width)
    angles = np.concatenate([angles, angles], axis=1)
    norm = near_one(layers, width) if normed else np.zeros((layers, 0), np.float32)
    weights = Weights(
        embedding=some(VOCABULARY, depth) * 8,
        attention_norm=near_one(layers, depth),
        qkv=stacked((heads + 2 * kv_heads) * width, depth),
        q_norm=norm,
        k_norm=norm,
        out=stacked(depth, heads * width),
        mlp_norm=near_one(layers, depth),
        gate=stacked(hidden, depth),
        up=stacked(hidden, depth),
        down=down,
        norm=near_one(depth),
        head=panels(some(VOCABULARY, depth)),
        rotary=np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32),
    )
    return weights, Sizes(heads, kv_heads, width, 1e-6), layers, hidden


def empty_pools(layers, pages, sizes):
    """Pools full of what a careless reader would trip over."""
    keys, values = pools(layers, pages, sizes)
    keys[:], values[:] = np.nan, np.nan
    return keys, values


def read(weights, sizes, layers, ids, table, pieces, pool=None):
    """Logits of all positions of a sequence that is read in pieces."""
    keys, values = pool or empty_pools(layers, int(table.max()) + 1, sizes)
    parts, first = [], 0
    for count in pieces:
        at = np.arange(first, first + count)
        places, wanted = np.zeros(count, np.int64), np.arange(count)
        parts.append(forward(weights, sizes, ids[at], at, places, table[None], wanted, keys, values))
        first += count
    return np.concatenate(parts)[:, :VOCABULARY]


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_the_plain_form(name):
    weights, sizes, layers, hidden = made(SHAPES[name])
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 101)
    table = np.array([3, 1, 4, 2], np.int32)
    found = read(weights, sizes, layers, ids, table, [101])
    exact = logits_plainly(weights, sizes, ids, VOCABULARY, hidden)
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()


@pytest.mark.parametrize("name", SHAPES)
def test_pieces_pages_and_threads_change_no_bit(name):
    weights, sizes, layers, _ = made(SHAPES[name])
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 101)
    table = np.array([0, 1, 2, 3], np.int32)
    whole = read(weights, sizes, layers, ids, table, [101])
    for pieces in ([1] * 101, [40, 61], [33, 1, 1, 66]):
        assert np.array_equal(read(weights, sizes, layers, ids, np.array([6, 0, 5, 2], np.int32), pieces), whole)
    before = numba.get_num_threads()
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            assert np.array_equal(read(weights, sizes, layers, ids, table, [101]), whole)
    finally:
        numba.set_num_threads(before)


def test_a_row_is_the_same_among_others():
    weights, sizes, layers, _ = made(SHAPES["grouped"])
    random = np.random.default_rng(2)
    texts = [random.integers(0, VOCABULARY, int(random.integers(1, 90))) for _ in range(13)]
    alone = [read(weights, sizes, layers, ids, np.arange(3, dtype=np.int32), [len(ids)]) for ids in texts]
    tables = random.permutation(13 * 3).astype(np.int32).reshape(13, 3)
    order = random.permutation(sum(map(len, texts)))  # rows of all texts in any order
    ids, positions = np.concatenate(texts)[order], np.concatenate([np.arange(len(one)) for one in texts])[order]
    places = np.repeat(np.arange(13), [len(one) for one in texts])[order]
    keys, values = empty_pools(layers, 39, sizes)
    found = forward(weights, sizes, ids, positions, places, tables, np.arange(len(order)), keys, values)
    together = np.empty_like(found)
    together[order] = found
    assert np.array_equal(together[:, :VOCABULARY], np.concatenate(alone))


def test_only_the_pages_of_a_table_are_written():
    weights, sizes, layers, _ = made(SHAPES["odd"])
    keys, values = empty_pools(layers, 5, sizes)
    read(weights, sizes, layers, np.arange(PAGE + 3), np.array([4, 1], np.int32), [PAGE + 3], (keys, values))
    assert np.isnan(keys[:, [0, 2, 3]]).all() and np.isnan(values[:, [0, 2, 3]]).all()
    assert np.isnan(keys[:, 1, :, :, 3:]).all() and not np.isnan(keys[:, 1, :, :, :3]).any()
    assert keys.nbytes + values.nbytes == 5 * page_bytes(layers, sizes)
