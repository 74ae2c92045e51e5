"""Corpus versions: named by their rows alone, all of them listed, each with what it was decided from."""

import re
from pathlib import Path

import polars as pl
import pytest

from assets.history import history, rows_of
from assets.lake import Lake
from assets.schemas import table
from assets.versions import UnknownVersion, Versions, digest_of

HOUR_MS = 3_600_000


def frame(name: str, rows: list[dict]) -> pl.DataFrame:
    """Rows of a table, what is not given null."""
    empty = pl.DataFrame(pl.from_arrow(table(name).schema.empty_table()))
    if not rows:
        return empty
    return pl.concat([empty, pl.DataFrame(rows).cast({c: empty.schema[c] for c in rows[0]})], how="diagonal")


def decide(lake: Lake, snapshot: str, kept: list[str], dropped: dict[str, str], policy: str = "fineweb@1") -> None:
    """The tables of a snapshot in which the pages `kept` make the corpus and the others fail a rule."""
    where = {"snapshot": snapshot, "shard": "0"}
    pages = [{**where, "doc_id": one, "url": f"https://h.org/{one}", "host": "h.org"} for one in [*kept, *dropped]]
    lake.write("documents", frame("documents", pages), replace={"snapshot": snapshot})
    list(lake.scan("documents", snapshot=snapshot).collect())
    verdicts = [{**where, "doc_id": one, "policy": policy, "verdict": "kept"} for one in kept]
    verdicts += [
        {**where, "doc_id": one, "policy": policy, "verdict": "dropped", "reason": why} for one, why in dropped.items()
    ]
    lake.write("decisions", frame("decisions", verdicts), replace={"snapshot": snapshot}, note={"policy": policy})
    lake.parts("decisions", snapshot=snapshot)
    clusters = [{**where, "doc_id": one, "cluster_id": one, "survivor": True} for one in kept]
    lake.write("duplicate_clusters", frame("duplicate_clusters", clusters), replace={"snapshot": snapshot})
    lake.parts("duplicate_clusters", snapshot=snapshot)
    corpus = [
        {**where, "doc_id": one, "url": f"https://h.org/{one}", "host": "h.org", "text": one, "content_hash": one}
        for one in kept
    ]
    lake.write("corpus", frame("corpus", corpus), replace={"snapshot": snapshot})


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "home")


def ids(lake: Lake, known: Versions, digest: str) -> set[str]:
    rows = rows_of(lake, known.rows(known.find(digest)), "corpus").select("doc_id").collect()
    return set(rows["doc_id"])


def test_every_version_is_listed_and_its_rows_can_be_had(lake):
    decide(lake, "s1", ["a", "b"], {"c": "too_short"})
    first = Versions(lake).current
    decide(lake, "s2", ["d"], {})
    decide(lake, "s1", ["a", "c"], {"b": "language"}, "strict@1")
    known = Versions(lake)
    assert [one.current for one in known.known] == [False, False, True]
    assert first.digest == known.known[0].digest and not known.known[0].why_gone()
    assert ids(lake, known, first.digest) == {"a", "b"}
    assert ids(lake, known, known.current.digest) == {"a", "c", "d"}
    assert [one.policies for one in known.known] == [("fineweb@1",), ("fineweb@1",), ("fineweb@1", "strict@1")]
    assert known.current.snapshots == {name: lake.version_of("corpus", snapshot=name) for name in ("s1", "s2")}
    assert known.current.digest == digest_of(known.current.snapshots)


def test_a_version_made_again_has_its_name_again(lake):
    decide(lake, "s1", ["a", "b"], {"c": "too_short"})
    first = Versions(lake).current
    decide(lake, "s1", ["a"], {"c": "too_short", "b": "language"})
    assert Versions(lake).current.digest != first.digest
    decide(lake, "s1", ["a", "b"], {"c": "too_short"})
    known = Versions(lake)
    assert known.current.digest == first.digest and len(known.known) == 2 and len(known.current.numbers) == 2


def turn_clock(lake: Lake) -> None:
    """Every commit of the lake as if its clock had run backwards, an hour a commit."""
    for number, path in enumerate(sorted(Path(lake.root, "lake").glob("*/_delta_log/*.json"))):
        at = str(10**12 - HOUR_MS * number)
        path.write_text(re.sub(r'("commitInfo":\{.*?"timestamp":)\d+', rf"\g<1>{at}", path.read_text()))


@pytest.mark.parametrize("skewed", [False, True])
def test_a_version_knows_the_tables_it_was_decided_from_whatever_the_clock_says(lake, skewed):
    decide(lake, "s1", ["a", "b"], {"c": "too_short"})
    decide(lake, "s1", ["a", "c"], {"b": "language"}, "strict@1")
    if skewed:
        turn_clock(lake)
    known = Versions(lake)
    assert (known.known[0].at_ms > known.known[1].at_ms) == skewed
    for version, dropped in zip(known.known, ({"c": "too_short"}, {"b": "language"}), strict=True):
        tables = known.decided_from(version)
        rows = (
            rows_of(lake, tables["decisions"], "decisions")
            .filter(verdict="dropped")
            .select("doc_id", "reason")
            .collect()
        )
        assert dict(rows.iter_rows()) == dropped
        assert len(tables["documents"]) == len(tables["duplicate_clusters"]) == 1


def test_a_snapshot_without_rows_is_part_of_the_version(lake):
    decide(lake, "s1", ["a"], {})
    lake.commit("corpus", [], replace={"snapshot": "s2"})
    assert set(Versions(lake).current.snapshots) == {"s1", "s2"}


@pytest.mark.parametrize("name", ["zzzz", "ab", ""])
def test_an_unknown_name_is_answered_with_what_there_is(lake, name):
    decide(lake, "s1", ["a"], {})
    known = Versions(lake)
    with pytest.raises(UnknownVersion, match=known.current.digest[:12]):
        known.find(name)


def test_a_home_without_a_corpus_says_who_makes_it(lake):
    with pytest.raises(UnknownVersion, match="the asset corpus makes it"):
        assert Versions(lake).current


def test_versions_on_s3_are_those_of_a_folder(lake, s3, tmp_path):
    there = Lake("s3://stemma-test/versions", s3, local=tmp_path / "local")
    for one in (lake, there):
        decide(one, "s1", ["a", "b"], {"c": "too_short"})
        decide(one, "s1", ["a"], {"b": "language", "c": "too_short"})
    known, other = Versions(lake), Versions(there)
    assert [one.digest for one in known.known] == [one.digest for one in other.known]
    assert ids(there, other, known.known[0].digest) == {"a", "b"}


def test_a_log_that_lost_its_beginning_still_gives_what_it_has(lake):
    for kept in (["a"], ["a", "b"], ["b"]):
        decide(lake, "s1", kept, {})
    from deltalake import DeltaTable

    DeltaTable(lake.staging("corpus"), version=2).create_checkpoint()
    for number in (0, 1):
        Path(lake.staging("corpus"), "_delta_log", f"{number:020d}.json").unlink()
    versions = [set(rows_of(lake, [h], "corpus").collect()["doc_id"]) for h in history(lake, "corpus").held.values()]
    assert versions == [{"a", "b"}, {"b"}]
