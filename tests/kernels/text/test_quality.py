"""Statistics of a page: exact counts, valid ranges, and FineWeb's decisions and reasons as datatrove makes them."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text import c4, repetition
from kernels.text.quality import FINEWEB_RULES, document_statistics, first_hit, statistics
from kernels.text.statistics import STATISTICS
from kernels.text.words import words

STAGES = (  # each filter of FineWeb's chain, and the slice of FINEWEB_RULES that it is
    (GopherRepetitionFilter(), FINEWEB_RULES[:14]),
    (GopherQualityFilter(), FINEWEB_RULES[14:24]),
    (C4QualityFilter(filter_no_terminal_punct=False), FINEWEB_RULES[24:27]),
    (FineWebQualityFilter(), FINEWEB_RULES[27:]),
)
SMALL_WORDS = st.lists(st.sampled_from(["a", "b", "ab", "c", "bc", "abc", "é", "\ud800", "😀", "..."]), max_size=120)
ODD_PIECES = [
    *[
        "\0",
        "\ud800",
        "\udfff",
        "\u202e",
        "\u2066",
        "a" * 3000,
        "!" * 400,
        "\n",
        "\n\n",
        "\r",
        "\x85",
        "\u2028",
        " ",
        "#",
    ],
    *["the", "...", "•", "- ", "{", "[1]", "Lorem ipsum", "use cookies", "ß", "İ", "中文。", "One two three. "],
]
HOSTILE = st.text(max_size=200) | st.lists(st.sampled_from(ODD_PIECES), max_size=30).map("".join)


def reference_reason(stage, text: str) -> tuple[str | None, str]:
    """What one of datatrove's filters says of a text, and the text it hands on."""
    document = Document(text=text, id="")
    result = stage.filter(document)
    return (result[1] if isinstance(result, tuple) else None), document.text


def pages(root) -> Iterator[str]:
    for name in ("webpages.gold.jsonl.gz", "webpages-multilingual.gold.jsonl.gz"):
        with gzip.open(root / "pages" / name, "rt") as file:
            yield from (text for line in file if (text := json.loads(line)["text"]))


def assert_fineweb_decides_alike(text: str) -> str | None:
    expected, current = None, text
    for stage, _ in STAGES:
        expected, current = reference_reason(stage, current)
        if expected is not None:
            break
    hit = first_hit(document_statistics(text))
    assert (hit.reason if hit else None) == expected
    return expected


def test_decisions_and_reasons_on_gold_texts_are_those_of_datatrove(shared_data):
    texts = random.Random(7).sample(list(pages(shared_data)), 150)
    reasons = [assert_fineweb_decides_alike(text) for text in texts]
    assert 30 < reasons.count(None) < 140 and len(set(reasons)) > 6  # a sample that would show a difference


def crawled_texts(root) -> Iterator[str]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    from kernels.text.html import ExtractionLimit, UndecodablePage, extract

    for path in sorted(root.glob("*/*.warc.gz")):
        with path.open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                try:
                    yield extract(record.reader.read(), record.headers.get("WARC-Target-URI") or "")
                except (UndecodablePage, ExtractionLimit):
                    continue


def test_decisions_and_reasons_on_the_bundled_crawl_are_those_of_datatrove(bundled_crawl):
    reasons = [assert_fineweb_decides_alike(text) for text in islice(crawled_texts(bundled_crawl), 50)]
    if not reasons:
        pytest.skip(f"no WARC files under {bundled_crawl}")
    assert None in reasons and len(set(reasons)) > 3


@pytest.mark.slow
def test_decisions_and_reasons_on_all_pages_at_hand_are_those_of_datatrove(bundled_crawl, shared_data):
    reasons = [assert_fineweb_decides_alike(text) for text in chain(crawled_texts(bundled_crawl), pages(shared_data))]
    assert len(reasons) > 1000 and len(set(reasons)) > 15


def test_each_filter_alone_decides_alike_on_pages_that_an_earlier_one_drops(shared_data):
    for text in random.Random(8).sample(list(pages(shared_data)), 25):
        measured = document_statistics(text)
        cleaned = c4.clean(text).text
        for stage, rules in STAGES:
            expected, _ = reference_reason(stage, cleaned if isinstance(stage, FineWebQualityFilter) else text)
            hit = first_hit(measured, rules)
            assert (hit.reason if hit else None) == expected


