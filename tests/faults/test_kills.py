"""Runs of the data plane that are killed at random moments lose nothing, show nothing half, leave nothing behind."""

import random

import pytest

from tests.faults.data_plane import AFTER, BEFORE, Runs

KILLS_OF_A_HOME = 5


@pytest.fixture(scope="module")
def runs(crawl, block_list_cache, tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"), crawl, block_list_cache)


@pytest.fixture(scope="module")
def undisturbed(runs, calm, tmp_path_factory):
    said = runs.to_the_end(tmp_path_factory.mktemp("undisturbed"))
    assert (said["records"], said["kept"], said["dropped"]) == (9, 6, {"exact_duplicate": 2, "near_duplicate": 1})
    assert said["versions"] == calm["versions"]
    assert set(said["versions"]) == {*BEFORE, *AFTER} and not said["left_over"]
    return said


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_moments_lose_nothing_and_leave_nothing(kills, runs, undisturbed, tmp_path):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it where the test fails
    moment, done, stages = random.Random(seed), 0, dict.fromkeys(["nothing", *BEFORE, *AFTER], 0)
    while done < kills:
        home = tmp_path / f"home-{done}"
        for _ in range(min(KILLS_OF_A_HOME, kills - done)):
            was_killed, said = runs.killed(home, moment.uniform(0.02, undisturbed["cpu_s"]))
            found = said.get("found", {})
            assert found == {name: undisturbed["versions"][name] for name in found}, f"seed {seed}: a table is half"
            done += was_killed
            stages[list(found)[-1] if found else "nothing"] += was_killed
            if not was_killed:
                break
        said = runs.to_the_end(home)
        assert said["found"].items() <= undisturbed["versions"].items(), f"seed {seed}: a table is half"
        for what in ("versions", "records", "kept", "dropped", "left_over"):
            assert said[what] == undisturbed[what], f"seed {seed}, {home}: {what}"
    print(f"seed {seed}: {done} kills; what runs found last before they were killed: {stages}")
