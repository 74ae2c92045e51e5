"""The pieces that a statistic names account for its value, on real pages and on any text."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text.c4 import clean
from kernels.text.offending import named, pieces
from kernels.text.quality import document_statistics, fineweb_statistics
from kernels.text.repetition import lines_of, paragraphs_of
from kernels.text.statistics import DUPLICATE_NGRAMS, STATISTICS, STOP_WORDS, TOP_NGRAMS
from kernels.text.words import without_surrogates, words
from tests.kernels.text.test_quality import crawled_texts

LINES = [
    *(
        "- one of the",
        "• two",
        "end...",
        "again and again.",
        "",
        "[1] [2] [3] ",
        "# lorem ipsum x",
        "{a b c}",
        "a b c …",
    ),
    *("Use of cookies is ours.", "the end. [12]", "Short line here", "x" * 1001, "and the and the and the", "a.m. 5 %"),
]
TEXTS = st.one_of(
    st.text(alphabet="ab .…-#{\n\r\x0b\u2028the", max_size=120),
    st.lists(st.sampled_from(LINES), max_size=14).map("\n".join),
    st.text(max_size=60),
)


def account(statistic: str, text: str) -> float:
    """The statistic's value, from the pieces alone and the sizes that it is a share of."""
    found = pieces(statistic, text)
    assert found is not None
    text, spans = without_surrogates(text), found.spans
    count, chars = len(spans), sum(end - start for start, end in spans)
    size, tokens = len(text) or 1, len(words(text)) or 1
    cleaned = clean(text)
    lines = [line for line in cleaned.text.split("\n") if line and not line.isspace()]
    raw = [line for line in text.split("\n") if line and not line.isspace()]
    squeezed = sum(sum(map(len, words(text[start:end]))) for start, end in spans)
    if statistic in ("dup_line_frac", "dup_para_frac"):
        return count / len(lines_of(text) if "line" in statistic else paragraphs_of(text))
    if statistic in ("dup_line_char_frac", "dup_para_char_frac"):
        return chars / size
    for n in TOP_NGRAMS:
        if statistic == f"top_{n}_gram_char_frac":
            return (squeezed + count * (n - 1)) / size
    for n in DUPLICATE_NGRAMS:
        if statistic == f"dup_{n}_gram_char_frac":
            return squeezed / size
    if statistic in ("hash_to_word_ratio", "ellipsis_to_word_ratio"):
        return count / tokens
    if statistic in ("bullet_line_frac", "ellipsis_line_frac"):
        return count / (len(text.splitlines()) or 1)
    if statistic == "alpha_word_frac":
        return (len(words(text)) - count) / tokens
    if statistic == "n_stop_words":
        return len({text[start:end] for start, end in spans} & STOP_WORDS)
    if statistic in ("line_punct_frac", "line_stop_frac"):
        return (len(lines) - count) / (len(lines) or 1)
    if statistic == "short_line_frac":
        return count / (len(lines) or 1)
    if statistic == "raw_line_punct_frac":
        return (len(raw) - count) / (len(raw) or 1)
    if statistic == "raw_char_dup_frac":
        return chars / ((len(text) - text.count("\n")) or 1)
    return count


COUNTED_OTHERWISE = {"c4_sentences", "char_dup_frac", "n_own_stop_words"}  # told by tests of their own


@settings(max_examples=150)
@given(TEXTS)
def test_the_pieces_account_for_the_value(text):
    measured = document_statistics(text)
    for statistic in set(named()) - COUNTED_OTHERWISE:
        assert account(statistic, text) == pytest.approx(measured[statistic], abs=1e-12), statistic


def test_the_pieces_of_real_pages_account_for_their_values(bundled_crawl):
    for text in islice(crawled_texts(bundled_crawl), 25):
        measured = document_statistics(text)
        for statistic in set(named()) - COUNTED_OTHERWISE:
            assert account(statistic, text) == pytest.approx(measured[statistic], abs=1e-12), statistic


@given(TEXTS)
def test_lines_seen_before_after_c4_hold_the_characters_that_are_counted(text):
    cleaned = clean(without_surrogates(text)).text
    found = pieces("char_dup_frac", text)
    assert found is not None
    value = fineweb_statistics(cleaned, 1)["char_dup_frac"]
    assert (value > 0) == bool(found.spans)
    lines = [line for line in cleaned.split("\n") if line and not line.isspace()]
    assert len(found.spans) == len(lines) - len(set(lines))


@given(TEXTS, st.sampled_from(["deu_Latn", "jpn_Jpan", "und", "eng_Latn"]))
def test_spans_lie_in_the_text_in_order_and_every_statistic_answers(text, language):
    for statistic in STATISTICS:
        found = pieces(statistic, text, language)
        assert (found is not None) == (statistic in named())
        if found is not None:
            assert list(found.spans) == sorted(found.spans)
            assert all(0 <= start <= end <= len(text) for start, end in found.spans)


def test_stop_words_of_the_language_are_the_ones_that_are_counted():
    text = "Der Hund und die Katze sind in dem Haus und der Garten."
    found = pieces("n_own_stop_words", text, "deu_Latn")
    assert found is not None and found.wanted
    assert (
        len({text[start:end] for start, end in found.spans})
        == document_statistics(text, "deu_Latn")["n_own_stop_words"]
    )