def numbered(tokens: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What compiled counts take: code points end to end, lengths, and a number for each word."""
    number = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    codes = np.array([ord(char) for token in tokens for char in token], np.uint32)
    return codes, np.array(list(map(len, tokens)), np.int32), np.array([number[t] for t in tokens], np.int32)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="ab \n\t", max_size=20))
def test_lines_and_paragraphs_are_parted_as_by_the_patterns(text):
    assert repetition.lines_of(text) == re.split(r"\n+", text)
    assert repetition.paragraphs_of(text) == re.split(r"\n{2,}", text.strip())


@settings(max_examples=300, deadline=None)
@given(tokens=SMALL_WORDS)
def test_compiled_ngram_counts_equal_the_plain_ones(tokens):
    top, repeated = repetition.ngram_chars(*numbered(tokens))
    assert top == {n: repetition.top_ngram_chars(tokens, n) for n in repetition.TOP_NGRAMS}
    assert repeated == {n: repetition.duplicate_ngram_chars(tokens, n) for n in repetition.DUPLICATE_NGRAMS}


def test_ngrams_with_equal_letters_and_other_borders_are_one_when_joined_by_nothing():
    tokens = ["ab", "c", "d", "e", "f", "a", "bc", "d", "e", "f"]
    assert repetition.duplicate_ngram_chars(tokens, 5) == repetition.ngram_chars(*numbered(tokens))[1][5] == 6


@settings(max_examples=300, deadline=None)
@given(text=HOSTILE)
def test_every_statistic_of_any_text_lies_in_its_range(text):
    measured = document_statistics(text)
    assert list(measured) == list(STATISTICS)
    types = {"float64": float, "int64": int, "string": str}
    for name, value in measured.items():
        statistic = STATISTICS[name]
        if statistic.dtype == "string":
            assert value is None or isinstance(value, str)
        else:
            assert type(value) is types[statistic.dtype], name
            assert statistic.low <= value <= statistic.high, name
    assert document_statistics(text) == measured


def test_the_same_text_gives_gopher_and_fineweb_statistics_without_c4_between():
    text = "The plan.\nThe plan.\nto be { or } not"
    measured = statistics(text)
    assert measured["cleaned_lines"] == 3 and measured["n_tokens"] == measured["cleaned_tokens"] == len(words(text))
    assert set(measured) == {name for name in STATISTICS if not name.startswith("c4_")}


def test_a_small_page_by_hand():
    text = "# The cat and the dog…\n- be quiet...\n\n- be quiet..."
    measured = document_statistics(text)
    tokens = words(text)
    assert tokens == ["#", "The", "cat", "and", "the", "dog", "…", "-", "be", "quiet", "...", "-", "be", "quiet", "..."]
    assert measured["n_tokens"] == 15 and measured["n_words"] == 9  # "#", "…", "-", "..." are punctuation
    assert measured["mean_word_length"] == (3 + 3 + 3 + 3 + 3 + 2 + 5 + 2 + 5) / 9
    assert measured["hash_to_word_ratio"] == 1 / 15 and measured["ellipsis_to_word_ratio"] == 3 / 15
    assert measured["bullet_line_frac"] == 2 / 4 and measured["ellipsis_line_frac"] == 3 / 4
    assert measured["n_stop_words"] == 3  # and, the, be
    assert measured["dup_line_frac"] == 1 / 3 and measured["dup_para_frac"] == 0
    assert measured["dup_line_char_frac"] == len("- be quiet...") / len(text)
    assert measured["top_2_gram_char_frac"] == 2 * len("- be") / len(text)  # the first of three that occur twice


def test_statistics_of_nothing_are_zero():
    measured = document_statistics("")
    assert measured.pop("c4_reason") == "too_few_sentences"
    assert set(measured.values()) == {0}
    assert first_hit({**measured, "c4_reason": None}).reason == "empty"


def test_rules_name_known_statistics_with_thresholds_in_range():
    for rule in FINEWEB_RULES:
        statistic = STATISTICS[rule.statistic]
        if rule.comparison != "=":
            assert statistic.low <= rule.threshold <= statistic.high
    assert STATISTICS["n_stop_words"].high == 8
