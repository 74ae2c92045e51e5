"""Packed rows hold every token once an epoch, cut nothing that fits, and say exactly what was read."""

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.tokens.shards import SplitReader, SplitWriter, write_manifest
from models.config import InputError
from models.data.loader import WindowLoader
from models.data.packing import PADDING, PackedLoader, loader_of
from models.data.tokenizer import END_OF_TEXT_ID

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@cache
def shards(lengths: tuple[int, ...]) -> SplitReader:
    """A split of documents of these lengths; every token but the begin tokens occurs once."""
    directory = Path(tempfile.mkdtemp())
    writer, token = SplitWriter(directory, "train", 1 << 20, max_file_tokens=60), 1
    for index, length in enumerate(lengths):
        writer.add(f"doc-{index:03}", [END_OF_TEXT_ID, *range(token, token + length - 1)], length)
        token += length - 1
    write_manifest(directory, tokenizer_sha256="", vocab_size=1 << 20, splits={"train": writer.close()})
    return SplitReader(directory, "train")


def epoch_rows(loader, epoch=0):
    """(ids, segments, targets) of every row of an epoch, by batches of one."""
    batches = [loader.batch(epoch * loader.rows + step) for step in range(loader.rows)]
    return [(b.ids[0], b.segments[0], b.targets[0]) for b in batches]


@given(lengths=LENGTHS, seq_len=st.integers(1, 24), seed=st.integers(0, 2**32), epoch=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_token_is_read_once_an_epoch(lengths, seq_len, seed, epoch):
    reader = shards(tuple(lengths))
    loader = PackedLoader(reader, 1, seq_len, seed)
    seen = Counter(int(t) for ids, segments, _ in epoch_rows(loader, epoch) for t in ids[segments != PADDING])
    assert seen == Counter(reader.read(0, reader.tokens).tolist())
    assert loader.waste == pytest.approx(1 - reader.tokens / (loader.rows * (seq_len + 1)))


@given(lengths=LENGTHS, seq_len=st.integers(1, 24), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_only_documents_longer_than_a_row_are_cut(lengths, seq_len, seed):
    reader = shards(tuple(lengths))
    loader = PackedLoader(reader, 1, seq_len, seed)
    pieces = Counter()
    for step in range(loader.rows):
        for row in loader.documents(step).to_pylist():
            pieces[row["doc_id"]] += 1
            whole = lengths[int(row["doc_id"][4:])]
            assert row["start"] % (seq_len + 1) == 0 and row["tokens"] == min(seq_len + 1, whole - row["start"])
    assert pieces == Counter({f"doc-{i:03}": -(-n // (seq_len + 1)) for i, n in enumerate(lengths)})


@given(lengths=LENGTHS, seq_len=st.integers(1, 24), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_targets_are_the_next_token_of_the_document_or_its_end(lengths, seq_len, seed):
    reader = shards(tuple(lengths))
    after = reader.read(0, reader.tokens).tolist()
    after = dict(zip(after, [*after[1:], END_OF_TEXT_ID], strict=True))  # of tokens that occur once
    for ids, segments, targets in epoch_rows(PackedLoader(reader, 1, seq_len, seed)):
        for place in range(seq_len):
            token, following = int(ids[place]), int(ids[place + 1])
            if segments[place] == PADDING:
                assert not targets[place]
            elif segments[place] == segments[place + 1]:
                assert targets[place] and (token == END_OF_TEXT_ID or after[token] == following)
            elif targets[place]:
                assert following == END_OF_TEXT_ID and (token == END_OF_TEXT_ID or after[token] == END_OF_TEXT_ID)
            else:  # what follows belongs to another document, of which this one is no beginning
                assert following != END_OF_TEXT_ID or (token != END_OF_TEXT_ID and after[token] != END_OF_TEXT_ID)


@given(lengths=LENGTHS, seq_len=st.integers(1, 24), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_rows_begin_with_a_document_or_the_rest_of_a_long_one(lengths, seq_len, seed):
    for ids, segments, _ in epoch_rows(PackedLoader(shards(tuple(lengths)), 1, seq_len, seed)):
        real = segments[segments != PADDING]
        assert segments[0] == 0 and np.array_equal(np.sort(real), real) and (segments[len(real) :] == PADDING).all()
        assert ids[0] == END_OF_TEXT_ID or max(lengths) > seq_len + 1


@pytest.fixture(scope="module")
def reader(trained) -> SplitReader:
    return SplitReader(trained["shards_dir"], "train")


def test_a_row_begins_with_its_begin_token_where_nothing_is_too_long(reader):
    loader = PackedLoader(reader, 4, 1023, 1)
    assert np.diff(reader.starts).max() <= 1024
    assert all((loader.batch(step).ids[:, 0] == END_OF_TEXT_ID).all() for step in range(loader.rows // 4))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_global_batch_does_not_depend_on_the_number_of_processes(reader, world):
    whole = PackedLoader(reader, 8, 64, 4).batch(3)
    parts = [PackedLoader(reader, 8, 64, 4).batch(3, rank, world) for rank in range(world)]
    for name in ("ids", "segments", "targets"):
        joined = np.stack([getattr(part, name) for part in parts], 1).reshape(getattr(whole, name).shape)
        assert np.array_equal(joined, getattr(whole, name))


def test_a_batch_is_a_function_of_the_step_whatever_was_asked_before(reader):
    steps = [0, 90, 3, 41, 3, 90]
    one, fresh = PackedLoader(reader, 4, 32, 7), {}
    for step in steps:
        fresh[step] = PackedLoader(reader, 4, 32, 7).batch(step)
        assert np.array_equal(one.batch(step).ids, fresh[step].ids)
    assert not np.array_equal(fresh[0].ids, fresh[3].ids)
    assert not np.array_equal(PackedLoader(reader, 4, 32, 8).batch(0).ids, fresh[0].ids)


def test_epochs_pack_other_pieces_together():
    loader = PackedLoader(shards(tuple(1 + 7 * i % 23 for i in range(80))), 1, 40, 4)
    companions = [
        {frozenset(loader.pieces(epoch * loader.rows + step)[0].tolist()) for step in range(loader.rows)}
        for epoch in (0, 1)
    ]
    assert companions[0] != companions[1]


@pytest.mark.parametrize("steps", [1, 7, 60])
def test_consumed_documents_are_exactly_those_that_were_read(reader, steps):
    loader = PackedLoader(reader, 4, 48, 4)
    reads = np.zeros(reader.tokens, dtype=np.int64)
    place = {doc_id: int(start) for doc_id, start in zip(reader.doc_ids, reader.starts, strict=False)}
    for step in range(steps):
        batch, rows = loader.batch(step), loader.documents(step).to_pylist()
        read = [
            reader.read(place[r["doc_id"]] + r["start"], place[r["doc_id"]] + r["start"] + r["tokens"]) for r in rows
        ]
        assert np.array_equal(np.concatenate(read), batch.ids[batch.segments != PADDING])
        for row in rows:
            start = place[row["doc_id"]] + row["start"]
            reads[start : start + row["tokens"]] += 1
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


def test_a_recipe_names_its_loader_and_an_old_one_reads_windows(reader):
    plain = {"batch_size": 2, "seq_len": 16}
    assert isinstance(loader_of(reader, plain, 1), WindowLoader)
    assert isinstance(loader_of(reader, plain | {"packing": "best_fit"}, 1), PackedLoader)
    with pytest.raises(InputError, match="not divisible"):
        loader_of(reader, plain | {"packing": "best_fit"}, 1).batch(0, 0, 3)
