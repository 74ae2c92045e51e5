"""Families: re-wording keeps the library's problem, ids and roles are stable, answers follow from the question."""

import math
import re

import pytest

from models.tasks.families import (
    FAMILIES,
    LEVELS,
    ROLE_SHARES,
    FamilyExhausted,
    UnknownFamily,
    generate,
    problem_id,
    role_of,
)
from models.tasks.verify import normalise, verify

LEGS = "leg_counting"  # the number of legs of an animal stands in reasoning_gym only


def _int(digits: str, base: str) -> int:
    return int(digits, int(base))


def _in_base(value: int, base: int) -> str:
    digits = ""
    while value:
        digits = str(value % base) + digits
        value //= base
    return digits or "0"


def _arithmetic(text: str) -> int:
    first, *rest = text.removesuffix(" = ?").split()
    total = int(first)
    for operator, number in zip(rest[::2], rest[1::2], strict=True):
        total = {"+": total + int(number), "-": total - int(number), "*": total * int(number)}[operator]
    return total


def _filtered(text: str) -> str:
    verb, side, bound, numbers = re.fullmatch(r"(Keep|Remove) numbers (above|below) (\d+): (.*)", text).groups()
    hit = [(int(n) > int(bound)) if side == "above" else (int(n) < int(bound)) for n in numbers.split()]
    return " ".join(n for n, is_hit in zip(numbers.split(), hit, strict=True) if is_hit == (verb == "Keep")) or "none"


def _shifted(text: str) -> str:
    shift, cipher = re.fullmatch(r"Shift back by (\d+): (.*)", text).groups()
    return "".join(chr((ord(c) - 97 - int(shift)) % 26 + 97) if c.isalpha() else c for c in cipher)


SOLVERS = {
    "chain_sum": _arithmetic,
    "products": _arithmetic,
    "gcd": lambda q: math.gcd(*map(int, re.findall(r"\d+", q))),
    "count_bits": lambda q: q.count("1"),
    "base_conversion": lambda q: (lambda value, source, target: _in_base(_int(value, source), int(target)))(
        *re.fullmatch(r"(\w+) from base (\d+) to base (\d+)", q).groups()
    ),
    "number_sorting": lambda q: " ".join(
        map(str, sorted(map(int, q.split(": ")[1].split()), reverse="descending" in q))
    ),
    "number_filtering": _filtered,
    "spell_backward": lambda q: q.split(": ")[1][::-1],
    "letter_counting": lambda q: q.split(": ")[1].lower().count(q.split(": ")[0][-1]),
    "word_reversal": lambda q: " ".join(reversed(q.split(": ")[1].split())),
    "caesar": _shifted,
}


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != LEGS])
@pytest.mark.parametrize("level", LEVELS)
def test_answer_follows_from_the_question_text_alone(family, level):
    for problem in generate(family, 60, seed=5, level=level):
        assert normalise(problem.answer) == normalise(str(SOLVERS[family](problem.question))), problem
        assert verify(problem.answer, f"Answer: {problem.answer}") == 1.0


def test_leg_counts_are_the_librarys():
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    for problem in generate(LEGS, 60, seed=5, level=3):
        animals = re.findall(r"(\d+) ([a-z ]+)", problem.question)
        assert int(problem.answer) == sum(int(count) * ANIMALS[animal] for count, animal in animals)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_gives_the_same_problems_and_a_longer_list_starts_with_the_shorter(family):
    first = generate(family, 30, seed=3, level=2)
    assert first == generate(family, 40, seed=3, level=2)[:30]
    assert first != generate(family, 30, seed=4, level=2)
    assert len({problem.problem_id for problem in first}) == 30


def test_questions_are_short():
    longest = {family: max(len(p.question) for p in generate(family, 80, 1, 1)) for family in FAMILIES}
    assert max(longest.values()) <= 60, longest


def test_equal_problems_have_equal_ids_whatever_the_seed_or_level():
    ids = {}
    for seed in range(4):
        for level in (1, 2):
            for problem in generate("chain_sum", 150, seed, level):
                assert ids.setdefault(problem.question, problem.problem_id) == problem.problem_id
    assert len(set(ids.values())) == len(ids)
    assert problem_id("a", "q") != problem_id("b", "q")


def test_roles_are_disjoint_stable_and_in_their_proportions():
    problems = [p for family in FAMILIES for p in generate(family, 100, 11, 2, allow_fewer=True)]
    roles = [role_of(problem.problem_id) for problem in problems]
    assert sum(share for _, share in ROLE_SHARES) == 100
    for role, share in ROLE_SHARES:
        assert abs(roles.count(role) / len(roles) - share / 100) < 0.05
    wanted = generate("gcd", 50, 2, 1, roles=("heldout",))
    assert {role_of(p.problem_id) for p in wanted} == {"heldout"}


def test_exhausted_family_and_unknown_names_are_typed_errors():
    with pytest.raises(FamilyExhausted):
        generate("products", 500, 1, 1)
    assert len(generate("products", 500, 1, 1, allow_fewer=True)) == 100
    with pytest.raises(UnknownFamily):
        generate("sudoku_99", 1, 1, 1)
    with pytest.raises(UnknownFamily):
        generate("gcd", 1, 1, 9)
