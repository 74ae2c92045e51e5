"""Signatures of a ragged batch have the bits of kernels/text/minhash.py, and no byte beside them is touched."""

import numpy as np
import pytest
import torch

from kernels.device import minhash
from kernels.device.logprobs import UnusableShapes, has_triton
from kernels.text.minhash import MERSENNE_61, fold, fold_reference, parameters, signature
from kernels.text.shingles import shingles
from tests.kernels.device.margins import MARGIN, with_margins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRITON = pytest.mark.skipif(not has_triton(), reason="no triton")
PASSES = ["torch", pytest.param("triton", marks=TRITON)]
EDGES = [0, 1, 2**61 - 2, 2**61 - 1, 2**61, 2**63 - 1, 2**63, 2**64 - 1]


def on_device(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values).view(np.int64)).to(DEVICE)


def folded(documents, passes, factors=None):
    """Signatures (D, P) as uint64 of lists of hashes."""
    offsets = np.cumsum([0, *map(len, documents)])
    hashes = np.concatenate([np.empty(0, np.uint64), *documents])
    found = minhash.signatures(
        on_device(hashes), on_device(offsets), *map(on_device, factors or parameters()), passes=passes
    )
    return found.cpu().numpy().view(np.uint64)


@pytest.mark.parametrize("passes", PASSES)
def test_documents_of_any_length_have_the_bits_of_the_reference(passes, monkeypatch):
    monkeypatch.setitem(minhash.CHUNK_BYTES, DEVICE, 8 * 112 * 7)  # chunks that no document's end meets
    draws = np.random.default_rng(0)
    lengths = [1, 31, 32, 33, 0, 97, 0, 2]
    documents = [draws.integers(0, 2**64, length, dtype=np.uint64) for length in lengths]
    for own, hashes in zip(folded(documents, passes), documents, strict=True):
        assert np.array_equal(own, fold_reference(hashes) if len(hashes) else fold(hashes))


@pytest.mark.parametrize("passes", PASSES)
def test_residues_at_the_borders_of_the_prime_and_of_the_word(passes):
    hashes = np.array(EDGES, np.uint64)
    a, b = np.ones(3, np.uint64), np.array([0, 1, 2**61 - 2], np.uint64)
    found = folded([np.array([one], np.uint64) for one in EDGES], passes, (a, b))
    assert np.array_equal(found, (hashes[:, None] * a + b) % np.uint64(MERSENNE_61))


@pytest.mark.parametrize("passes", PASSES)
def test_no_document_and_only_empty_ones(passes):
    assert folded([], passes).shape == (0, 112)
    assert (folded([np.empty(0, np.uint64)] * 3, passes) == MERSENNE_61).all()


def test_texts_have_the_signatures_of_the_data_stages():
    texts = ["one two three four five six " * 3, "Ein anderer Text mit mehr als fünf Wörtern.", "too short"]
    found = folded([shingles(text) for text in texts], "torch")
    for own, text in zip(found, texts, strict=True):
        expected = signature(text)
        assert np.array_equal(own, expected) if expected is not None else (own == MERSENNE_61).all()


@TRITON
def test_triton_touches_only_its_own_bytes(monkeypatch):
    from kernels.device import minhash_triton

    margins = with_margins(monkeypatch, minhash_triton.torch)
    hashes = margins.buffer((5,), dtype=torch.int64, device=DEVICE).copy_(torch.arange(5) * 0x9E3779B97F4A7C1)
    offsets = margins.buffer((3,), dtype=torch.int64, device=DEVICE).copy_(torch.tensor([0, 2, 5]))
    a, b = (on_device(one[:19]) for one in parameters())
    found = minhash.signatures(hashes, offsets, a, b, passes="triton").cpu().numpy().view(np.uint64)
    plain = hashes.cpu().numpy().view(np.uint64)
    assert np.array_equal(found, [fold_reference(part)[:19] for part in (plain[:2], plain[2:])])
    margins.check(at_least=3)
    assert MARGIN >= minhash_triton.HASHES  # a tile that reads over the end of the hashes reads poison


def test_arguments_that_do_not_belong_together_are_refused():
    some, floats = torch.zeros(3, dtype=torch.int64), torch.zeros(3)
    with pytest.raises(UnusableShapes, match="int64"):
        minhash.signatures(floats, some, some, some)
    with pytest.raises(UnusableShapes, match="one a value"):
        minhash.signatures(some, some, some, some[:2])
