"""Bits per byte count every text token once, in the bytes of the text itself."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from kernels.tokens.shards import SplitReader
from models.data.tokenizer import load_tokenizer
from models.evaluation.bits import document_indices, model_bits, token_bytes, uniform_bits, unigram_bits
from models.nets.transformer import Transformer


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer(trained["tokenizer_dir"])


@pytest.fixture(scope="module")
def readers(trained):
    return SplitReader(trained["shards_dir"], "train"), SplitReader(trained["shards_dir"], "heldout")


@pytest.fixture(scope="module")
def model(tiny, tokenizer):
    return Transformer(dataclasses.replace(tiny, vocab_size=tokenizer.get_vocab_size())).eval()


def test_token_bytes_add_up_to_the_texts_bytes(tokenizer):
    sizes = token_bytes(tokenizer)
    for text in ("The river carries über Öl — naïve", "日本語 🙂\n\n\t x", "<|im_end|>"):
        assert sizes[tokenizer.encode(text).ids].sum() == len(text.encode())
    assert sizes[:4].sum() == 0


@torch.inference_mode()
def test_bits_equal_a_plain_sum_over_documents(model, readers, tokenizer, corpus_documents):
    heldout, texts = readers[1], {doc_id: text for doc_id, _, text in corpus_documents}
    bits = model_bits(model, heldout, token_bytes(tokenizer), batch_size=3)
    expected = scored = 0
    for index in range(len(heldout.doc_ids)):
        tokens = torch.from_numpy(heldout.document(index))
        for first in range(0, len(tokens) - 1, 64):
            window = tokens[first : first + 65]
            logprobs = model(window[None, :-1])[0].double().log_softmax(-1)
            expected -= logprobs.gather(-1, window[1:, None]).sum().item() / math.log(2)
            scored += len(window) - 1
    assert bits.bits == pytest.approx(expected, rel=1e-5)
    assert bits.tokens == scored == heldout.tokens - len(heldout.doc_ids)
    assert bits.text_bytes == sum(len(texts[doc_id].encode()) for doc_id in heldout.doc_ids)
    assert bits.value == bits.bits / bits.text_bytes


def test_a_model_that_knows_nothing_equals_the_uniform_baseline(tiny, readers, tokenizer):
    vocab_size, sizes = tokenizer.get_vocab_size(), token_bytes(tokenizer)
    blank = Transformer(dataclasses.replace(tiny, vocab_size=vocab_size)).eval()
    with torch.no_grad():
        blank.head.weight.zero_()
    bits, uniform = model_bits(blank, readers[1], sizes), uniform_bits(readers[1], sizes, vocab_size)
    assert bits.value == pytest.approx(uniform.value, rel=1e-6)
    assert uniform.bits == pytest.approx(math.log2(vocab_size) * bits.tokens)


def test_unigram_baseline_is_the_smoothed_cross_entropy(readers, tokenizer):
    training, heldout = readers
    vocab_size, sizes = tokenizer.get_vocab_size(), token_bytes(tokenizer)
    counts = np.ones(vocab_size)
    for index in range(len(training.doc_ids)):
        np.add.at(counts, training.document(index)[1:], 1)
    expected = sum(
        -math.log2(counts[token] / counts.sum())
        for index in range(len(heldout.doc_ids))
        for token in heldout.document(index)[1:]
    )
    unigram = unigram_bits(heldout, training, sizes, vocab_size)
    assert unigram.bits == pytest.approx(expected)
    assert unigram.value < uniform_bits(heldout, sizes, vocab_size).value


def test_a_limit_takes_the_first_documents_and_at_least_one(readers):
    heldout = readers[1]
    assert list(document_indices(heldout)) == list(range(len(heldout.doc_ids)))
    assert list(document_indices(heldout, 1)) == [0]
    assert list(document_indices(heldout, int(heldout.starts[2]))) == [0, 1]
