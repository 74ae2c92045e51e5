"""Stop words by language, and the statistics that FineWeb of April 2024 and FineWeb-2 decide by."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.text.language_codes import FROM_LID176
from kernels.text.quality import document_statistics
from kernels.text.repetition import duplicates
from kernels.text.statistics import STOP_WORDS
from kernels.text.stop_words import SPACY, UNSPACED, stop_words
from kernels.text.words import words


def gold(shared_data, name: str) -> list[tuple[str, str]]:
    with gzip.open(shared_data / "pages" / f"{name}.gold.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["lang"], row["text"]) for row in rows if row.get("text")]


def test_every_listed_language_has_stop_words_under_a_tag_that_can_be_identified():
    assert set(SPACY) <= set(FROM_LID176.values())
    for tag in SPACY:
        assert 10 <= len(stop_words(tag)) <= 2000, tag
    assert stop_words("und") == stop_words("jbo_Latn") == frozenset()
    assert all(len(word) == 1 for tag in UNSPACED for word in stop_words(tag))


@pytest.mark.parametrize(
    ("lang", "tag"), [("pl", "pol_Latn"), ("el", "ell_Grek"), ("ru", "rus_Cyrl"), ("zh", "cmn_Hani")]
)
def test_articles_have_stop_words_of_their_own_language_and_hardly_any_of_a_far_one(shared_data, lang, tag):
    texts = [text for code, text in gold(shared_data, "webpages-multilingual") if code == lang and len(text) > 500][:30]
    own = [document_statistics(text, tag)["n_own_stop_words"] for text in texts]
    far = [document_statistics(text, "kor_Hang")["n_own_stop_words"] for text in texts]
    assert len(texts) == 30 and min(own) >= 2 and sum(far) < 0.05 * sum(own)


def test_counts_are_the_plain_ones_on_real_pages(shared_data):
    for _, text in gold(shared_data, "webpages")[:60]:
        measured, tokens = document_statistics(text, "eng_Latn"), words(text)
        lines = [line for line in text.split("\n") if line.strip()]
        assert measured["n_stop_word_occurrences"] == sum(token in STOP_WORDS for token in tokens)
        assert measured["n_own_stop_words"] == len(stop_words("eng_Latn") & set(tokens))
        assert measured["n_bytes"] == len(text.encode())
        assert measured["raw_newline_to_word_ratio"] == text.count("\n") / len(tokens)
        assert measured["raw_char_dup_frac"] == duplicates(lines)[1] / len(text.replace("\n", ""))


def test_the_lines_that_end_like_a_sentence_differ_between_the_two_fineweb():
    text = "He said that it was so.\nShe said that it was 'so'\nThey have said that。\nThat is all of it;"
    measured = document_statistics(text)
    assert measured["line_stop_frac"] == 2 / 4  # . and '
    assert measured["line_punct_frac"] == measured["raw_line_punct_frac"] == 2 / 4  # . and the ideographic full stop


@given(st.text(), st.sampled_from([*SPACY, "und"]))
def test_the_language_changes_its_own_statistic_alone(text, tag):
    one, other = document_statistics(text), document_statistics(text, tag)
    assert {name for name in one if one[name] != other[name]} <= {"n_own_stop_words"}
