"""Overlap with evaluation sets: found however a page is set, not found by chance, and as plain comparing finds it."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text.contamination import NGRAM, Index, Item, build, find, find_reference, runs, words

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)
SHORT = "Name the greatest common factor of thirty two and forty eight."  # 11 words
ITEMS = [
    Item("gsm8k", "0", "question", QUESTION),
    Item("gsm8k", "0", "answer", "Natalia sold 48/2 = 24 clips in May. Natalia sold 48+24 = 72 clips altogether."),
    Item("math", "short", "question", SHORT),
    Item("math", "tiny", "question", "What is six times seven?"),
    Item("math", "digits", "question", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 a b c d"),
    Item("cmath", "0", "question", "小明有三个苹果，妈妈又给了他五个苹果，现在小明一共有几个苹果？"),
]
INDEX = build(ITEMS)
PAGE = "The river rises in the hills above the town and runs for forty miles before it meets the sea. " * 3


def of(text: str) -> set[tuple[str, str, str]]:
    matches = find(text, INDEX)
    assert matches == find_reference(text, ITEMS)
    return {(ITEMS[match.item].set, ITEMS[match.item].item, ITEMS[match.item].part) for match in matches}


@pytest.mark.parametrize(
    "changed",
    [
        QUESTION,
        QUESTION.upper(),
        QUESTION.replace(",", " --").replace(".", "!"),
        QUESTION.replace(" ", "\n"),
        QUESTION.replace(" clips", " *clips*").replace("April", "_April_"),
        "".join(f"<{word}>" for word in QUESTION.split()),
        " ".join(QUESTION.split()[3:20]),  # a piece of it
    ],
)
def test_a_pasted_problem_is_found_with_other_case_and_punctuation_and_its_place_told(changed):
    text = PAGE + changed + PAGE
    assert of(text) == {("gsm8k", "0", "question")}
    (match,) = find(text, INDEX)
    assert words(text[match.start : match.end]) == words(changed)
    assert match.n_matches == len(set(runs(words(changed)))) <= match.n_ngrams == len(set(runs(words(QUESTION))))


def test_what_is_shorter_than_a_run_or_was_reworded_is_not_found():
    assert of(PAGE + " ".join(QUESTION.split()[: NGRAM - 1]) + " " + PAGE) == set()
    assert of(QUESTION.replace("sold", "gave").replace("clips", "pens")) == set()
    assert of("What is six times seven? " * 20) == set()


def test_a_short_item_is_found_by_all_of_its_words_and_a_row_of_numbers_by_none():
    assert of("Exercise: " + SHORT) == {("math", "short", "question")}
    assert of(SHORT.replace("forty eight", "forty")) == set()
    assert of(" ".join(map(str, range(1, 40)))) == set()


def test_a_script_without_spaces_is_compared_by_characters():
    assert of("题目：" + ITEMS[-1].text + "答案是八。") == {("cmath", "0", "question")}
    assert of("小明有三个苹果。他很高兴。") == set()


def test_wording_that_many_items_of_a_set_share_tells_nothing():
    template = "Please read the following passage with great care and then answer the question that comes after it: "
    items = [
        Item("set", str(i), "question", template + f"who was number {i} of them all in this story") for i in range(40)
    ]
    index = build(items)
    assert find(template, index) == find_reference(template, items) == []
    assert {match.item for match in find(items[7].text, index)} == {7}
    few = build(items[:10])
    assert len(find(template, few)) == 10


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("abAB1 .,\n的ßİé\U00020000\u0301"), max_size=80), max_size=6),
    st.text(st.sampled_from("abAB1 .,\n的ßİé\U00020000\u0301"), max_size=300),
)
def test_compiled_search_equals_plain_comparing(texts, text):
    items = [Item("s", str(i), "question", one) for i, one in enumerate(texts)]
    items += [Item("s", f"taken {i}", "question", text[i * 40 : i * 40 + 60]) for i in range(3)]
    assert find(text, build(items)) == find_reference(text, items)


@given(st.text(), st.text())
def test_any_text_is_searched_and_spans_lie_in_it(text, other):
    index = build([Item("s", "0", "question", text), Item("s", "1", "answer", other)])
    for match in find(text + other, index):
        assert 0 <= match.start < match.end <= len(text + other) and 1 <= match.n_matches <= match.n_ngrams


def test_an_index_is_the_same_from_its_arrays_and_the_same_bytes_each_time():
    again = Index(**INDEX.arrays())
    assert find(QUESTION, again) == find(QUESTION, INDEX)
    assert all(np.array_equal(a, b) for a, b in zip(build(ITEMS).arrays().values(), INDEX.arrays().values()))
    assert find(QUESTION, build([])) == []


@pytest.fixture(scope="module")
def evaluation_items(shared_data) -> list[Item]:
    files = {
        "gsm8k": ("math/gsm8k-train", "question", "answer"),
        "math": ("math/math-test", "problem", "solution"),
        "humaneval": ("code/humaneval", "prompt", "canonical_solution"),
    }
    items = []
    for name, (path, question, answer) in files.items():
        with gzip.open(shared_data / f"{path}.jsonl.gz", "rt") as lines:
            for number, line in enumerate(lines):
                row = json.loads(line)
                items += [
                    Item(name, str(number), "question", row[question]),
                    Item(name, str(number), "answer", row[answer]),
                ]
    return items


def test_real_pages_share_no_run_with_real_sets_and_every_problem_pasted_is_found(shared_data, evaluation_items):
    """Negative control: the texts of 1,398 real pages; positive control: problems with changed case and punctuation."""
    index = build(evaluation_items)
    texts = []
    for name in ("webpages", "webpages-multilingual"):
        with gzip.open(shared_data / "pages" / f"{name}.gold.jsonl.gz", "rt") as lines:
            texts += [text for line in lines if (text := json.loads(line).get("text"))]
    hits = [
        (evaluation_items[match.item].set, evaluation_items[match.item].item, text[match.start : match.end])
        for text in texts
        for match in find(text, index)
    ]
    assert len(texts) == 1398 and hits == []
    looked_for = [i for i, item in enumerate(evaluation_items) if item.part == "question" and index.totals[i]]
    assert len(looked_for) > 0.98 * len(evaluation_items) / 2
    for at in looked_for[::37]:
        page = texts[at % len(texts)]
        changed = evaluation_items[at].text.upper().replace(",", ";").replace(".", "!")
        assert at in {match.item for match in find(f"{page[:500]}\n{changed}\n{page[500:]}", index)}
