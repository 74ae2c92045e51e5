"""The memo of units: exact whatever it holds, bounded, and cut without spaCy only where spaCy would cut alike."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text import lexicon
from kernels.text.english import english
from kernels.text.lexicon import tokenize
from kernels.text.units import LONGEST_CHUNK
from tests.bounded import in_bounded_work

UNITS = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=8)
SIMPLE = st.from_regex(
    r"[\"“”()]{0,2}([A-Za-zÀ-ɏ]{1,6}|[0-9,]{1,5})([-–][A-Za-z0-9]{1,4}){0,2}[.,;:?!)\"”]{0,3}", fullmatch=True
)


@settings(max_examples=300)
@given(st.lists(UNITS | SIMPLE, min_size=1, max_size=30))
def test_units_that_need_no_search_are_cut_as_by_spacy(units):
    units = [unit for unit in units if not any(map(str.isspace, unit))] or ["a"]
    assert english().cut(units) == english().cut_by_spacy(units)


def test_all_units_of_real_pages_are_cut_as_by_spacy(shared_data):
    units: set[str] = set()
    for name in ("webpages.gold.jsonl.gz", "webpages-multilingual.gold.jsonl.gz"):
        with gzip.open(shared_data / "pages" / name, "rt") as lines:
            units.update(*((json.loads(line)["text"] or "").split() for line in list(lines)[:200]))
    listed = sorted(units)
    assert english().cut(listed) == english().cut_by_spacy(listed)


def test_units_and_tokens_cover_the_text():
    text = "Mr. Smith's plan : ) isn't bad;\u00a0he 's paid $5.50\n\n(or 4km) at 10 a.m., he said."
    cut = tokenize(text)
    assert "".join(cut.words()) == "".join(text.split())
    assert [text[a:b] for a, b in zip(cut.starts, cut.ends)][2:6] == ["plan", ": )", "isn't", "bad;"]
    assert np.array_equal(cut.joined(), [ord(char) for char in "".join(text.split())])
    assert np.array_equal(cut.lexicon.lengths[cut.tokens], [len(word) for word in cut.words()])


@given(st.lists(st.sampled_from(["a", ",", ".", "!?", "?", "…", "B2"]), min_size=1, max_size=5))
def test_the_effect_of_a_unit_is_that_of_its_tokens_one_by_one(tokens):
    begun, leaves, begun_after, leaves_after = english().effect(tokens)
    for seen, expected in ((False, (begun, leaves)), (True, (begun_after, leaves_after))):
        count = 0
        for token in tokens:
            one = english().effect([token])
            count += one[2 * seen]
            seen = bool(one[2 * seen + 1])
        assert (count, seen) == expected


def test_a_full_memo_is_emptied_and_earlier_tokenizations_stay_valid(monkeypatch):
    earlier = tokenize("some words, already cut.")
    monkeypatch.setattr(lexicon, "MEMO_UNITS", 3)
    for n in range(5):
        assert tokenize(f"one{chr(97 + n)} two three four five.").words()[:3] == [f"one{chr(97 + n)}", "two", "three"]
        assert lexicon._memo().lexicon.n_units <= 10
    assert earlier.words() == ["some", "words", ",", "already", "cut", "."]


def test_marks_follow_a_growing_lexicon():
    wanted = frozenset({"the", "zebra"})
    for text in ("the dog", "a zebra and the unseen quagga"):
        cut = tokenize(text)
        marks = cut.lexicon.marks(wanted)
        assert [word for word, token in zip(cut.words(), cut.tokens) if marks[token]] == [
            word for word in text.split() if word in wanted
        ]


def test_a_long_chunk_is_cut_into_pieces():
    cut = tokenize("a " + "x" * (2 * LONGEST_CHUNK + 1))
    assert (cut.ends - cut.starts).tolist() == [1, LONGEST_CHUNK, LONGEST_CHUNK, 1]


def test_words_are_cut_without_loading_torch():
    code = "import sys; from kernels.text.words import words; words('Hello there, you.'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


HOSTILE = {
    "one word": "a" * 10**7,
    "no spaces": "中文字" * (10**7 // 3),
    "newlines": "\n" * 10**6,
    "right to left": "שלום עולם \u202e" * 10**5,
    "emoji": "👩‍👩‍👧‍👦 " * 10**5,
    "controls": "\x00\x1f\x7f\u200b" * 10**6,
    "different words": " ".join(map(str, range(300_000))),
    "seams": ": ) " * 3 * 10**4,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_of_full_size_takes_bounded_time_and_memory(name):
    import resource

    from kernels.text import quality

    quality.document_statistics(HOSTILE[name][:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with in_bounded_work():
        quality.document_statistics(HOSTILE[name])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.5 * (1 << 20)  # kilobytes
