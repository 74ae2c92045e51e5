"""What materializations tell people: tables with shares that add up, pictures that are the same for the same data."""

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets import told
from assets.descent import MADE_DATA, MODELS


def rows(entry: object) -> list[dict]:
    assert isinstance(entry, dg.TableMetadataValue)
    return [dict(record.data) for record in entry.records]


def test_shares_are_of_all_and_the_greatest_comes_first():
    assert rows(told.shares("family", {"b": 1, "a": 1, "c": 2})) == [
        {"family": "c", "rows": 2, "share": "50.0%"},
        {"family": "a", "rows": 1, "share": "25.0%"},
        {"family": "b", "rows": 1, "share": "25.0%"},
    ]
    assert told.shares("family", {}).value == "none"


def test_funnel_goes_from_pages_to_kept_in_the_order_of_the_rules():
    counts = {"in": 10, "dropped": {"a_rule": 2, "z_rule": 1, "near_duplicate": 3}, "kept": 4}
    steps = rows(told.funnel(counts | {"skipped": {"mime": 2}, "rejects": {}}, ["z_rule", "a_rule"])["funnel_steps"])
    assert [row["step"] for row in steps] == ["pages", "z_rule", "a_rule", "near_duplicate", "kept"]
    assert sum(row["pages"] for row in steps[:-1]) == steps[-1]["pages"]


def test_accuracies_are_those_of_the_manifest():
    manifest = {
        "accuracy_greedy": 0.5,
        "accuracy_sampled": 0.25,
        "accuracy_greedy/gcd": 1.0,
        "accuracy_sampled/gcd": 0.5,
    }
    assert rows(told.accuracies(manifest)) == [
        {"tasks": "all", "greedy": 0.5, "sampled": 0.25},
        {"tasks": "gcd", "greedy": 1.0, "sampled": 0.5},
    ]


def test_examples_are_counted_without_their_text(tmp_path):
    table = pa.table(
        {
            "family": ["gcd", "gcd", "sum"],
            "teacher": ["procedural", None, "procedural"],
            "split": ["train", "heldout", "train"],
            "input_ids": [[1, 2, 3], [1], [1, 2]],
            "question": ["what strangers asked"] * 3,
        }
    )
    pq.write_table(table, tmp_path / "sft.parquet")
    first, again = (told.examples(tmp_path / "sft.parquet") for _ in range(2))
    assert rows(first["by_teacher"])[1] == {"teacher": "none", "rows": 1, "share": "33.3%"}
    assert first["lengths"].value == again["lengths"].value and "data:image/png" in first["lengths"].value
    assert "strangers" not in repr(first)


@pytest.mark.parametrize("asset", [*MODELS, *MADE_DATA])
def test_models_and_made_data_link_to_the_page_of_that_version(asset):
    url = told.page("http://pages.example:1/", asset, "abc", "", None)[told.PAGE].value
    assert url.startswith("http://pages.example:1/models/") and url.endswith("/abc")


def test_tables_link_to_their_snapshot_whatever_it_is_called():
    assert told.page("http://p", "documents", "abc", "a/b c", None)[told.PAGE].value == "http://p/?snapshot=a%2Fb%20c"
    assert told.page("http://p", "refresh_report", "abc", "", None) == {}
