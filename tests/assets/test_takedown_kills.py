"""SIGKILL at 200 random moments of an apply: the next one ends as if undisturbed, and no byte of a text is left."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from assets import dedup_index
from assets.lake import Lake
from assets.schemas import TABLES
from assets.searching import index as search
from assets.steps.jobs import STAMPS
from assets.steps.ledger import REPORT, Ledger
from tests.assets.byte_search import holding
from tests.assets.takedown_crawl import SNAPSHOT
from tests.assets.takedown_home import add_made_data, ask, decoder, write_home

REPO = Path(__file__).resolve().parents[2]
KILLS, SEED = 200, 17
AGAIN = 0.2  # of the applies that go on after a kill, how many are killed too
# files with names of their own, and those that only say what happened
UNSAID = ("_delta_log", "takedowns", ".lock", "cache", STAMPS, search.FOLDER)
Apply = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory, bundled_crawl, here_engine, block_list_cache):
    """(a home with three takedowns to apply, the texts of which nothing may be left)."""
    place, scratch = tmp_path_factory.mktemp("killed") / "home", tmp_path_factory.mktemp("programs")
    crawl = tmp_path_factory.mktemp("crawl")
    (first, second, *_, last), _ = write_home(place, crawl, scratch, bundled_crawl, block_list_cache, here_engine())
    add_made_data(place, scratch, [first, last, second])
    search.make(Lake(place), SNAPSHOT)
    ask(place, "text", first.text)  # of three pages that are nearly the same
    ask(place, "url", second.url)  # its copy takes its place
    ask(place, "host", last.url.split("/")[2])
    return place, [first.text, last.text]


@pytest.fixture(scope="module")
def applying():
    """Applies the takedowns of a home in a process of its own; with `after` and `seconds`, until it is killed then."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the same sums every time
    command = [sys.executable, "-m", "tests.assets.killed_apply"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPO, env=environment, stdin=pipe, stdout=pipe, text=True) as server:
        stdin, stdout = server.stdin, server.stdout
        assert stdin is not None and stdout is not None

        def apply(place: Path, after: int | None = None, seconds: float = 0.0) -> dict[str, Any]:
            print(json.dumps({"home": str(place), "after": after, "seconds": seconds}), file=stdin, flush=True)
            done = json.loads(stdout.readline())
            assert done["died"] or done["code"] == 0, f"apply failed in {place}"
            return done

        yield apply
        stdin.close()


def state(home: Path) -> dict[str, Any]:
    """All that must not depend on a kill: versions of tables and artifacts, the index, reports, names of the files."""
    lake = Lake(home)
    tables = {name: lake.version_of(name) for name in TABLES if lake.exists(name)}
    assets = sorted(path.name for path in lake.artifacts.root.iterdir())
    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    reports = {entry.number: Ledger(home).read(entry.number, REPORT) for entry in Ledger(home).entries()}
    return {
        "tables": tables,
        "artifacts": {name: lake.artifacts.version_of(name) for name in assets},
        "index": (home / dedup_index.FOLDER / "index.json").read_bytes(),
        "reports": reports,
        "search": sorted(path.parent.relative_to(home) for path in (home / search.FOLDER).glob(f"*/*/*/{search.IDS}")),
        "files": {name for name in files if not any(part in Path(name).parts for part in UNSAID)},
    }


def lengths(steps: list[tuple[str, float]], end: float) -> list[tuple[str, float]]:
    """(step, seconds that it takes), the time before the first included."""
    names, begins = ["start", *(name for name, _ in steps)], [0.0, *(second for _, second in steps), end]
    return [(name, begins[i + 1] - begins[i]) for i, name in enumerate(names)]


@pytest.mark.slow
def test_killed_at_random_moments_the_next_apply_ends_with_the_same_digests(home, applying: Apply, tmp_path):
    """A moment is drawn in a step drawn at random, so short steps are struck as often as long ones."""
    source, texts = home
    assert all(holding(source / place, texts, decoder(source)) for place in ("lake", "artifacts", "work"))
    whole = shutil.copytree(source, tmp_path / "whole", symlinks=True)
    done = applying(whole)
    took, expected = lengths(done["steps"], done["seconds"]), state(whole)
    struck, failed = Counter[str](), []
    assert all(expected["reports"].values()) and holding(whole, texts, decoder(whole)) == set()
    for seed in count():
        chance = random.Random(f"{SEED}-{seed}")
        place = shutil.copytree(source, tmp_path / f"killed-{seed}", symlinks=True)
        moments = []
        while not moments or chance.random() < AGAIN:
            after = chance.randrange(len(took))
            died = applying(place, after, chance.uniform(0, took[after][1]))
            if not died["died"]:  # it ended before the moment came
                break
            moments.append((["start", *(name for name, _ in died["steps"])][-1], died["seconds"]))
        applying(place)
        struck.update(step for step, _ in moments)
        found = state(place)
        wrong = {name: (found[name], expected[name]) for name in expected if found[name] != expected[name]}
        left = holding(place, texts, decoder(place))
        if wrong or left:
            failed.append(f"seed {seed}, killed in {moments}: {wrong} {left}")
        shutil.rmtree(place)
        if struck.total() >= KILLS:
            break
    print(f"{struck.total()} kills struck in {seed + 1} homes: {dict(struck)}")
    assert not failed, "\n".join(failed)
    assert len(struck) > len(took) * 0.8
