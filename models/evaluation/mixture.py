"""A variant's training stream: pieces of documents in an order of the seed, sources in pinned shares, exactly n tokens.

Pieces rather than documents, for a short training would read a few long documents and little of the rest. The place of
a piece in the order depends on the seed, its document's id and its number in it alone, so variants that share a
document read the like pieces, and two variants of a seed differ in what they do not share. Where a source is too small
for its share, its pieces come again, in the same order; how often is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.config import InputError
from models.data.tokenizer import END_OF_TEXT_ID
from models.seeds import derive


@dataclass(frozen=True)
class Encoded:
    """A document's tokens, its begin token first."""

    doc_id: str
    source: str
    tokens: np.ndarray


@dataclass(frozen=True)
class Piece:
    """What a stream takes of one document: a begin token, then its tokens from `start` on."""

    document: Encoded
    start: int  # counted in document.tokens, where 0 is the begin token
    length: int  # tokens, with the begin token
    turn: int  # 0 when it is read for the first time

    @property
    def tokens(self) -> np.ndarray:
        return np.concatenate([[END_OF_TEXT_ID], self.document.tokens[self.start : self.start + self.length - 1]])


def quotas(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Tokens of each source that add up to `total`, in the shares of the weights; the largest remainders round up."""
    whole = sum(weights.values())
    if whole <= 0 or min(weights.values()) < 0:
        raise InputError("mixture weights must be 0 or more, and one above 0")
    exact = {source: weight / whole * total for source, weight in weights.items()}
    found = {source: int(share) for source, share in exact.items()}
    order = sorted(exact, key=lambda source: (found[source] - exact[source], source))
    for source in order[: total - sum(found.values())]:
        found[source] += 1
    return found


def stream(
    documents: Sequence[Encoded], weights: Mapping[str, float], total: int, seed: int, piece_tokens: int
) -> list[Piece]:
    """The pieces of a stream of `total` tokens, at most `piece_tokens` each, the begin token counted.

    Raises InputError where a source that has a share has no documents.
    """
    by_source: dict[str, list[Encoded]] = {}
    for document in documents:
        if len(document.tokens) > 1:
            by_source.setdefault(document.source, []).append(document)
    pieces = []
    for source, quota in sorted(quotas(weights, total).items()):
        if not quota:
            continue
        if source not in by_source:
            raise InputError(f"the source {source} has a share of {weights[source]:.1%} and no documents")
        own = ((one, start) for one in by_source[source] for start in range(1, len(one.tokens), piece_tokens - 1))
        order = sorted(own, key=lambda piece: (derive(seed, "stream", piece[0].doc_id, piece[1]), piece[0].doc_id))
        turn = 0
        while quota:
            for document, start in order:
                length = min(quota, piece_tokens, len(document.tokens) - start + 1)
                pieces.append(Piece(document, start, length, turn))
                quota -= length
                if not quota:
                    break
            turn += 1
    return pieces
