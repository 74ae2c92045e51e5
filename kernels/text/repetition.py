"""How much of a text repeats itself: duplicate lines and paragraphs, the commonest n-grams, n-grams seen before.

Source: Rae et al. 2021 (arXiv 2112.11446), table A1, as datatrove 0.10.1's GopherRepetitionFilter measures it. The
n-gram counts run in compiled code over hashes; on equal hashes the characters themselves are compared, so they are
exact. The plain counts beside them (`top_ngram_chars`, `duplicate_ngram_chars`) are what the tests compare with.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numba import njit

from kernels.text.lexicon import Tokenization
from kernels.text.statistics import DUPLICATE_NGRAMS, TOP_NGRAMS


def duplicates(items: Iterable[str]) -> tuple[int, int]:
    """How many items were seen before, and how many code points those hold."""
    seen: set[str] = set()
    count = chars = 0
    for item in items:
        if item in seen:
            count += 1
            chars += len(item)
        else:
            seen.add(item)
    return count, chars


def top_ngram_chars(words: Sequence[str], n: int) -> int:
    """Code points in all places of the commonest n-gram, words joined by spaces; the first among equals; 0 if none."""
    counts = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    if not counts:
        return 0
    ngram, count = counts.most_common(1)[0]
    return len(ngram) * count


def duplicate_ngram_chars(words: Sequence[str], n: int) -> int:
    """Code points in n-grams seen before, words joined by nothing; the scan goes on behind a repeated n-gram."""
    seen: set[str] = set()
    chars = at = 0
    while at + n <= len(words):
        ngram = "".join(words[at : at + n])
        if ngram in seen:
            chars += len(ngram)
            at += n
        else:
            seen.add(ngram)
            at += 1
    return chars


@njit(cache=True)
def _mixed(value):
    value ^= value >> np.uint64(32)
    value *= np.uint64(0xD6E8FEB86659FD93)
    value ^= value >> np.uint64(32)
    value *= np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> np.uint64(32))


@njit(cache=True)
def _top_chars(ids, lengths, n, table, hashes, counts):
    """See `top_ngram_chars`. ids: the words' identities; lengths: their code points; the last three are scratch."""
    total = len(ids) - n + 1
    mask = np.uint64(len(table) - 1)
    table[:] = -1
    for i in range(total):
        key = np.uint64(n)
        for k in range(n):
            key = key * np.uint64(0x9E3779B97F4A7C15) + np.uint64(ids[i + k]) + np.uint64(1)
        key = _mixed(key)
        slot = key & mask
        while True:
            first = table[slot]
            if first < 0:
                table[slot] = i
                hashes[i] = key
                counts[i] = 1
                break
            same = hashes[first] == key
            k = 0
            while same and k < n:
                same = ids[first + k] == ids[i + k]
                k += 1
            counts[i] = 0
            if same:
                counts[first] += 1
                break
            slot = (slot + np.uint64(1)) & mask
    best, best_count = 0, 0
    for i in range(total):
        if counts[i] > best_count:
            best, best_count = i, counts[i]
    if best_count == 0:
        return 0
    chars = n - 1
    for k in range(n):
        chars += lengths[best + k]
    return chars * best_count


@njit(cache=True)
def _duplicate_chars(codes, offsets, prefix, powers, n, table, hashes):
    """See `duplicate_ngram_chars`. codes: code points of all words; offsets: word starts; prefix: rolling hash."""
    n_words = len(offsets) - 1
    mask = np.uint64(len(table) - 1)
    table[:] = -1
    chars = 0
    i = 0
    while i + n <= n_words:
        start, end = offsets[i], offsets[i + n]
        length = end - start
        key = _mixed(prefix[end] - prefix[start] * powers[length])
        slot = key & mask
        seen = False
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = i
                hashes[i] = key
                break
            if hashes[other] == key and offsets[other + n] - offsets[other] == length:
                base = offsets[other]
                k = 0
                while k < length and codes[base + k] == codes[start + k]:
                    k += 1
                if k == length:
                    seen = True
                    break
            slot = (slot + np.uint64(1)) & mask
        if seen:
            chars += length
            i += n
        else:
            i += 1
    return chars


