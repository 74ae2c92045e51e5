"""Words for search: the index and a query cut alike, in every script, and folding makes forms of one word equal."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.searching.index import analyzer
from assets.searching.words import LONGEST_BYTES, fold, places, words


def test_the_index_cuts_real_texts_of_all_languages_as_a_query_is_cut(shared_data):
    cut, languages = analyzer(), set()
    with gzip.open(shared_data / "langid" / "udhr.tsv.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            language, _, text = line.partition("\t")
            languages.add(language)
            assert cut.analyze(fold(text)) == words(text)
    assert len(languages) > 300


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cn"]), max_size=60))
def test_the_index_cuts_any_text_as_a_query_is_cut(text):
    assert analyzer().analyze(fold(text)) == words(text)


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("FIRE", "ﬁre"),
        ("Äpfel", "A\u0308PFEL"),
        ("straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("ｔｏｋｙｏ", "Tokyo"),
        ("ﾄｳｷｮｳ", "トウキョウ"),
        ("Donaudampf", "Donau\u00addampf"),
    ],
)
def test_forms_of_one_word_are_one_word(typed, written):
    assert words(typed) == words(written) != []


@pytest.mark.parametrize("text", ["東京タワー", "吾輩は猫である", "กรุงเทพ", "대한민국"])
def test_scripts_without_blanks_are_cut_into_characters_so_that_any_piece_is_a_run_of_them(text):
    whole, piece = words(text), words(text[1:3])
    assert any(whole[i : i + len(piece)] == piece for i in range(len(whole)))


def test_arabic_and_hindi_words_stay_whole():
    assert words("العربية हिन्दी") == ["العربية", "हिन्दी"]


def test_encoded_data_is_no_word():
    assert words(f"a {'x' * LONGEST_BYTES} {'y' * (LONGEST_BYTES - 1)}") == ["a", "y" * (LONGEST_BYTES - 1)]


@given(st.text(max_size=60))
def test_places_lie_in_the_text_one_behind_another(text):
    end_before = 0
    for start, end, word in places(text):
        assert end_before <= start < end <= len(text) and word == fold(text[start:end])
        end_before = end
