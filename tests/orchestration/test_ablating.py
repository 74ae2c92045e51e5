"""`stemma ablate` makes the ranking in a run of its own, touches nothing else, and says what it lacks."""

import json
import shutil

import pytest

from orchestration.lineage import Node


@pytest.fixture(scope="module")
def ablated(smoke, tmp_path_factory):
    """A copy of the demo's home after one ablation with the smallest recipe."""
    home = tmp_path_factory.mktemp("ablate") / "home"
    shutil.copytree(smoke.home, home, symlinks=True)
    demo = smoke.elsewhere(home=home)
    return demo, demo.stemma("ablate", "--recipe", "smoke", "--json")


@pytest.mark.slow
def test_every_variant_is_ranked_on_pages_with_intervals(ablated):
    _, done = ablated
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["ranking"]
    assert {row["heldout"] for row in rows} == {"kept_by_all", "all_pages"}
    assert len({row["variant"] for row in rows}) == 7
    assert all(row["low"] <= row["bits_per_byte"] <= row["high"] for row in rows)
    assert {row["tokens_trained"] for row in rows} == {20 * 8 * 64}


@pytest.mark.slow
def test_no_text_stays_in_the_home_and_nothing_else_becomes_outdated(ablated):
    demo, _ = ablated
    work = list((demo.home / "work" / "ablations").rglob("*"))
    assert work and not [path for path in work if path.suffix in (".bin", ".safetensors") or "spans" in path.name]
    assert not list((demo.home / "work").glob(".scratch*"))
    states = json.loads(demo.stemma("status", "--json").stdout)["nodes"]
    assert {one["status"] for one in states} == {"current"}
    assert "ablations" not in {one["asset"] for one in states}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--recipe", "none"), "unknown recipe"), (("--sets", "/nowhere"), "is no folder of held-out sets")],
)
def test_what_cannot_be_used_is_said_in_one_line(smoke, arguments, said):
    done = smoke.stemma("ablate", *arguments)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_a_home_without_anything_is_said_so(smoke, tmp_path):
    done = smoke.elsewhere(home=tmp_path / "none").stemma("ablate")
    assert done.returncode == 2 and "run `stemma demo`" in done.stderr


def test_an_ablation_is_no_node_of_the_survey(smoke):
    assert str(Node("ablations")) not in smoke.report["versions"]
