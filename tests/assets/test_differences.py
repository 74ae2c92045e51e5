"""Two corpora compared: nothing is left out of the account, and every page that only one has says why."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets import differences
from assets.difference_report import report, write
from assets.differences import Count, Difference, compare
from assets.lake import Lake
from assets.policy import effect, load, what_if
from assets.safe_text import markdown, plot, shown
from assets.sides import NO_SNAPSHOT, NOT_CRAWLED, UNKNOWN, NotACorpus, of_folder, of_policy, of_version
from assets.versions import VersionGone, Versions
from tests.assets.test_versions import decide, frame
from tests.benchmarks.policies import annotated_rows

HOSTILE = "https://evil.org/\u202egpj.exe\x1b[31m`|<img src=x onerror=alert(1)>[b]$\\frac{"


def versions(home: Path, states: list[dict[str, tuple[list[str], dict[str, str]]]]) -> Versions:
    """A lake that had these states one after the other: snapshot → (kept ids, dropped ids with their rule)."""
    lake = Lake(home)
    for state in states:
        for snapshot, (kept, dropped) in state.items():
            decide(lake, snapshot, kept, dropped)
    return Versions(lake)


def of_digests(known: Versions, a: str, b: str, **further) -> Difference:
    return compare(of_version(known, known.find(a)), of_version(known, known.find(b)), **further)


ids = st.lists(st.sampled_from([f"{n:02x}{n:04d}" for n in range(0, 256, 9)]), unique=True, max_size=12)


@st.composite
def state(draw) -> tuple[list[str], dict[str, str]]:
    kept = draw(ids)
    dropped = [one for one in draw(ids) if one not in kept]
    return kept, {one: draw(st.sampled_from(["too_short", "language"])) for one in dropped}


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=state(), two=state(), rows=st.sampled_from([3, 250_000]))
def test_both_sides_add_up_mirror_each_other_and_every_page_has_a_reason(tmp_path_factory, one, two, rows):
    known = versions(tmp_path_factory.mktemp("lake") / "home", [{"s1": one}, {"s1": two}])
    a, b = known.of_snapshot("s1", 1), known.of_snapshot("s1")
    assert b is not None
    a = a or b
    kept = [set(one[0]) if a is not b else set(two[0]), set(two[0])]
    dropped = [one[1] if a is not b else two[1], two[1]]
    before, differences.RANGE_ROWS = differences.RANGE_ROWS, rows  # many ranges, or one
    try:
        there, back = (compare(of_version(known, x), of_version(known, y)) for x, y in ((a, b), (b, a)))
    finally:
        differences.RANGE_ROWS = before
    assert there.common == len(kept[0] & kept[1]) and there.is_empty == (kept[0] == kept[1])
    for only, mine, other, why in ((there.only_a, 0, 1, dropped[1]), (there.only_b, 1, 0, dropped[0])):
        alone = kept[mine] - kept[other]
        assert only.count.documents == len(alone) == sum(count.documents for count in only.reasons.values())
        expected = [why.get(one, NOT_CRAWLED) for one in alone]
        assert {reason: count.documents for reason, count in only.reasons.items()} == {
            reason: expected.count(reason) for reason in expected
        }
    assert (there.only_a, there.only_b) == (back.only_b, back.only_a)
    assert (there.a.count, there.b.count) == (back.b.count, back.a.count)
    assert [(host, two, one) for host, one, two in there.hosts] == back.hosts
    assert compare(of_version(known, a), of_version(known, a)).is_empty


def test_what_left_is_a_duplicate_now_or_of_a_snapshot_that_is_not_there(tmp_path):
    lake = Lake(tmp_path / "home")
    decide(lake, "s1", ["a", "b"], {})
    first = Versions(lake).current.digest
    clusters = [
        {"snapshot": "s1", "shard": "0", "doc_id": "a", "cluster_id": "a", "survivor": True},
        {
            "snapshot": "s1",
            "shard": "0",
            "doc_id": "b",
            "cluster_id": "a",
            "survivor": False,
            "reason": "near_duplicate",
            "similarity": 0.8,
        },
    ]
    lake.write("duplicate_clusters", frame("duplicate_clusters", clusters), replace={"snapshot": "s1"})
    lake.parts("duplicate_clusters", snapshot="s1")
    corpus = [
        {"snapshot": "s1", "shard": "0", "doc_id": "a", "text": "other", "content_hash": "other", "text_bytes": 5}
    ]
    lake.write("corpus", frame("corpus", corpus), replace={"snapshot": "s1"})
    decide(lake, "s2", ["c"], {})
    known = Versions(lake)
    (tmp_path / "out").mkdir()
    found = of_digests(known, first, known.current.digest, out=tmp_path / "out")
    assert found.only_b.reasons == {NO_SNAPSHOT: Count(1, 0)}
    (left,) = found.only_a.samples
    assert (left["reason"], left["duplicate_of"], left["score"]) == ("near_duplicate", "a", 0.8)
    assert found.changed.documents == 1
    rows = {
        name: pl.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("only_in_a", "only_in_b", "changed")
    }
    assert {name: frame["doc_id"].to_list() for name, frame in rows.items()} == {
        "only_in_a": ["b"],
        "only_in_b": ["c"],
        "changed": ["a"],
    }
    assert found.b.funnel == {"pages": 3, "near_duplicate": 1, "kept": 2}


def test_a_page_that_was_taken_down_is_said_to_be(tmp_path):
    known = versions(tmp_path / "home", [{"s1": (["a", "b"], {})}, {"s1": (["a"], {})}])
    found = of_digests(known, known.known[0].digest, known.current.digest, removed={"b": 7})
    assert [(row["reason"], row["takedown"]) for row in found.only_a.samples] == [("takedown", 7)]


def test_tables_of_that_time_that_are_gone_leave_the_reason_unknown(tmp_path):
    lake = Lake(tmp_path / "home")
    decide(lake, "s1", ["a"], {"b": "language"})
    decide(lake, "s1", ["a", "b"], {})
    for name in ("documents", "decisions", "duplicate_clusters"):
        lake.vacuum(name)
    known = Versions(lake)
    found = of_digests(known, known.known[0].digest, known.current.digest)
    # what is left are the present tables, which keep the page: they cannot say why it was not
    assert found.only_b.reasons == {UNKNOWN: Count(1, 0)}


def test_a_version_whose_bytes_are_gone_is_refused_with_the_reason(tmp_path):
    known = versions(tmp_path / "home", [{"s1": (["a", "b"], {})}, {"s1": (["a"], {})}])
    known.lake.vacuum("corpus")
    known = Versions(known.lake)
    with pytest.raises(VersionGone, match="1 of its 1 files are gone"):
        of_digests(known, known.known[0].digest, known.current.digest)


def test_two_policies_differ_as_what_if_says(block_list_cache):
    rows = annotated_rows(300, block_list_cache)
    before = load("fineweb")
    after = what_if(before, ["language_score.min=0.9"], ["curly_bracket"])
    found = compare(of_policy(rows.lazy(), before), of_policy(rows.lazy(), after))
    said = effect(rows.lazy(), before, after)
    lost = sum(change.documents for change in said.changes if change.before == "kept")
    won = sum(change.documents for change in said.changes if change.after == "kept")
    assert (found.only_a.count.documents, found.only_b.count.documents) == (lost, won) and lost > 0
    for whole, place in ((found.a, 0), (found.b, 1)):
        counts = {name: pair[place].documents for name, pair in said.reasons.items() if pair[place].documents}
        assert whole.funnel == {"pages": rows.height, **counts, "kept": counts.get("kept", 0)}
    by_rule = {change.after: 0 for change in said.changes if change.before == "kept"}
    for change in said.changes:
        if change.before == "kept":
            by_rule[change.after] += change.documents
    assert {name: count.documents for name, count in found.only_a.reasons.items()} == by_rule


def test_a_folder_of_stemma_corpus_is_compared_by_its_own_verdicts(tmp_path):
    out = tmp_path / "out"
    for name in ("corpus", "documents"):
        (out / name).mkdir(parents=True)
    (out / "funnel.json").write_text("{}")
    page = {"url": "u", "host": "h", "language": "eng_Latn", "content_hash": "a", "policy": "fineweb@1"}
    dropped = {**page, "score": 0.2, "threshold": 0.65, "cluster_id": None}
    rows = [
        {**dropped, "doc_id": "a", "reason": None},
        {**dropped, "doc_id": "b", "reason": "language_score"},
        {**dropped, "doc_id": "c", "reason": "exact_duplicate", "cluster_id": "a"},
    ]
    pl.DataFrame(rows).write_parquet(out / "documents" / "part-00000.parquet")
    pl.DataFrame([{**page, "doc_id": "a", "text_bytes": 3}]).write_parquet(out / "corpus" / "part-00000.parquet")
    known = versions(tmp_path / "home", [{"s1": (["b", "c", "d"], {"a": "too_short"})}])
    found = compare(of_version(known, known.current), of_folder(out))
    assert {name: count.documents for name, count in found.only_a.reasons.items()} == {
        "exact_duplicate": 1,
        "language_score": 1,
        NOT_CRAWLED: 1,
    }
    assert found.b.funnel == {"pages": 3, "language_score": 1, "exact_duplicate": 1, "kept": 1}
    assert {name: count.documents for name, count in found.only_b.reasons.items()} == {"too_short": 1}
    with pytest.raises(NotACorpus, match="`stemma corpus` wrote"):
        of_folder(tmp_path)


def test_hostile_text_is_shown_and_never_obeyed(tmp_path):
    for text in (shown(HOSTILE), markdown(HOSTILE), plot(HOSTILE)):
        assert text.isprintable() and "\u202e" not in text and "\x1b" not in text
    assert "\\u202e" in shown(HOSTILE) and "\\x1b" in shown(HOSTILE)
    assert markdown("a`b|c") == "`a\\x60b\\|c`" and len(shown("x" * 10_000)) == 201
    lake = Lake(tmp_path / "home")
    decide(lake, "s1", ["a"], {})
    rows = [{"snapshot": "s1", "shard": "0", "doc_id": "b", "url": HOSTILE, "host": HOSTILE, "language": HOSTILE}]
    lake.write("corpus", frame("corpus", rows), replace={"snapshot": "s1"})
    known = Versions(lake)
    found = of_digests(known, known.known[0].digest, known.current.digest)
    write(found, tmp_path)
    written = (tmp_path / "README.md").read_text()
    assert written == report(found) and "\\u202egpj.exe" in written
    assert all(line.isprintable() for line in written.splitlines())
    assert "<img" not in "".join(written.split("`")[::2]), "outside of code there is nothing of theirs"
    assert json.loads((tmp_path / "difference.json").read_text())["only_b"]["samples"][0]["url"] == HOSTILE
    assert (tmp_path / "difference.png").read_bytes()[:4] == b"\x89PNG"
