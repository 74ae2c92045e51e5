"""Time travel on a whole demo: from a model to the rows and shards that it was trained on, whatever came after."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_demo import copy_home

SMOKE = ["demo", "--recipe", "smoke", "--json"]
POLICY = """
name: surer
version: 1
description: FineWeb, surer of the language.
extends: fineweb
source: a test
rules:
  - {rule: language_score, min: 0.95}
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def get(demo, name: str, out: Path) -> dict:
    done = demo.stemma("versions", "get", name, "--shards", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_from_a_model_to_the_rows_and_shards_that_it_was_trained_on(smoke, tmp_path):
    listed = json.loads(smoke.stemma("versions", "--json").stdout)
    (used,) = [row for row in listed if row["used_by"]]
    assert used["current"] and used["readable"] and used["tokens"] > 0 and used["policies"] == ["fineweb@1"]
    assert [one["asset"] for one in used["used_by"]] == ["token_shards", "base_model", "sft_model", "rl_model"]
    found = get(smoke, "champion", tmp_path / "out")
    shards = smoke.report["versions"]["token_shards"]
    assert (found["corpus_version"], found["token_shards"]) == (used["digest"], shards)
    assert contents(tmp_path / "out" / "token_shards") == contents(smoke.home / "artifacts" / "token_shards" / shards)
    done = smoke.stemma("diff", "base_model", "now", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["empty"]


def test_a_difference_is_written_as_a_folder_and_never_over_one(smoke, tmp_path):
    (tmp_path / "surer.yaml").write_text(POLICY)
    asked = ["diff", "fineweb", str(tmp_path / "surer.yaml"), "--out", str(tmp_path / "out")]
    done = smoke.stemma(*asked)
    assert done.returncode == 0 and "language_score" in done.stdout, done.stderr
    names = {
        "README.md",
        "difference.json",
        "difference.png",
        "only_in_a.parquet",
        "only_in_b.parquet",
        "changed.parquet",
    }
    assert set(contents(tmp_path / "out")) == names
    again = smoke.stemma(*asked)
    assert again.returncode == 2 and "is there already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diff", "now", "feedfacefeed"], "no corpus version is called feedfacefeed: there are "),
        (["versions", "get", "now", "--out", "."], "is there already"),
        (["versions", "get", "zz", "--out", "none"], "no corpus version is called zz"),
    ],
)
def test_a_name_that_means_nothing_is_one_line_that_says_what_there_is(smoke, arguments, said):
    done = smoke.stemma(*arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_after_another_policy_the_old_version_and_its_shards_are_had_again(smoke, tmp_path):
    home = copy_home(smoke.home, tmp_path / "home")
    demo = replace(smoke, home=home)
    (tmp_path / "surer.yaml").write_text(POLICY)
    before = {row["digest"]: row for row in json.loads(demo.stemma("versions", "--json").stdout)}
    other = demo.stemma(*SMOKE, STEMMA_POLICY=str(tmp_path / "surer.yaml"))
    assert other.returncode == 0, other.stderr[-3000:]
    (old,) = [digest for digest, row in before.items() if row["used_by"]]
    found = get(demo, old, tmp_path / "out")
    shards = smoke.report["versions"]["token_shards"]
    assert found["token_shards"] == shards != json.loads(other.stdout)["versions"]["token_shards"]
    assert contents(tmp_path / "out" / "token_shards") == contents(smoke.home / "artifacts" / "token_shards" / shards)
    difference = json.loads(demo.stemma("diff", old, "now", "--json").stdout)
    assert set(difference["only_a"]["reasons"]) == {"language_score"} and not difference["only_b"]["reasons"]
    again = demo.run()  # the first policy: the version has its name again
    assert again["versions"]["token_shards"] == shards
    assert next(row for row in json.loads(demo.stemma("versions", "--json").stdout) if row["current"])["digest"] == old
