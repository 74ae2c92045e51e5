"""What people preferred, as rows and lines that a reward model learns from, without what was taken down."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets import schemas
from assets.descent import MADE_BY, PARENT_READ, Holding, rows_by
from assets.judgements.state import judged
from assets.judgements.votes import Side, Votes
from assets.lake import Lake
from assets.preferences import exported, table_of, verdicts_name_the_chosen_text, withdrawn
from assets.resources import LakeResource
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope

SAMPLING = {"max_new_tokens": 8, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
VERDICTS = ["a", "b", "tie", "both_bad"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for number, verdict in enumerate(VERDICTS):
        a, b = Side("sft_model", "a" * 32, 1, f"left {number}"), Side("rl_model", "b" * 32, 2, f"right {number}")
        messages = [{"role": "user", "content": f"question {number} ü\u202e"}]
        identity = Votes(tmp_path).add_match(messages, a, b, SAMPLING, number)
        Votes(tmp_path).vote(identity, verdict, "Ada")
    return tmp_path


def test_rows_say_which_text_was_chosen_and_by_whom_it_was_written(home):
    rows = table_of(Votes(home).voted())
    assert rows.columns == schemas.table("preferences").schema.names
    chosen = dict(rows.select("verdict", "chosen").iter_rows())
    assert chosen == {"a": "left 0", "b": "right 1", "tie": None, "both_bad": None}
    assert dict(rows.select("verdict", "rejected").iter_rows()) == {"a": "right 0", "b": "left 1"} | {
        "tie": None,
        "both_bad": None,
    }
    assert rows["model_a"].unique().to_list() == ["a" * 32] and rows["asset_b"].unique().to_list() == ["rl_model"]


def test_the_same_votes_give_the_same_bytes_in_any_order(home, tmp_path_factory):
    matches = Votes(home).voted()
    one, other = (Lake(tmp_path_factory.mktemp("lake")) for _ in range(2))
    first = one.write("preferences", table_of(matches), replace={})
    second = other.write("preferences", table_of(reversed(matches)), replace={})
    assert (first.data_version, first.rows) == (second.data_version, 4)
    assert one.write("preferences", table_of(matches), replace={}).version == first.version


def test_lines_hold_the_pairs_in_which_one_was_chosen(home):
    lines = [json.loads(line) for line in exported(table_of(Votes(home).voted()))]
    by_text = {line["chosen"][0]["content"]: line for line in lines}
    assert set(by_text) == {"left 0", "right 1"}
    line = by_text["right 1"]
    assert line["rejected"] == [{"role": "assistant", "content": "left 1"}]
    assert line["prompt"] == [{"role": "user", "content": "question 1 ü\u202e"}]
    assert (line["chosen_model"], line["rejected_model"]) == ("b" * 32, "a" * 32)


def test_nobody_has_voted_is_a_table_without_rows(tmp_path):
    commit = Lake(tmp_path).write("preferences", table_of([]), replace={})
    assert commit.rows == 0 and Lake(tmp_path).scan("preferences").collect().is_empty()


def test_a_vote_makes_the_asset_outdated_and_nothing_else(home):
    before = judged("preferences", home)
    Votes(home).add_match([], Side("x", "a" * 32, 1, ""), Side("x", "b" * 32, 2, ""), SAMPLING, 9)
    assert judged("preferences", home) == before and judged("corpus", home) is None
    a, b = Side("x", "a" * 32, 1, ""), Side("x", "b" * 32, 2, "")
    Votes(home).vote(Votes(home).add_match([], a, b, SAMPLING, 9), "tie", "Bob")
    assert judged("preferences", home) != before


@pytest.mark.parametrize("wrong", [{"chosen": "right 0"}, {"model_b": "a" * 32}, {"verdict": "tie"}])
def test_the_check_finds_rows_that_contradict_themselves(home, wrong):
    lake = Lake(home)
    rows = table_of(Votes(home).voted()).sort("chosen", nulls_last=True)
    lake.write("preferences", rows, replace={})
    assert _checked(home).passed
    changed = rows.with_columns(
        pl.when(pl.col("chosen") == "left 0").then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in wrong.items()
    )
    lake.write("preferences", changed, replace={})
    assert not _checked(home).passed


def _checked(home: Path) -> dg.AssetCheckResult:
    return verdicts_name_the_chosen_text(LakeResource(home=str(home)))  # type: ignore[return-value]


def test_reach_names_the_rows_that_a_model_wrote_which_had_read_a_page(home):
    lake = Lake(home)
    lake.write("preferences", table_of(Votes(home).voted()), replace={})
    knowing = Holding("sft_model", "", "a" * 32, PARENT_READ, documents=3)
    (held,) = rows_by(lake, {"a" * 32: knowing})
    assert (held.asset, held.what, held.rows, held.documents) == ("preferences", MADE_BY, 4, 3)
    assert held.version == lake.version_of("preferences")
    assert rows_by(lake, {"c" * 32: knowing}) == rows_by(lake, {}) == []


def test_models_that_read_what_is_taken_down_leave_the_table(tmp_path):
    """A request that is only asked for is enough: the model is known to have read the page, and so is what it wrote."""
    page, lake, source = "00000001-0000-4000-8000-000000000001", Lake(tmp_path), tmp_path / "model"
    source.mkdir()
    pl.DataFrame({"doc_id": [page], "tokens": [7], "times": [1]}).write_parquet(source / "consumed.parquet")
    reader = lake.commit_dir("base_model", source).data_version
    for number, other in enumerate(("b" * 32, "c" * 32)):
        model = reader if number == 0 else "a" * 32
        a, b = Side("base_model", model, 1, "x"), Side("rl_model", other, 2, "y")
        Votes(tmp_path).vote(Votes(tmp_path).add_match([], a, b, SAMPLING, number), "a", "Ada")
    matches = Votes(tmp_path).voted()
    assert withdrawn(lake, matches) == set()
    Ledger(tmp_path).add(scope("document", page), "somebody", "it is mine")
    assert withdrawn(lake, matches) == {reader}