@njit(cache=True)
def _ngram_chars(codes, lengths, ids, top, duplicate):
    """Code points of the commonest n-gram for each n of `top`, then of repeated n-grams for each n of `duplicate`."""
    n_words = len(lengths)
    size = 16
    while size < 2 * n_words:
        size *= 2
    table = np.empty(size, np.int64)
    hashes = np.empty(n_words, np.uint64)
    counts = np.empty(n_words, np.int64)
    out = np.zeros(len(top) + len(duplicate), np.int64)
    for j in range(len(top)):
        if n_words >= top[j]:
            out[j] = _top_chars(ids, lengths, top[j], table, hashes, counts)
    offsets = np.zeros(n_words + 1, np.int64)
    for i in range(n_words):
        offsets[i + 1] = offsets[i] + lengths[i]
    base = np.uint64(0x9E3779B97F4A7C15)
    prefix = np.zeros(len(codes) + 1, np.uint64)
    powers = np.ones(len(codes) + 1, np.uint64)
    for i in range(len(codes)):
        prefix[i + 1] = prefix[i] * base + np.uint64(codes[i]) + np.uint64(1)
        powers[i + 1] = powers[i] * base
    for j in range(len(duplicate)):
        if n_words >= duplicate[j]:
            out[len(top) + j] = _duplicate_chars(codes, offsets, prefix, powers, duplicate[j], table, hashes)
    return out


def ngram_chars(codes: np.ndarray, lengths: np.ndarray, ids: np.ndarray) -> tuple[dict[int, int], dict[int, int]]:
    """{n: top_ngram_chars(words, n)} for TOP_NGRAMS and {n: duplicate_ngram_chars(words, n)} for DUPLICATE_NGRAMS.

    codes: uint32 code points of all words, end to end; lengths: code points of each word; ids: a number for each word,
    the same for equal words.
    """
    chars = _ngram_chars(codes, lengths, ids, np.array(TOP_NGRAMS), np.array(DUPLICATE_NGRAMS)).tolist()
    return dict(zip(TOP_NGRAMS, chars)), dict(zip(DUPLICATE_NGRAMS, chars[len(TOP_NGRAMS) :]))


def paragraphs_of(text: str) -> list[str]:
    """The stripped text, parted at two or more newlines: `re.split(r"\n{2,}", text.strip())`."""
    text = text.strip()
    if "\n\n" not in text:
        return [text]
    return [stripped for part in text.split("\n\n") if (stripped := part.strip("\n"))]


def lines_of(text: str) -> list[str]:
    """The text, parted at runs of newlines: `re.split(r"\n+", text)`."""
    lines = [line for line in text.split("\n") if line]
    ends = [""] * (text.startswith("\n") or not text), [""] * text.endswith("\n")
    return ends[0] + lines + ends[1]


def repetition_statistics(text: str, cut: Tokenization) -> dict[str, float]:
    """The thirteen repetition fractions of a text; all 0.0 for the empty text. cut: its tokenization.

    Keys: dup_line_frac, dup_para_frac (of lines, of paragraphs); dup_line_char_frac, dup_para_char_frac,
    top_N_gram_char_frac, dup_N_gram_char_frac (code points, of the text's code points).
    """
    size = len(text) or 1
    paragraphs, lines = paragraphs_of(text), lines_of(text)
    dup_paras, dup_para_chars = duplicates(paragraphs)
    dup_lines, dup_line_chars = duplicates(lines)
    top, repeated = ngram_chars(cut.joined(), cut.lexicon.lengths[cut.tokens], cut.tokens)
    return {
        "dup_line_frac": dup_lines / len(lines),
        "dup_para_frac": dup_paras / len(paragraphs),
        "dup_line_char_frac": dup_line_chars / size,
        "dup_para_char_frac": dup_para_chars / size,
        **{f"top_{n}_gram_char_frac": chars / size for n, chars in top.items()},
        **{f"dup_{n}_gram_char_frac": chars / size for n, chars in repeated.items()},
    }
