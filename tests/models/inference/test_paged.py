"""Pages: nobody's content is lost or shared by mistake, whatever comes and goes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.decode.step import PAGE
from models.inference.paged import Found, Pages, PoolExhausted, PoolTooSmall, pages_of


def write(pages: Pages, found: Found, tokens: list[int], content: dict[int, list[int]], upto: int) -> None:
    """What an engine does: copies, then writes tokens one after the other into the table's pages."""
    if found.copy:
        content[found.copy[1]] = list(content[found.copy[0]])
    for place in range(found.tokens, upto):
        while len(found.table.pages) <= place // PAGE:
            content[pages.grow(found.table)] = []
        page = content[found.table.pages[place // PAGE]]
        del page[place % PAGE :]
        page.append(tokens[place])
    pages.learn(found.table, tokens[:upto])


def held(found: Found, content: dict[int, list[int]], upto: int) -> list[int]:
    return [content[page][slot] for page in found.table.pages for slot in range(len(content[page]))][:upto]


def begun(pages: Pages, prompt: list[int], tokens: int) -> Found:
    found = pages.begin(prompt, tokens)
    assert found is not None
    return found


def test_full_pages_of_equal_beginnings_are_the_same_pages():
    pages, content = Pages(20), {}
    prompt = list(range(3 * PAGE + 5))
    first = begun(pages, prompt, len(prompt) + 10)
    write(pages, first, prompt, content, len(prompt))
    second = begun(pages, prompt, len(prompt) + 10)
    assert second.tokens == len(prompt) - 1 and second.table.pages[:3] == first.table.pages[:3]
    assert (
        second.copy is not None and second.copy[0] == first.table.pages[3] and second.table.pages[3] != second.copy[0]
    )
    other = begun(pages, [*prompt[: 2 * PAGE + 7], 999, *prompt], 200)
    assert other.tokens == 2 * PAGE + 7 and other.table.pages[:2] == first.table.pages[:2]
    assert begun(pages, [5, *prompt], 20).tokens == 0
    none = Pages(20, share=False)
    write(none, begun(none, prompt, 120), prompt, {}, len(prompt))
    assert begun(none, prompt, 120).tokens == 0


def test_the_same_page_after_another_beginning_is_not_shared():
    pages, content = Pages(20), {}
    same = list(range(PAGE))
    prompt = [*([1] * PAGE), *same, 5]
    write(pages, begun(pages, prompt, 80), prompt, content, len(prompt))
    assert begun(pages, [*([2] * PAGE), *same, 5], 80).tokens == 0


def test_what_is_not_used_is_kept_until_its_room_is_needed():
    pages, content = Pages(6), {}
    for word in (1, 2):
        prompt = [word] * (2 * PAGE + 1)
        found = begun(pages, prompt, 3 * PAGE)
        write(pages, found, prompt, content, len(prompt))
        pages.end(found.table)
    assert (pages.held, pages.available, pages.evicted) == (0, 6, 0)
    again = begun(pages, [1] * (2 * PAGE + 1), 3 * PAGE)
    assert again.tokens == 2 * PAGE
    pages.end(again.table)
    big = begun(pages, [7] * (5 * PAGE), 5 * PAGE)
    write(pages, big, [7] * (5 * PAGE), content, 5 * PAGE)
    assert pages.evicted == 5 and pages.held == 5
    pages.end(big.table)
    assert begun(pages, [2] * (2 * PAGE + 1), 3 * PAGE).tokens == 0


def test_a_sequence_without_room_waits_and_one_without_hope_is_told_the_arithmetic():
    pages = Pages(4)
    first = begun(pages, [1, 2], 3 * PAGE)
    assert pages.begin([3, 4], 2 * PAGE) is None and pages.available == 1
    begun(pages, [3, 4], PAGE)
    assert pages.available == 0
    pages.end(first.table)
    assert pages.available == 3
    pages.check(4 * PAGE, 100)
    with pytest.raises(PoolTooSmall, match=r"129 tokens take 5 pages of 32 tokens, 500 B .* 4 pages, 400 B"):
        pages.check(4 * PAGE + 1, 100)


def test_no_more_pages_than_reserved():
    pages = Pages(4)
    found = begun(pages, [1], PAGE)
    pages.grow(found.table)
    with pytest.raises(PoolExhausted):
        pages.grow(found.table)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 1 << 30), total=st.integers(3, 14))
def test_every_sequence_reads_back_its_own_tokens(seed, total):
    random = np.random.default_rng(seed)
    pages, content = Pages(total), {}
    stems = [random.integers(0, 3, 4 * PAGE).tolist() for _ in range(3)]
    running: list[tuple[Found, list[int], int]] = []
    for _ in range(60):
        if running and random.random() < 0.4:
            found, tokens, upto = running.pop(int(random.integers(len(running))))
            if random.random() < 0.5:  # it draws on
                upto = min(len(tokens), upto + int(random.integers(1, 40)))
                write(pages, Found(found.table, found_upto(found, content, tokens), None), tokens, content, upto)
            assert held(found, content, upto) == tokens[:upto]
            pages.end(found.table)
            continue
        stem = stems[int(random.integers(3))][: int(random.integers(1, 3 * PAGE))]
        prompt = [*stem, *random.integers(0, 3, int(random.integers(0, 20))).tolist()]
        tokens = [*prompt, *random.integers(0, 3, 40).tolist()]
        if pages_of(len(tokens)) > total:
            continue
        found = pages.begin(prompt, len(tokens))
        if found is None:
            assert running, "nothing runs, and there is no room"
            continue
        assert found.tokens < len(prompt)
        write(pages, found, tokens, content, len(prompt))
        running.append((found, tokens, len(prompt)))
        for one, own, upto in running:
            assert held(one, content, upto) == own[:upto]
    for found, _, _ in running:
        pages.end(found.table)
    assert (pages.held, pages.available) == (0, total)


def found_upto(found: Found, content: dict[int, list[int]], tokens: list[int]) -> int:
    """How many tokens of a sequence its pages hold."""
    *full, last = found.table.pages
    return min(len(full) * PAGE + len(content[last]), len(tokens))
