"""Signatures are datatrove's own, byte for byte, on real pages and on text made to differ."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text import minhash

CONFIG = MinhashConfig(hash_config=HashConfig(hash_fc="sha1", precision=64), num_buckets=14, hashes_per_bucket=8)
AWKWARD = [
    "",
    "four words are few",
    "five words are just enough",
    "1,234.56 and ١٢٣ and ½ of it, in 2024-05-01T10:11:12Z, cost €9.99!",
    "Élan naïve coöperate Ångström e\u0301lan ﬁne ǅ İstanbul ẞ straße",
    "don't can't he's U.S. Ph.D. :) <3 it's... end—start “quoted” 'n' rock'n'roll gonna",
    "tabs\tand\x00nul\x1fcontrol\u200bzero\xa0width \u2028 line sep and more words here",
    "中文 text 与 English 混合 words and more words to reach five",
    "same same same same same same same same same same",
]


def texts(shared_data: Path, n: int) -> list[str]:
    with gzip.open(shared_data / "pages" / "webpages.gold.jsonl.gz", "rt") as lines:
        rows = [json.loads(line)["text"] for line in lines]
    return [text for text in rows if text][:n]


def datatrove_records(documents: list[str], folder: Path) -> list[bytes]:
    step = MinhashDedupSignature(str(folder), config=CONFIG)
    step.run((Document(text=text, id=str(i)) for i, text in enumerate(documents)), rank=0, world_size=1)
    return [(folder / f"bucket_{band:03d}" / "00000.minhash.sig").read_bytes() for band in range(14)]


def our_records(documents: list[str]) -> list[bytes]:
    buckets: list[list[tuple[list[int], int, bytes]]] = [[] for _ in range(minhash.BANDS)]
    for position, text in enumerate(documents):
        values = minhash.signature(text)
        if values is not None:
            records = minhash.datatrove_records(values, position)
            for bucket, band, record in zip(buckets, values.reshape(minhash.BANDS, -1).tolist(), records):
                bucket.append((band, position, record))
    return [b"".join(record for *_, record in sorted(bucket)) for bucket in buckets]


def test_signature_files_are_byte_equal_to_datatroves_on_real_pages(shared_data, tmp_path):
    documents = texts(shared_data, 80)
    assert our_records(documents) == datatrove_records(documents, tmp_path)


def test_signature_files_are_byte_equal_on_awkward_text(tmp_path):
    ours = our_records(AWKWARD)
    assert ours == datatrove_records(AWKWARD, tmp_path)
    assert len(ours[0]) == 68 * sum(minhash.signature(text) is not None for text in AWKWARD)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_shingles_are_datatroves_for_any_text(text):
    step = MinhashDedupSignature("/tmp", config=CONFIG)
    assert minhash.shingles(text).tolist() == step.get_shingles(text).ravel().tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30))
def test_fold_equals_its_reference(hashes):
    values = np.array(hashes, np.uint64)
    assert np.array_equal(minhash.fold(values), minhash.fold_reference(values))


@pytest.mark.parametrize("h", [0, 1, 2**61 - 2, 2**61 - 1, 2**61, 2**63, 2**64 - 1])
def test_fold_is_right_at_the_edges_of_the_modulus(h):
    a, b = minhash.parameters()
    expected = [((h * int(x) + int(y)) % 2**64) % minhash.MERSENNE_61 for x, y in zip(a, b)]
    assert minhash.fold(np.array([h], np.uint64)).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), min_size=5, max_size=30))
def test_a_signature_is_that_of_the_set_of_shingles(tokens):
    once, twice = minhash.shingles(" ".join(tokens)), minhash.shingles(" ".join(tokens))
    assert np.array_equal(minhash.fold(np.concatenate([once, twice])), minhash.fold(once))


def test_short_texts_have_no_signature_and_bytes_round_trip():
    assert minhash.signature("") is None and minhash.signature("four words are few") is None
    values = minhash.signature("five words are just enough")
    assert values is not None
    packed = minhash.to_bytes(values)
    assert len(packed) == 896
    assert np.array_equal(minhash.from_bytes([packed, packed]), np.stack([values, values]))


def test_lone_surrogates_do_not_stop_a_signature():
    assert minhash.signature("one two \ud800 three four five six") is not None
