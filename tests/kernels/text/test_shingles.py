"""The simplified text, its words and its shingles equal datatrove's, character by character and on real pages."""

import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.text import shingles as kernel
from kernels.text.shingles import shingles, shingles_reference, simplified_words
from kernels.text.simplify import simplify, simplify_reference
from kernels.text.words import LONGEST_CHUNK, special_cases, words
from tests.bounded import in_bounded_work

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
# characters whose treatment depends on their neighbours, and pieces that spaCy cuts by a table of its own
PIECES = [
    *["a", "Z", "ß", "İ", "Σ", " ", "\n", "\u00a0", "0", "12", "1.5", "1,2.3", "٣", "１", "7٫5", ".", ",", "½", "²"],
    *[
        "é",
        "e\u0301",
        "\u0301",
        "ñ",
        "ế",
        "한",
        "각",
        "ﬁ",
        "Å",
        "\u0f71\u0f72",
        "\u302e",
        "नमस्ते",
        "中文",
        "ไทย",
        "😀",
        "\u200d",
    ],
    *["cant", "im", "gonna", "cannot", "whatllve", "0km", "5 km", "10am", "°", "° C", "°c", "‘s", "‘ s", "╯°□°╯ ┻━┻"],
    *["︵ ┻", "ಠ_ಠ", "\u037e", "\u1fef", "\u2000", "\u1680", "x" * 40, "$", "€", "𝟙", "𐐀", "🏳️‍🌈", "\ufeff", "\x1c"],
]
HARD_TEXT = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@settings(max_examples=500)
@given(HARD_TEXT | ANY_TEXT)
@example("1.2.3,4 １２月 2008年8月")
@example("ǅ ᾳ ΣΑΣ İİ")
def test_simplified_text_is_that_of_the_reference(text):
    assert simplify(text) == simplify_reference(text)


@settings(max_examples=500)
@given(HARD_TEXT | ANY_TEXT)
@example("it is 20 ° C and 30 °f here ‘ s")
def test_words_and_shingles_are_those_of_the_reference(text):
    assert simplified_words(text).to_list() == words(simplify_reference(text))
    assert np.array_equal(shingles(text), shingles_reference(text))


def test_every_code_point_is_simplified_as_by_the_reference():
    everything = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(everything), 4096):
        page = "x".join(everything[start : start + 4096])
        if simplify(page) != simplify_reference(page):
            wrong = [char for char in everything[start : start + 4096] if simplify(char) != simplify_reference(char)]
            assert not wrong, [hex(ord(char)) for char in wrong]


def test_a_chunk_of_letters_is_one_word_unless_it_is_a_special_case():
    kinds, _, pairs = kernel._tables()
    letters = [chr(c) for c in range(0x10000) if kinds[c] == 1]
    assert len(letters) > 50_000
    chunks = [chunk for char in letters for chunk in (char, char * 3, f"a{char}a", f"a{char}", f"{char}a")]
    cases, _ = special_cases()
    plain = [chunk for chunk in chunks if chunk not in cases]
    assert words("\n".join(plain)) == plain
    assert not [p for p in pairs.tolist() if p >> 32 < 0x10000 and kinds[p >> 32] == 1 == kinds[p & 0xFFFFFFFF]]


def test_real_pages_have_the_shingles_of_the_reference(shared_data):
    import gzip
    import json

    for name in ("webpages.gold.jsonl.gz", "webpages-multilingual.gold.jsonl.gz"):
        with gzip.open(shared_data / "pages" / name, "rt") as lines:
            for line in list(lines)[:150]:
                text = json.loads(line)["text"] or ""
                assert simplify(text) == simplify_reference(text)
                assert np.array_equal(shingles(text), shingles_reference(text))


def test_strings_are_hashed_as_slices_are():
    text = "The quick brown fox jumps over the lazy dog, and naïve élan runs on."
    tokens = words(simplify(text))
    grams = [" ".join(tokens[i : i + 5]) for i in range(len(tokens) - 4)]
    assert np.array_equal(kernel.hashes(grams), shingles(text))
    assert kernel.hashes([]).size == 0


HOSTILE = {
    "one word": "a" * 10**7,
    "no spaces": "中文字" * (10**7 // 3),
    "newlines": "\n" * 10**6,
    "spaces": " \t\u00a0" * 10**6,
    "marks": "e" + "\u0301" * 10**6,
    "surrogates": "\ud800" * 10**6,
    "right to left": "שלום עולם \u202e" * 10**5,
    "emoji": "👩‍👩‍👧‍👦 " * 10**5,
    "controls": "\x00\x1f\x7f\u200b" * 10**6,
    "digits": "1.2," * 10**6,
    "letters": "a " * 10**6,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_gives_the_words_of_the_reference(name):
    text = HOSTILE[name][: 3 * LONGEST_CHUNK + 7]
    assert simplify(text) == simplify_reference(text)
    assert simplified_words(text).to_list() == words(simplify_reference(text))


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_of_full_size_takes_bounded_time_and_memory(name):
    import resource

    shingles(HOSTILE[name][:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with in_bounded_work():
        shingles(HOSTILE[name])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes
