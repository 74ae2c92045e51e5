"""Shards give back what was written, and every position finds its document."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.tokens.shards import CorruptShard, SplitReader, SplitWriter, TokenOutOfRange, write_manifest

DOCUMENTS = st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=12), min_size=1, max_size=12)


def write(directory, documents, vocab_size=300, max_file_tokens=1 << 28):
    writer = SplitWriter(directory, "train", vocab_size, max_file_tokens)
    for index, tokens in enumerate(documents):
        writer.add(f"doc-{index}", tokens, text_bytes=3 * len(tokens))
    return write_manifest(directory, tokenizer_sha256="ab", vocab_size=vocab_size, splits={"train": writer.close()})


@given(documents=DOCUMENTS, max_file_tokens=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_documents_come_back_and_positions_find_them(tmp_path_factory, documents, max_file_tokens):
    directory = tmp_path_factory.mktemp("shards")
    write(directory, documents, max_file_tokens=max_file_tokens)
    reader = SplitReader(directory, "train")
    flat = [token for tokens in documents for token in tokens]
    owners = [index for index, tokens in enumerate(documents) for _ in tokens]
    assert [reader.document(i).tolist() for i in range(len(documents))] == documents
    assert reader.documents_at(range(len(flat))).tolist() == owners
    assert [reader.doc_ids[i] for i in range(len(documents))] == [f"doc-{i}" for i in range(len(documents))]
    for start in range(0, len(flat), 3):
        assert reader.read(start, len(flat)).tolist() == flat[start:]


def test_the_file_is_bare_little_endian_numbers(tmp_path):
    write(tmp_path, [[1, 2], [258]])
    assert (tmp_path / "train-00000.bin").read_bytes() == bytes([1, 0, 2, 0, 2, 1])


def test_large_vocabularies_take_four_bytes(tmp_path):
    manifest = write(tmp_path, [[70_000]], vocab_size=70_001)
    assert manifest["dtype"] == "uint32"
    assert SplitReader(tmp_path, "train").read(0, 1).tolist() == [70_000]


def test_manifest_counts_and_bytes_do_not_depend_on_the_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (write(tmp_path / name, [[5, 6, 7], [8]]) for name in ("a", "b"))
    assert first == second
    assert first["splits"]["train"] == {"tokens": 4, "documents": 2, "text_bytes": 12}
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


@pytest.mark.parametrize("tokens", [[300], [-1], []])
def test_tokens_outside_of_the_vocabulary_are_refused(tmp_path, tokens):
    with pytest.raises(TokenOutOfRange, match="doc-x"):
        SplitWriter(tmp_path, "train", 300).add("doc-x", tokens, text_bytes=0)


def test_unfinished_directory_is_not_a_shard(tmp_path):
    SplitWriter(tmp_path, "train", 300).close()
    with pytest.raises(CorruptShard, match="manifest"):
        SplitReader(tmp_path, "train")


def test_truncated_file_is_found(tmp_path):
    write(tmp_path, [[1, 2, 3]])
    file = tmp_path / "train-00000.bin"
    file.write_bytes(file.read_bytes()[:4])
    with pytest.raises(CorruptShard, match=r"train-00000\.bin"):
        SplitReader(tmp_path, "train")


def test_a_file_that_the_manifest_does_not_count_is_found(tmp_path):
    manifest = write(tmp_path, [[1, 2, 3]])
    manifest["splits"]["train"]["tokens"] = 4
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptShard, match="manifest says otherwise"):
        SplitReader(tmp_path, "train")


def test_reading_outside_of_the_split_is_refused(tmp_path):
    write(tmp_path, [[1, 2, 3]])
    reader = SplitReader(tmp_path, "train")
    for start, stop in ((0, 4), (-1, 2), (2, 1)):
        with pytest.raises(IndexError):
            reader.read(start, stop)
    with pytest.raises(IndexError):
        reader.documents_at(np.array([3]))
