"""Bits per byte: how many bits a model spends on the tokens of a text, per UTF-8 byte of that text.

Comparable between tokenizers, as bits per token is not. Documents are scored one by one, each from its begin token, so
a figure never depends on what lies beside a document. The begin token itself is not scored: it is no text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from kernels.tokens.shards import SplitReader
from models.data.tokenizer import SPECIAL_TOKENS
from models.nets.transformer import Transformer


@dataclass(frozen=True)
class BitsPerByte:
    """Bits spent on a set of documents."""

    bits: float  # sum of -log2 p over the text tokens
    text_bytes: int  # UTF-8 bytes of the text
    tokens: int  # text tokens scored
    documents: int

    @property
    def value(self) -> float:
        """Bits per byte."""
        return self.bits / self.text_bytes


def token_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """UTF-8 bytes that each id stands for, (V,) int64; special tokens stand for none.

    Exact for byte-level BPE: its vocabulary spells every byte as one character.
    """
    sizes = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for token, index in tokenizer.get_vocab().items():
        sizes[index] = 0 if token in SPECIAL_TOKENS else len(token)
    return sizes


def document_indices(reader: SplitReader, max_tokens: int | None = None) -> range:
    """The first documents of a split, in their order, up to `max_tokens` tokens in all (at least one document)."""
    documents = len(reader.doc_ids)
    if max_tokens is None:
        return range(documents)
    return range(max(1, int(np.searchsorted(reader.starts[1:], max_tokens, side="right"))))


@torch.inference_mode()
def model_bits(
    model: Transformer,
    reader: SplitReader,
    sizes: np.ndarray,
    *,
    max_tokens: int | None = None,
    documents: Sequence[int] | None = None,
    batch_size: int = 8,
) -> BitsPerByte:
    """Bits of the model on a split's documents. sizes: `token_bytes` of its tokenizer.

    documents: which ones, by index; else the first ones up to max_tokens, or all.

    A document longer than the model's context is cut into windows that share one token: every text token is predicted
    exactly once, from what precedes it in its own window.
    """
    indices = document_indices(reader, max_tokens) if documents is None else documents
    context = model.config.max_seq_len
    windows = []
    for index in indices:
        tokens = reader.document(index)
        windows += [tokens[first : first + context + 1] for first in range(0, len(tokens) - 1, context)]
    windows.sort(key=len)
    device = model.embedding.weight.device
    nats, scored, size = 0.0, 0, 0
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        ids = np.zeros((len(batch), len(batch[-1])), dtype=np.int64)
        real = np.zeros(ids.shape, dtype=bool)
        for row, window in enumerate(batch):
            ids[row, : len(window)], real[row, : len(window)] = window, True
        inputs = torch.from_numpy(ids).to(device)
        logprobs = model(inputs[:, :-1]).log_softmax(-1).gather(-1, inputs[:, 1:, None])[..., 0]
        nats -= float(logprobs.double().cpu()[torch.from_numpy(real[:, 1:])].sum())
        scored += int(real[:, 1:].sum())
        size += int(sizes[ids[:, 1:]][real[:, 1:]].sum())
    return BitsPerByte(nats / math.log(2), size, scored, len(indices))


def uniform_bits(reader: SplitReader, sizes: np.ndarray, vocab_size: int) -> BitsPerByte:
    """A predictor that knows nothing: log2(V) bits for every text token."""
    tokens = _text_tokens(reader)
    return BitsPerByte(math.log2(vocab_size) * len(tokens), int(sizes[tokens].sum()), len(tokens), len(reader.doc_ids))


def unigram_bits(reader: SplitReader, training: SplitReader, sizes: np.ndarray, vocab_size: int) -> BitsPerByte:
    """A predictor that knows how often each token occurs in the training split, with add-one smoothing."""
    bits = unigram_table(training, vocab_size)
    tokens = _text_tokens(reader)
    return BitsPerByte(float(bits[tokens].sum()), int(sizes[tokens].sum()), len(tokens), len(reader.doc_ids))


def unigram_table(training: SplitReader, vocab_size: int) -> np.ndarray:
    """Bits that the unigram predictor spends on each token, (V,) float64."""
    counts = np.bincount(_text_tokens(training), minlength=vocab_size) + 1
    return np.log2(counts.sum()) - np.log2(counts)


def _text_tokens(reader: SplitReader) -> np.ndarray:
    """All tokens of a split but the documents' begin tokens."""
    text = np.ones(reader.tokens, dtype=bool)
    text[reader.starts[:-1]] = False
    return reader.read(0, reader.tokens)[text]
