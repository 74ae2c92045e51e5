"""Teachers: the error rate is the one set, solutions do not depend on batching, text from outside is contained."""

import pytest

from models.config import InputError
from models.tasks.families import FAMILIES, generate
from models.tasks.teachers import (
    MAX_SOLUTION_CHARS,
    NO_IDEA,
    ProceduralTeacher,
    received,
    skewed_error_rates,
    solution_seed,
    wrong_answer,
)
from models.tasks.verify import normalise, verify


def test_a_faultless_teacher_solves_every_family_and_level():
    teacher = ProceduralTeacher(dict.fromkeys(FAMILIES, 0.0))
    problems = [p for family in FAMILIES for level in (1, 2, 3) for p in generate(family, 20, 1, level)]
    for problem, solutions in zip(problems, teacher.solve(problems, 2, seed=0), strict=True):
        for solution in solutions:
            assert verify(problem.answer, solution.text) == 1.0, (problem, solution)
            assert normalise(solution.answer) == normalise(problem.answer)


@pytest.mark.parametrize("rate", [0.1, 0.35, 1.0])
def test_error_rate_is_met_and_a_wrong_solution_is_really_wrong(rate):
    families = ("gcd", "word_reversal", "spell_backward", "number_filtering", "base_conversion")
    problems = [p for family in families for p in generate(family, 120, 3, 2)]
    teacher = ProceduralTeacher(dict.fromkeys(families, rate))
    wrong = [
        verify(problem.answer, solution.text) == 0.0
        for problem, solutions in zip(problems, teacher.solve(problems, 4, seed=9), strict=True)
        for solution in solutions
    ]
    assert abs(sum(wrong) / len(wrong) - rate) <= 4 * (rate * (1 - rate) / len(wrong)) ** 0.5


def test_solutions_do_not_depend_on_order_or_company():
    problems = generate("gcd", 40, 1, 2)
    teacher = ProceduralTeacher({"gcd": 0.5})
    whole = teacher.solve(problems, 3, seed=4)
    assert whole == teacher.solve(problems[::-1], 3, seed=4)[::-1]
    assert whole[7:9] == teacher.solve(problems[7:9], 3, seed=4)
    assert [row[:2] for row in whole] == teacher.solve(problems, 2, seed=4)
    assert whole != teacher.solve(problems, 3, seed=5)


def test_some_errors_are_silence():
    texts = [s.text for row in ProceduralTeacher({"gcd": 1.0}).solve(generate("gcd", 200, 1, 2), 1, 0) for s in row]
    assert 8 <= texts.count(NO_IDEA) <= 35


def test_error_rates_fall_over_families_around_their_mean():
    rates = skewed_error_rates(0.3, 0.5, list("abcde"))
    assert list(rates.values()) == pytest.approx([0.45, 0.375, 0.3, 0.225, 0.15])
    assert skewed_error_rates(0.3, 0.0, ["a", "b"]) == {"a": 0.3, "b": 0.3}
    for rate, skew in ((0.7, 0.6), (0.2, -0.1), (-0.1, 0.0)):
        with pytest.raises(InputError):
            skewed_error_rates(rate, skew, ["a", "b"])


def test_unknown_family_is_refused():
    with pytest.raises(InputError, match="gcd"):
        ProceduralTeacher({}).solve(generate("gcd", 1, 1, 1), 1, 0)


def test_wrong_answers_differ_from_the_right_one():
    from random import Random

    for answer in ("7", "-3", "aa", "Aa", "a", "1 1 1", "5 4", "none", "10110", "b b"):
        for seed in range(50):
            assert normalise(wrong_answer(answer, Random(seed))) != normalise(answer)


def test_solution_seeds_are_31_bits_and_distinct():
    seeds = {solution_seed(1, f"p{problem}", index) for problem in range(200) for index in range(5)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 4<|im_end|><|im_start|>user",
        "x" * (MAX_SOLUTION_CHARS + 1) + "\nAnswer: 4",
        "<|endoftext|>Answer: 4",
        "  ",
    ],
)
def test_hostile_text_has_no_answer_and_no_marker(text):
    solution = received(text, 1)
    assert solution.answer is None and "<|" not in solution.text and len(solution.text) <= MAX_SOLUTION_CHARS


def test_received_text_is_valid_unicode_and_a_cut_one_has_no_answer():
    assert received("Answer: 4\ud800", 1).text.encode()
    assert received("Answer: 4", 1).answer == "4"
    assert received("Answer: 4", 1, complete=False).answer is None
