"""A run that began before a takedown cannot publish its pages afterwards; exports of what had read them are marked."""

import json

import polars as pl
import pytest

from assets.exported import NOTE, mark
from assets.lake import Lake
from assets.schemas import TABLES, table
from assets.steps.ledger import FOUND, Ledger
from assets.steps.scopes import scope
from assets.withdrawal import came_back, withdraw
from models.artifacts import seal

PAGE, OTHER = (f"{n:08x}-0000-4000-8000-{n:012x}" for n in (1, 2))


def documents(*ids: str) -> pl.DataFrame:
    """Rows of `documents` of these ids, one host each."""
    columns = {field.name: pl.Series([None] * len(ids), dtype=pl.Null) for field in table("documents").schema}
    said = {
        "doc_id": ids,
        "snapshot": ["s"] * len(ids),
        "shard": ["0"] * len(ids),
        "url": [f"https://{one[:8]}.example.org/" for one in ids],
        "host": [f"{one[:8]}.example.org" for one in ids],
        "content_hash": ids,
    }
    return pl.DataFrame(columns | {name: pl.Series(values) for name, values in said.items()})


def rows(lake: Lake, name: str) -> list[str]:
    return sorted(lake.scan(name).select("doc_id").collect()["doc_id"])


@pytest.mark.parametrize("found", [[PAGE], []], ids=["a page that was found", "a page that was fetched meanwhile"])
def test_pages_published_after_their_takedown_go_again(tmp_path, found):
    lake, ledger = Lake(tmp_path), Ledger(tmp_path)
    number = ledger.add(scope("host", f"{PAGE[:8]}.example.org"), "Ann", "hers")[0].number
    lake.write("documents", documents(PAGE, OTHER), replace={"snapshot": "s"})
    assert came_back(lake, "documents") == 0 == withdraw(lake, "documents", ["documents"], "s"), "not applied yet"
    pages = [{"doc_id": one} for one in found]
    ledger.write(number, FOUND, {"pages": pages, "held_by": [], "near": []})
    assert came_back(lake, "documents") == 1
    assert withdraw(lake, "documents", ["documents", "rejects"], "s") == 1
    assert rows(lake, "documents") == [OTHER] and came_back(lake, "documents") == 0


def test_a_table_without_addresses_is_told_by_what_was_found(tmp_path):
    lake, ledger = Lake(tmp_path), Ledger(tmp_path)
    number = ledger.add(scope("host", "example.org"), "Ann", "hers")[0].number
    ledger.write(number, FOUND, {"pages": [{"doc_id": PAGE}], "held_by": [], "near": []})
    columns = {field.name: pl.Series([None, None], dtype=pl.Null) for field in TABLES["decisions"].schema}
    said = {"doc_id": [PAGE, OTHER], "snapshot": ["s", "s"], "shard": ["0", "0"]}
    frame = pl.DataFrame(columns | {name: pl.Series(values) for name, values in said.items()})
    lake.write("decisions", frame, replace={"snapshot": "s"})
    assert withdraw(lake, "decisions", ["decisions"], "s") == 1 and rows(lake, "decisions") == [OTHER]


def test_an_export_is_marked_once_and_another_folder_is_left_alone(tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    (export / "model.safetensors").write_bytes(b"weights")
    seal(export, "export", {"parent": "a" * 32})
    held = {"asset": "rl_model", "version": "a" * 32, "place": str(export)}
    assert mark(held, 3)["marked"] and mark(held, 3)["marked"] and mark(held, 4)["marked"]
    assert [line[:34] for line in (export / NOTE).read_text().splitlines()] == [
        "Outdated because of takedown 3: th",
        "Outdated because of takedown 4: th",
    ]
    before = sorted(path.name for path in export.iterdir())
    assert not mark(held | {"version": "b" * 32}, 3)["marked"]
    assert not mark(held | {"place": str(tmp_path / "gone")}, 3)["marked"]
    assert before == sorted(path.name for path in export.iterdir())
    assert json.loads((export / "manifest.json").read_bytes())["parent"] == "a" * 32
