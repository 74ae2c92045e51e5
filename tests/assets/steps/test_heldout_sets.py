"""Held-out sets are found by name or by their folder's list; what cannot be read is named with its line."""

import gzip
import json

import pytest

from assets.steps.heldout_sets import HeldoutSetError, digest, load


def write(folder, name: str, rows: list, listed: str | None = None):
    (folder / name).write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    if listed is not None:
        (folder / "sets.yaml").write_text(listed)


LISTED = "sets:\n  - {name: mine, file: mine.jsonl.gz, text: body, where: {kept: true}, licence: CC0}\n"


def test_no_folder_is_no_sets():
    assert load(None) == [] and digest(None) == digest(None)


def test_a_folders_own_list_is_followed(tmp_path):
    rows = [{"body": "one", "kept": True}, {"body": "two", "kept": False}, {"body": "", "kept": True}]
    write(tmp_path, "mine.jsonl.gz", rows, LISTED)
    (found,) = load(tmp_path)
    assert found.texts == ["one"] and found.described["licence"] == "CC0" and found.described["texts"] == 1
    before = digest(tmp_path)
    write(tmp_path, "mine.jsonl.gz", [*rows, {"body": "three", "kept": True}])
    assert digest(tmp_path) != before


def test_known_files_are_found_below_a_folder(shared_data):
    found = {one.declared.name: one for one in load(shared_data)}
    assert {"people_keep", "people_discard", "news", "addresses"} <= set(found)
    assert len(found["people_keep"].texts) == 135 and len(found["people_discard"].texts) == 119
    assert all(one.declared.licence for one in found.values())


@pytest.mark.parametrize(
    ("rows", "listed", "said"),
    [
        ([{"other": 1}], LISTED, "mine.jsonl.gz, line 1: no text in the field body"),
        ([{"body": "x", "kept": False}], LISTED, "no line is of the set mine"),
        ([["a list"]], LISTED, "line 1: no text"),
        ([], "sets: {}", "not a mapping with a list"),
        ([], "sets:\n  - {name: 'B A D', file: x}\n", "String should match"),
        ([], "sets:\n  - {name: a, file: gone.jsonl}\n", "the file gone.jsonl of the set a is not there"),
        ([], "sets:\n  - {name: a, file: x}\n  - {name: a, file: x}\n", "several sets are called a"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, rows, listed, said):
    write(tmp_path, "mine.jsonl.gz", rows, listed)
    with pytest.raises(HeldoutSetError, match=said):
        load(tmp_path)


def test_a_broken_archive_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(HeldoutSetError, match="none of the files that are known by name"):
        load(tmp_path)
    write(tmp_path, "mine.jsonl.gz", [{"body": "x" * 999, "kept": True}], LISTED)
    (tmp_path / "mine.jsonl.gz").write_bytes((tmp_path / "mine.jsonl.gz").read_bytes()[:20])
    with pytest.raises(HeldoutSetError, match=r"mine\.jsonl\.gz: not readable"):
        load(tmp_path)
    with pytest.raises(HeldoutSetError, match="correct STEMMA_HELDOUT_SETS"):
        load(tmp_path / "gone")
