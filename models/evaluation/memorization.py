"""Memorization: which documents a model continues verbatim, by how often it read them.

A document's prompt is some of its tokens from a place that its id decides; it is continued verbatim when the likeliest
token is the document's, each time, up to the end of the continuation. Greedy decoding takes that token and so stays on
the document exactly as long, which one forward pass over the document's own tokens shows without decoding
(tests/models/evaluation/test_memorization.py compares both). Carlini and others 2023 (arXiv 2202.07646) define it so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from kernels.tokens.shards import SplitReader
from models.evaluation.intervals import Estimate, bootstrap_mean, wilson
from models.evaluation.scoring import score
from models.seeds import derive

HELDOUT = "held-out"
UNREAD = "in training data but never read"


@dataclass(frozen=True)
class Probed:
    """What became of one group's documents."""

    exact: Estimate  # share that is continued verbatim, Wilson
    tokens: Estimate  # tokens that agree before the first that does not, mean


def probe(
    model: nn.Module,
    reader: SplitReader,
    documents: Sequence[int],
    *,
    prompt_tokens: int,
    continuation_tokens: int,
    seed: int,
    sizes: np.ndarray,
) -> list[int]:
    """Tokens of each document's continuation that agree before the first that does not.

    documents: indices of documents that are longer than prompt and continuation (`long_enough`).
    """
    whole = prompt_tokens + continuation_tokens
    windows = []
    for index in documents:
        tokens = reader.document(index)[1:]
        place = derive(seed, "memorization", reader.doc_ids[index]) % (len(tokens) - whole + 1)
        windows.append(tokens[place : place + whole])
    agree = [scored.likeliest_T[prompt_tokens - 1 :] for scored in score(model, windows, sizes)]
    return [int(np.argmin(one)) if not one.all() else len(one) for one in agree]


def probed(agreeing: Sequence[int], continuation_tokens: int) -> Probed:
    """The figures of a group of at least one document."""
    exact = sum(one == continuation_tokens for one in agreeing)
    return Probed(wilson(exact, len(agreeing)), bootstrap_mean([float(one) for one in agreeing]))


def long_enough(reader: SplitReader, tokens: int) -> list[int]:
    """Documents with more than so many text tokens; of copies of one the first."""
    lengths = np.diff(reader.starts) - 1
    first = {doc_id: index for index, doc_id in reversed(list(enumerate(reader.doc_ids)))}
    return sorted(index for index in first.values() if lengths[index] > tokens)


def reads_of(reader: SplitReader, consumed: Mapping[str, int]) -> dict[str, float]:
    """How often each document's tokens were read on average, copies together. consumed: token reads by doc_id."""
    lengths: dict[str, int] = {}
    for doc_id, length in zip(reader.doc_ids, np.diff(reader.starts).tolist(), strict=True):
        lengths.setdefault(doc_id, length)
    return {doc_id: consumed.get(doc_id, 0) / length for doc_id, length in lengths.items()}


def read_group(reads: float) -> str:
    """The group of a document whose tokens were read so often on average; ranges double."""
    if reads == 0:
        return UNREAD
    if reads < 1:
        return "read in part"
    low = 2 ** int(np.log2(reads))
    return f"read {low} to {2 * low} times"


def cluster_group(size: int) -> str:
    """The group of a document that stands for so many near-duplicates of the crawl."""
    return "cluster of 1" if size == 1 else f"cluster of {'2 to 4' if size < 5 else '5 or more'}"


def chosen(reader: SplitReader, documents: Sequence[int], most: int) -> list[int]:
    """At most so many of the documents: those whose id's hash is least."""
    order = sorted(documents, key=lambda index: (derive(0, "probed", reader.doc_ids[index]), index))
    return sorted(order[:most])
