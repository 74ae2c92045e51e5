"""Tokens are scored one by one as the bits of whole documents are, whatever stands beside them."""

import dataclasses

import numpy as np
import pytest

from kernels.tokens.shards import SplitReader
from models.data.tokenizer import load_tokenizer
from models.evaluation.bits import model_bits, token_bytes
from models.evaluation.scoring import score
from models.nets.transformer import Transformer


@pytest.fixture(scope="module")
def setting(trained, tiny):
    tokenizer = load_tokenizer(trained["tokenizer_dir"])
    model = Transformer(dataclasses.replace(tiny, vocab_size=tokenizer.get_vocab_size()), 4).eval()
    return model, SplitReader(trained["shards_dir"], "heldout"), token_bytes(tokenizer)


def test_scores_add_up_to_the_bits_of_documents(setting):
    model, reader, sizes = setting
    windows = [
        tokens[first : first + 65]
        for tokens in map(reader.document, range(len(reader.doc_ids)))
        for first in range(0, len(tokens) - 1, 64)
    ]
    found, whole = score(model, windows, sizes, batch_size=3), model_bits(model, reader, sizes)
    assert sum(one.bits for one in found) == pytest.approx(whole.bits, rel=1e-6)
    assert sum(int(one.bytes_T.sum()) for one in found) == whole.text_bytes
    assert sum(len(one.nats_T) for one in found) == whole.tokens


def test_a_window_is_scored_alike_alone_and_in_company(setting):
    model, reader, sizes = setting
    windows = [reader.document(0)[:40], reader.document(1)[:12], reader.document(2)[:33]]
    together = score(model, windows, sizes)
    for window, one in zip(windows, together, strict=True):
        (alone,) = score(model, [window], sizes)
        assert np.allclose(alone.nats_T, one.nats_T, atol=1e-5)
        assert (alone.likeliest_T == one.likeliest_T).all() and (alone.bytes_T == one.bytes_T).all()


def test_windows_that_differ_in_their_last_token_alone_are_read_once(setting):
    model, reader, sizes = setting
    base, rows = reader.document(0)[:20], []
    windows = [np.append(base, last) for last in (5, 9, 5, 30)] + [reader.document(1)[:21]]
    alone = [score(model, [window], sizes)[0] for window in windows]
    hook = model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    together = score(model, windows, sizes)
    hook.remove()
    assert rows == [2]
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one.nats_T, other.nats_T, atol=1e-5)
        assert (one.likeliest_T == other.likeliest_T).all() and (one.bytes_T == other.bytes_T).all()
    assert together[0].bits == together[2].bits != together[1].bits
