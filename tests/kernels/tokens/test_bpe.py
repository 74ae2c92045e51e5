"""Compiled byte-level BPE gives the ids of Hugging Face's tokenizers, for any vocabulary, text and length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from kernels.tokens.bpe import BadVocabulary, Bpe
from kernels.tokens.merging import SCANNED_BYTES, merge_reference
from models.data.encoder import byte_characters, classes
from tests.bounded import in_bounded_work

BYTES = [bytes([value]) for value in range(256)]


def made(choices: list[tuple[int, int]]) -> tuple[list[bytes], list[tuple[int, int]]]:
    """A vocabulary over the letters a to d: each choice merges two of the tokens so far, however they came about."""
    tokens, known, merges = list(BYTES), [97, 98, 99, 100], []
    for left, right in choices:
        pair = known[left % len(known)], known[right % len(known)]
        token = tokens[pair[0]] + tokens[pair[1]]
        if len(token) <= 40 and pair not in merges:
            merges.append(pair)
            if token not in tokens:
                known.append(len(tokens))
                tokens.append(token)
    return tokens, merges


def library(tokens: list[bytes], merges: list[tuple[int, int]]) -> Tokenizer:
    characters = byte_characters()
    spelled = ["".join(characters[value] for value in token) for token in tokens]
    vocabulary = {text: index for index, text in enumerate(spelled)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[(spelled[a], spelled[b]) for a, b in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encode(bpe: Bpe, *texts: str) -> list[list[int]]:
    parts = [text.encode() for text in texts]
    starts = np.cumsum([0, *map(len, parts)])
    ids, ends = bpe.encode(np.frombuffer(b"".join(parts), np.uint8), starts)
    return [part.tolist() for part in np.split(ids, ends[:-1])]


CHOICES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40)
LETTERS = st.text("abcd", min_size=1, max_size=3 * SCANNED_BYTES)


@given(CHOICES, LETTERS)
def test_ids_are_the_librarys_for_any_merges_even_two_that_make_one_token(choices, text):
    tokens, merges = made(choices)
    assert encode(Bpe.build(tokens, merges, classes()), text) == [library(tokens, merges).encode(text).ids]


@given(CHOICES, st.lists(LETTERS, max_size=6))
def test_ids_are_those_of_the_plain_rule_and_do_not_depend_on_the_texts_beside(choices, texts):
    tokens, merges = made(choices)
    merged = [tokens.index(tokens[a] + tokens[b]) for a, b in merges]
    bpe = Bpe.build(tokens, merges, classes())
    if bpe.heap_always:  # equal tokens from other merges: the plain rule has another order
        return
    ranks = {pair: (rank, token) for rank, (pair, token) in enumerate(zip(merges, merged))}
    expected = [merge_reference(text.encode(), bpe.byte_ids, ranks) for text in texts]
    assert (encode(bpe, *texts) if texts else []) == expected
    assert [encode(bpe, text)[0] for text in texts] == expected


def test_a_word_of_a_million_letters_is_merged_in_bounded_work():
    tokens, merges = made([(k * 7 % 11, k * 5 % 13) for k in range(60)])
    bpe = Bpe.build(tokens, merges, classes())
    draw = np.random.default_rng(3)
    with in_bounded_work():
        encode(bpe, "".join(map(chr, draw.integers(97, 101, 1_000_000))))


def test_vocabulary_without_all_bytes_or_with_a_merge_to_nothing_is_refused():
    with pytest.raises(BadVocabulary, match="0x00"):
        Bpe.build(BYTES[1:], [], classes())
    with pytest.raises(BadVocabulary, match="merge 0"):
        Bpe.build(BYTES, [(97, 98)], classes())
    with pytest.raises(BadVocabulary, match="code points"):
        Bpe.build(BYTES, [], np.zeros(3, np.uint8))
