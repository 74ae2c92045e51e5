"""verify: one documented normalisation, nothing else is right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tasks.verify import MAX_ANSWER_CHARS, final_answer, normalise, verify


@pytest.mark.parametrize(
    "form", ["1,000", "1000", "1000.0", "+1000", " 1000. ", "$1000$", "\\boxed{1,000}", "`1000`", "**1000**"]
)
def test_forms_of_one_number_are_equal(form):
    assert normalise(form) == "1000"
    assert verify("1000", f"Answer: {form}") == 1.0


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("-4", "4 - 1 = 3, 3 - 7 = -4. Answer: -4"),
        ("-4", "−4"),
        ("0", "-0"),
        ("0.5", "The answer is .50."),
        ("1 4 9", "Answer: [1, 4, 9]"),
        ("1 4 9", "Answer: ['1', '4', '9']"),
        ("1 4 9", "1,4,9"),
        ("nus", "Answer: NUS."),
        ("b a", "b, a"),
        ("none", "Answer: none"),
        ("answer is", "Answer: answer is"),
        ("7", "Answer: 5\nNo, wait.\nAnswer: 7"),
        ("7", "The answer: 5, so the answer is: 7"),
        ("7", "Answer: 7\n"),
    ],
)
def test_right_answers_are_right(answer, completion):
    assert verify(answer, completion) == 1.0


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("7", None),
        ("7", ""),
        ("7", "   \n "),
        ("7", "Answer:"),
        ("7", "Answer: 7 or 8"),
        ("7", "Answer: 7\nAnswer: 8"),
        ("7", "77"),
        ("7", "Answer: 7" + "0" * 400),
        ("7", "7" + " " * 10 + "x" * (MAX_ANSWER_CHARS + 1)),
        ("1 4 9", "1 9 4"),
        ("1000", "1,00"),
        ("10", "1e1"),
        ("", ""),
        ("", "Answer: "),
        ("2", "1+1"),
    ],
)
def test_anything_else_is_wrong(answer, completion):
    assert verify(answer, completion) == 0.0


@given(st.text(max_size=400))
def test_arbitrary_text_is_judged_without_an_error_and_normalisation_is_idempotent(text):
    assert verify("17", text) in (0.0, 1.0)
    once = normalise(final_answer(text))
    assert once is None or normalise(once) in (once, None)


@given(st.integers(-(10**12), 10**12))
def test_every_spelling_of_an_integer_verifies(number):
    for spelling in (f"{number:,}", f"{number}.000", f"Answer: {number}"):
        assert verify(str(number), spelling) == 1.0
    assert verify(str(number), str(number + 1)) == 0.0
