"""Labels from files: what comes out goes in again, and a bad line is named with nothing added."""

import json

import polars as pl
import pytest

from assets.judgements.lines import UnusableLabels, bring_in, write
from assets.judgements.store import Judgements
from assets.lake import Lake
from tests.assets.steps.test_contamination import TEXTS, write_documents


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake(tmp_path / "home")
    write_documents(lake)  # d0 to d3
    return lake


@pytest.fixture
def store(lake) -> Judgements:
    return Judgements(lake.local)


def file_of(tmp_path, *lines):
    path = tmp_path / "labels.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_lines_become_labels_of_those_who_gave_them_with_the_judged_text(store, lake, tmp_path):
    path = file_of(
        tmp_path,
        {"doc_id": "d0", "label": "good", "tags": ["Rivers"], "note": "fine"},
        "",
        {"doc_id": "d1", "label": "bad", "labeller": "Bob"},
    )
    assert len(bring_in(store, lake, path, "Ann")) == 2
    assert [(row["labeller"], row["doc_id"], row["label"], row["tags"]) for row in store.newest()] == [
        ("Ann", "d0", "good", ["rivers"]),
        ("Bob", "d1", "bad", []),
    ]
    assert store.texts()[0][3] == TEXTS[0] and store.newest()[0]["source"] == {"file": "labels.jsonl"}


def test_what_is_exported_can_be_imported_elsewhere(store, lake, tmp_path):
    bring_in(store, lake, file_of(tmp_path, {"doc_id": "d0", "label": "good", "tags": ["a"], "note": "n"}), "Ann")
    path = file_of(tmp_path, *(line.rstrip("\n") for line in write(store.newest())))
    other = Judgements(tmp_path / "other")
    bring_in(other, lake, path)
    kept = ("labeller", "doc_id", "snapshot", "url", "content_hash", "label", "tags", "note")
    assert [{name: row[name] for name in kept} for row in other.newest()] == [
        {name: row[name] for name in kept} for row in store.newest()
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON"),
        ("[" * 30_000, "no JSON"),
        ("[1]", "a JSON object"),
        ({"label": "good"}, "doc_id is missing"),
        ({"doc_id": "d1"}, "label is missing"),
        ({"doc_id": "d1", "label": "fine"}, "the label is 'fine'"),
        ({"doc_id": 3, "label": "good"}, "doc_id must be a text"),
        ({"doc_id": "d1", "label": "good", "tags": "spam"}, "tags must be a list"),
        ({"doc_id": "d1", "label": "good", "tags": [1]}, "tags must be a list of texts"),
        ({"doc_id": "d1", "label": "good", "tags": ["a b"]}, "the tag 'a b' is none"),
        ({"doc_id": "d1", "label": "good", "lable": "x"}, "'lable' is no field"),
        ({"doc_id": "d1", "label": "good", "labeller": "<script>"}, "who labels"),
        ({"doc_id": "nowhere", "label": "good"}, "no page 'nowhere'"),
        ({"doc_id": "d1", "label": "good", "content_hash": "other"}, "another text now"),
        ({"doc_id": "d1", "label": "good", "note": "x" * 70_000}, "longer than 65536 bytes"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_added(store, lake, tmp_path, line, said):
    path = file_of(tmp_path, {"doc_id": "d0", "label": "good"}, line)
    with pytest.raises(UnusableLabels, match=r"labels\.jsonl, line 2: .*" + said):
        bring_in(store, lake, path, "Ann")
    assert store.newest() == []


def test_bytes_that_are_no_text_a_missing_file_and_an_empty_one_are_named(store, lake, tmp_path):
    path = tmp_path / "labels.jsonl"
    with pytest.raises(UnusableLabels, match="no such file"):
        bring_in(store, lake, path, "Ann")
    path.write_bytes(b"")
    with pytest.raises(UnusableLabels, match="has no line"):
        bring_in(store, lake, path, "Ann")
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(UnusableLabels, match="line 1: no JSON in UTF-8"):
        bring_in(store, lake, path, "Ann")


def test_a_line_without_a_labeller_needs_one_named_beside(store, lake, tmp_path):
    with pytest.raises(UnusableLabels, match="line 1: no labeller"):
        bring_in(store, lake, file_of(tmp_path, {"doc_id": "d0", "label": "good"}))


def test_no_documents_is_no_page(tmp_path):
    with pytest.raises(UnusableLabels, match="no page 'd0'"):
        bring_in(Judgements(tmp_path), Lake(tmp_path), file_of(tmp_path, {"doc_id": "d0", "label": "good"}), "Ann")


def test_of_a_record_in_two_snapshots_the_first_is_judged(store, lake, tmp_path):
    lake.write(
        "documents", lake.scan("documents").collect().with_columns(snapshot=pl.lit("0")), replace={"snapshot": "0"}
    )
    bring_in(store, lake, file_of(tmp_path, {"doc_id": "d0", "label": "good"}), "Ann")
    assert store.newest()[0]["snapshot"] == "0"
