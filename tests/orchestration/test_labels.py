"""`stemma labels`: what goes in comes out, a bad line is named in one line, and JSON is JSON."""

import json

import pytest
from typer.testing import CliRunner

from assets.lake import Lake
from orchestration.cli import app
from tests.assets.steps.test_contamination import write_documents

RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path, monkeypatch):
    place = tmp_path / "home"
    place.mkdir()
    (place / "home.json").write_text('{"id": "0123"}')
    write_documents(Lake(place))  # d0 to d3
    monkeypatch.setenv("STEMMA_HOME", str(place))
    monkeypatch.setenv("DAGSTER_HOME", str(place / "dagster"))
    return place


def stemma(*arguments) -> str:
    """What a command says; it must succeed."""
    result = RUNNER.invoke(app, ["labels", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments) -> str:
    result = RUNNER.invoke(app, ["labels", *map(str, arguments)])
    assert result.exit_code == 2 and result.output.count("\n") == 1
    return result.output


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_go_in_and_come_out_and_agree(home, tmp_path):
    for who, labels in (("Ann", ("good", "bad", "good", "bad")), ("Bob", ("good", "bad", "bad", "bad"))):
        rows = [{"doc_id": f"d{i}", "label": label} for i, label in enumerate(labels)]
        said = json.loads(stemma("import", lines(tmp_path / f"{who}.jsonl", *rows), "--by", who, "--json"))
        assert said["labels"] == 4 and len(said["batches"]) == 1
    listed = json.loads(stemma("list", "--json"))
    assert [(one["labeller"], one["pages"], one["label"]) for one in listed] == [("Bob", 4, ""), ("Ann", 4, "")]
    assert "Ann.jsonl" in stemma("list")
    assert [(row["labeller"], row["label"]) for row in json.loads(stemma("list", "--doc", "d2", "--json"))] == [
        ("Ann", "good"),
        ("Bob", "bad"),
    ]
    assert "Ann: good" in stemma("list", "--doc", "d2") and "nobody" in stemma("list", "--doc", "nowhere")
    [measured] = json.loads(stemma("agreement", "--json"))
    assert measured["labellers"] == ["Ann", "Bob"] and (measured["n"], measured["kappa"]) == (4, 0.5)
    assert "Ann and Bob: 4 pages of both, the same on 75%, kappa 0.50" in stemma("agreement")
    out = tmp_path / "labels.jsonl"
    stemma("export", out)
    assert out.read_text() == stemma("export") and len(out.read_text().splitlines()) == 8
    assert json.loads(stemma("import", out, "--json"))["labels"] == 8


def test_a_bad_line_is_named_and_nothing_is_added(home, tmp_path):
    path = lines(tmp_path / "bad.jsonl", {"doc_id": "d0", "label": "good"}, {"doc_id": "nowhere", "label": "good"})
    assert "bad.jsonl, line 2: there is no page 'nowhere'" in refused("import", path, "--by", "Ann")
    assert "no such file" in refused("import", tmp_path / "none.jsonl")
    assert json.loads(stemma("list", "--json")) == []


def test_nobody_labelled_yet_is_said(home):
    assert "no two people" in stemma("agreement") and stemma("export") == ""


def test_a_home_that_was_never_made_is_named(tmp_path):
    assert "stemma demo" in refused("list", "--home", tmp_path / "empty")
