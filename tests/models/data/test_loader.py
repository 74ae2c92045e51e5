"""The order of tokens is a function of (seed, step, row) that visits everything once an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.tokens.shards import SplitReader
from models.config import InputError
from models.data.loader import WindowLoader, permute


@pytest.fixture(scope="module")
def reader(trained) -> SplitReader:
    return SplitReader(trained["shards_dir"], "train")


@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
@settings(max_examples=80, deadline=None)
def test_permutation_is_a_bijection(size, key):
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


def test_permutation_moves_and_depends_on_the_key():
    first, second = (permute(np.arange(1000), 1000, key) for key in (1, 2))
    assert (first == np.arange(1000)).sum() < 10 and (first == second).sum() < 10
    assert permute(np.array([7]), 1000, 1)[0] == first[7]


def test_every_window_is_read_once_an_epoch(reader):
    loader = WindowLoader(reader, batch_size=5, seq_len=16, seed=4)
    epochs = 3
    starts = np.concatenate([loader.starts(step) for step in range(-(-epochs * loader.windows // 5))])
    for epoch in range(epochs):
        visited = np.sort(starts[epoch * loader.windows : (epoch + 1) * loader.windows])
        assert np.array_equal(np.diff(visited), np.full(loader.windows - 1, 16))
        assert 0 <= visited[0] < 16 and visited[-1] + 17 <= reader.tokens


def test_epochs_differ_in_order_and_offset(reader):
    loader = WindowLoader(reader, batch_size=1, seq_len=16, seed=4)
    first, second = (np.concatenate([loader.starts(e * loader.windows + i) for i in range(30)]) for e in (0, 1))
    assert not np.array_equal(first, second)
    assert len({int(start) % 16 for start in (*first, *second)}) == 2


@pytest.mark.parametrize("world", [1, 2, 4])
def test_global_batch_does_not_depend_on_the_number_of_processes(reader, world):
    loader = WindowLoader(reader, batch_size=8, seq_len=16, seed=4)
    whole = loader.batch(3)
    parts = [loader.batch(3, rank, world) for rank in range(world)]
    assert np.array_equal(np.stack(parts, 1).reshape(whole.shape), whole)
    assert whole.shape == (8, 17)


def test_batches_hold_the_tokens_at_their_positions(reader):
    loader = WindowLoader(reader, batch_size=4, seq_len=16, seed=4)
    for start, row in zip(loader.starts(2), loader.batch(2), strict=True):
        assert row.tolist() == reader.read(start, start + 17).tolist()


@pytest.mark.parametrize("steps", [1, 7, 200])
def test_consumed_documents_are_exactly_those_that_were_read(reader, steps):
    loader = WindowLoader(reader, batch_size=4, seq_len=16, seed=4)
    reads = np.zeros(reader.tokens, dtype=np.int64)
    for step in range(steps):
        for start in loader.starts(step):
            reads[start : start + 17] += 1
    owner = reader.documents_at(np.arange(reader.tokens))
    expected = [
        {
            "doc_id": doc_id,
            "tokens": int((reads[owner == index] > 0).sum()),
            "times": int(reads[owner == index].max()),
            "reads": int(reads[owner == index].sum()),
        }
        for index, doc_id in enumerate(reader.doc_ids)
        if reads[owner == index].any()
    ]
    assert loader.consumed(steps).to_pylist() == sorted(expected, key=lambda row: row["doc_id"])
    assert sum(row["reads"] for row in expected) == steps * 4 * 17


def test_too_few_tokens_and_uneven_processes_are_refused(reader):
    with pytest.raises(InputError, match="too few"):
        WindowLoader(reader, batch_size=1, seq_len=reader.tokens, seed=0)
    with pytest.raises(InputError, match="not divisible"):
        WindowLoader(reader, batch_size=4, seq_len=16, seed=0).batch(0, 0, 3)
