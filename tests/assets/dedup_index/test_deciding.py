"""Decisions of an index equal those made of all members at once, whatever came and went before, in any order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.dedup_index import deciding
from kernels.text import verify
from tests.assets.dedup_index.made import Catalogue, expected, nothing, opened, said

THRESHOLD = 0.75


def rows_of(random: np.random.Generator, catalogue: Catalogue, n: int, days: int) -> list:
    """Members with few different times, so that doc_ids decide often; doc_ids recur in other snapshots."""
    ids = random.permutation(4 * n)[:n]
    texts = random.integers(0, len(catalogue.sets), n)
    return [
        (f"{i:04d}", int(random.integers(0, days)), int(text), int(random.integers(1, 4)))
        for i, text in zip(ids, texts)
    ]


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(2, 40), st.integers(1, 9))
def test_after_any_history_decisions_are_those_of_all_members_at_once(tmp_path_factory, seed, kinds, texts, days):
    random, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("segments")
    catalogue = Catalogue(random, texts, kinds, 12, 24)
    whole = {f"s{k}": rows_of(random, catalogue, int(random.integers(1, 25)), days) for k in range(5)}
    before, was = nothing()
    present: dict[str, list] = {}
    for _ in range(7):
        for name in random.permutation(list(whole))[: random.integers(1, 3)].tolist():
            keep = random.random(len(whole[name])) < random.choice([0.0, 0.5, 0.9, 1.0])
            present[name] = [row for row, stays in zip(whole[name], keep) if stays]
        after = opened(folder, catalogue, present)
        moved = deciding.carried(before, after)
        now = deciding.decide(before, was, after, moved, THRESHOLD, folder)
        assert said(after, now) == expected(catalogue, present, THRESHOLD)
        before, was = after, now


def test_twenty_orders_of_arrival_and_of_leaving_give_the_same_survivors(tmp_path):
    random = np.random.default_rng(5)
    catalogue = Catalogue(random, 300, 40, 30, 30)
    whole = {f"s{k}": rows_of(random, catalogue, 80, 30) for k in range(6)}
    left = dict(list(whole.items())[:3])
    for _ in range(20):
        before, was = nothing()
        present: dict[str, list] = {}
        order = random.permutation(list(whole)).tolist()
        steps = [("+", name) for name in order] + [("-", name) for name in order if name not in left]
        for what, name in steps:
            present = {**present, name: whole[name]} if what == "+" else {k: v for k, v in present.items() if k != name}
            after = opened(tmp_path, catalogue, present)
            was = deciding.decide(before, was, after, deciding.carried(before, after), THRESHOLD, tmp_path)
            before = after
            if len(present) == len(whole):
                assert said(after, was) == expected(catalogue, whole, THRESHOLD)
        assert said(before, was) == expected(catalogue, left, THRESHOLD)


def test_a_band_of_more_unlike_documents_than_it_remembers_gives_the_same_in_any_order(tmp_path):
    """Three times as many as a band remembers: which are compared with which follows from the order of survival."""
    random = np.random.default_rng(7)
    catalogue = Catalogue(random, 3 * verify.CANDIDATES, 2 * verify.CANDIDATES, 1, 12)
    catalogue.hashes[:] = random.integers(1, 1 << 60, catalogue.hashes.shape)
    catalogue.hashes[:, 0] = 7
    every = [(f"{i:04d}", int(random.integers(0, 50)), i, 1) for i in range(len(catalogue.sets))]
    whole = {f"s{k}": every[k::5] for k in range(5)}
    wanted = expected(catalogue, whole, THRESHOLD)
    assert len({survivor for survivor, _, _ in wanted.values()}) < len(wanted)
    for _ in range(6):
        before, was = nothing()
        order = random.permutation(list(whole)).tolist()
        for count in range(1, 6):
            after = opened(tmp_path, catalogue, {name: whole[name] for name in order[:count]})
            was = deciding.decide(before, was, after, deciding.carried(before, after), THRESHOLD, tmp_path)
            before = after
        assert said(before, was) == wanted
