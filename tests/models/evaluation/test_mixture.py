"""A stream has exactly the tokens and the shares that were pinned, and two variants share what they share."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import InputError
from models.evaluation.mixture import Encoded, quotas, stream


def document(doc_id: str, source: str, length: int) -> Encoded:
    number = int(doc_id.removeprefix("d"))
    return Encoded(doc_id, source, np.array([0, *range(1000 * number + 1, 1000 * number + length)], dtype=np.int64))


DOCUMENTS = [document(f"d{i}", "ab"[i % 2], 40 + 17 * i % 90) for i in range(12)]


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 10), min_size=1), st.integers(1, 10_000))
def test_quotas_add_up_and_stay_within_a_token_of_the_shares(weights, total):
    found, whole = quotas(weights, total), sum(weights.values())
    assert sum(found.values()) == total
    assert all(abs(found[name] - weight / whole * total) < 1 for name, weight in weights.items())


@pytest.mark.parametrize("total", [1, 100, 481, 5000])
def test_a_stream_has_the_pinned_tokens_of_each_source(total):
    pieces = stream(DOCUMENTS, {"a": 0.7, "b": 0.3}, total, seed=1, piece_tokens=32)
    lengths = Counter()
    for piece in pieces:
        assert len(piece.tokens) == piece.length <= 32 and piece.tokens[0] == 0
        lengths[piece.document.source] += piece.length
    assert dict(lengths) == {name: n for name, n in quotas({"a": 0.7, "b": 0.3}, total).items() if n}


def test_each_turn_reads_every_token_of_a_source_once():
    whole = sum(len(one.tokens) - 1 for one in DOCUMENTS)
    pieces = [piece for piece in stream(DOCUMENTS, {"a": 1, "b": 1}, 4 * whole, 1, 32) if piece.turn == 0]
    text = np.concatenate([piece.tokens[1:] for piece in pieces])
    assert sorted(text) == sorted(np.concatenate([one.tokens[1:] for one in DOCUMENTS]))


def test_variants_that_share_documents_read_their_pieces_in_the_same_order():
    some = [one for one in DOCUMENTS if one.doc_id not in ("d0", "d4")]
    order = [
        [(piece.document.doc_id, piece.start) for piece in stream(chosen, {"a": 1}, 2000, 5, 32) if not piece.turn]
        for chosen in (DOCUMENTS, some)
    ]
    assert [one for one in order[0] if one[0] not in ("d0", "d4")][: len(order[1])] == order[1]
    assert order[1] != sorted(order[1])


def test_seeds_read_in_other_orders_and_one_seed_always_the_same():
    first, again, other = (
        [(piece.document.doc_id, piece.start) for piece in stream(DOCUMENTS, {"a": 1}, 200, seed, 32)]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_source_without_documents_is_an_error_that_names_it():
    with pytest.raises(InputError, match="source c has a share"):
        stream(DOCUMENTS, {"a": 0.5, "c": 0.5}, 100, 0, 32)
