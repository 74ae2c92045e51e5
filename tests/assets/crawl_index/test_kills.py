"""Killed anywhere, a fetch goes on without asking for a record that it holds, and ends with the same bytes."""

import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from assets.crawl_index import journal
from assets.crawl_index.fetch import fetch
from assets.crawl_index.moving import Limits
from assets.crawl_index.plan import read_plan
from tests.assets.crawl_index import killable
from tests.assets.crawl_index.outcome import held_spans, moved_again, visible, warcs


class Cut(BaseException):
    """Ends the process at a chosen step, as far as the code under test can see."""


@contextmanager
def children(plan: Path, out: Path, source: str):
    """Gives a function that runs one fetch for so many seconds (negative: to its end): its exit code."""
    command = [sys.executable, killable.__file__, str(plan), str(out), source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin and driver.stdout

        def run(seconds: float) -> int:
            driver.stdin.write(f"{seconds}\n")
            driver.stdin.flush()
            return int(driver.stdout.readline())

        yield run
        driver.stdin.close()


def kill_at_random(kills: int, seed: int, plan_path: Path, undisturbed, web, folder: Path) -> int:
    """Fetches anew and anew, each killed one to four times; gives how many kills struck a fetch at work."""
    coin, plan, struck, asked_for = random.Random(seed), read_plan(plan_path), 0, 0
    with children(plan_path, folder / "calm", web.url) as run:
        run(-1)
        begun = time.monotonic()
        (folder / "calm").rename(folder / "first")
        run(-1)
        usual = time.monotonic() - begun
    while asked_for < kills:
        out = folder / f"fetch-{asked_for}"
        with children(plan_path, out, web.url) as run:
            for _ in range(min(coin.randint(1, 4), kills - asked_for)):
                before = held_spans(plan, out) if (out / ".fetch").is_dir() and not warcs(out) else set()
                asked = len(web.served)
                struck += run(coin.uniform(0, usual)) == -9
                asked_for += 1
                assert moved_again(before, web.served[asked:]) == []
                assert set(warcs(out).items()) <= set(undisturbed.items()), "what is visible is whole"
            before = held_spans(plan, out) if (out / ".fetch").is_dir() and not warcs(out) else set()
            asked = len(web.served)
            assert run(-1) == 0
            assert moved_again(before, web.served[asked:]) == []
        assert warcs(out) == undisturbed
        assert {name: digest for name, digest in visible(out).items() if not name.endswith("cost.json")} == {
            name: digest for name, digest in visible(folder / "calm").items() if not name.endswith("cost.json")
        }
    return struck


def cut_at_steps(points: int, seed: int, plan_path: Path, undisturbed, web, folder: Path) -> None:
    """Ends a fetch at chosen steps of its writing: each append, each rename, each link, each flush."""
    coin, plan = random.Random(seed), read_plan(plan_path)

    def run(out: Path, left: float) -> tuple[bool, int]:
        steps = 0

        def counted(function):
            def step(*arguments, **options):
                nonlocal steps
                steps += 1
                if steps > left:
                    if function is journal._write:  # torn: a part of it is on the disk
                        function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    raise Cut
                return function(*arguments, **options)

            return step

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "_write", counted(journal._write))
            for name in ("replace", "link", "fsync"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                fetch(plan_path, out, source=web.url, limits=Limits(concurrency=4))
            except Cut:
                return False, steps
        return True, steps

    whole, steps = run(folder / "calm", float("inf"))
    assert whole
    for number in range(points):
        out = folder / f"cut-{number}"
        whole, _ = run(out, coin.randrange(steps))
        assert not whole and set(warcs(out).items()) <= set(undisturbed.items())
        before = held_spans(plan, out) if (out / ".fetch").is_dir() and not warcs(out) else set()
        asked = len(web.served)
        assert run(out, float("inf"))[0]
        assert moved_again(before, web.served[asked:]) == [] and warcs(out) == undisturbed


def test_killed_at_random_moments_it_ends_with_the_same_bytes(plan_path, undisturbed, web, tmp_path):
    kill_at_random(5, 0, plan_path, undisturbed, web, tmp_path)


def test_cut_at_random_steps_of_its_writing_it_ends_with_the_same_bytes(plan_path, undisturbed, web, tmp_path):
    cut_at_steps(5, 0, plan_path, undisturbed, web, tmp_path)


@pytest.mark.slow
def test_two_hundred_kill_points_end_with_the_same_bytes(plan_path, undisturbed, web, tmp_path):
    struck = kill_at_random(120, 1, plan_path, undisturbed, web, tmp_path / "killed")
    assert struck > 60, "most kills met a fetch at work"
    cut_at_steps(80, 1, plan_path, undisturbed, web, tmp_path / "cut")
