"""Applied takedowns: nothing on disk holds the page, the rest is as if it never came, interruptions are no matter."""

import shutil

import polars as pl
import pytest

from assets import dedup_index
from assets.differences import compare
from assets.lake import Lake
from assets.reach import MEMBERS, WORDS, reach
from assets.release import takedown_objections
from assets.restoring import appearing, restore
from assets.schemas import TABLES
from assets.searching import index as search
from assets.searching.words import words
from assets.sides import of_restored, of_version
from assets.steps import stages
from assets.steps.ledger import FOUND, REPORT, Ledger, removals
from assets.steps.scopes import scope
from assets.takedowns import apply, seen_by
from assets.versions import VersionGone, Versions
from orchestration.using import remember_export
from tests.assets.byte_search import holding
from tests.assets.dedup_index.lakes import Page, commit
from tests.assets.takedown_crawl import SNAPSHOT
from tests.assets.takedown_home import RULES, ask, decoder, make_tables, shards, table_versions, write_home


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, bundled_crawl, here_engine, block_list_cache):
    """(crawl root, pages of its files, home with tables, tokenizer, shards and a chain of models)."""
    root, home = tmp_path_factory.mktemp("crawl"), tmp_path_factory.mktemp("whole") / "home"
    scratch = tmp_path_factory.mktemp("programs")
    files = write_home(home, root, scratch, bundled_crawl, block_list_cache, here_engine())
    search.make(Lake(home), SNAPSHOT)
    return root, files, home


@pytest.fixture
def home(whole, tmp_path):
    """A copy of the whole home, to take pages from."""
    return shutil.copytree(whole[2], tmp_path / "home", symlinks=True)


def test_no_file_of_the_home_holds_the_text_afterwards(whole, home, here_engine):
    _, files, before = whole
    text = files[0][0].text
    for folder in ("lake/documents", "lake/corpus", "artifacts/token_shards", "work/token_shards"):
        assert holding(before / folder, [text], decoder(before)), f"the search must find it in {folder} first"
    ask(home, "text", text)
    (report,) = apply(Lake(home), here_engine(), RULES)
    assert holding(home, [text], decoder(home)) == set()
    assert {page["doc_id"] for page in report["found"]} == {files[0][0].doc_id, files[1][0].doc_id, files[1][1].doc_id}
    assert report["deleted"]["documents"] == 3 and report["near"] == []


@pytest.mark.parametrize("which", [(0, 0), (0, 3), (1, 0), (1, 2)], ids=["survivor", "alone", "near", "copy"])
def test_tables_are_those_of_a_home_that_refused_the_page_from_the_start(whole, home, here_engine, tmp_path, which):
    root, files, _ = whole
    page = files[which[0]][which[1]]
    lake, fresh = Lake(home), Lake(tmp_path / "fresh")
    ask(home, "url", page.url)
    apply(lake, here_engine(), RULES)
    ask(tmp_path / "fresh", "url", page.url)
    (tmp_path / "fresh" / "cache").symlink_to(home / "cache")
    make_tables(fresh, here_engine(), root)
    assert table_versions(lake) == table_versions(fresh)
    for name in TABLES:
        if lake.exists(name):
            lake.verify(name)


def test_next_survivor_of_the_cluster_is_promoted_and_offered(whole, home, here_engine):
    _, files, _ = whole
    first, near, copy = files[0][0], files[1][0], files[1][1]
    lake = Lake(home)
    assert first.doc_id in set(lake.scan("corpus").collect()["doc_id"])
    ask(home, "document", first.doc_id)
    engine = here_engine()
    (report,) = apply(lake, engine, RULES)
    assert engine.done == ["corpus"]  # the shard of the promoted page, not the other
    rows = lake.scan("corpus").filter(pl.col("doc_id").is_in([first.doc_id, near.doc_id, copy.doc_id])).collect()
    assert rows.select("doc_id", "cluster_size").rows() == [(near.doc_id, 2)]
    assert {page["doc_id"] for page in report["near"]} == {near.doc_id, copy.doc_id}


def test_the_index_of_all_snapshots_holds_no_page_afterwards_and_promotes_across_them(whole, home, here_engine):
    _, files, _ = whole
    first, near = files[0][0], files[1][0]
    lake = Lake(home)
    commit(lake, "s2", [Page("later", first.text, 300)])  # a snapshot whose only page is a copy of the first
    stages.corpus_clusters(lake)
    rows = pl.col("doc_id").is_in([first.doc_id, "later"])
    columns = ("doc_id", "cluster_id", "cluster_size")
    expected = [("later", first.doc_id, 4), (first.doc_id, first.doc_id, 4)]
    assert sorted(lake.scan("corpus_clusters").filter(rows).select(columns).collect().rows()) == sorted(expected)
    found = reach(lake, scope("document", first.doc_id))
    assert [one.partition for one in found.holdings if one.what == MEMBERS] == [SNAPSHOT]
    assert {"later", near.doc_id} <= set(found.near["doc_id"])
    for page in (first, near):
        ask(home, "document", page.doc_id)
    apply(lake, here_engine(), RULES)
    copy = files[1][1].doc_id
    left = lake.scan("corpus_clusters").filter(pl.col("doc_id").is_in([copy, "later"])).select(columns).collect()
    assert sorted(left.rows()) == sorted([(copy, copy, 2), ("later", copy, 2)])
    assert dedup_index.held(home, [first.doc_id, near.doc_id]) == {}
    index = [path.read_bytes() for path in (home / dedup_index.FOLDER).rglob("*") if path.is_file()]
    assert not [one for one in index if first.doc_id.encode() in one or near.doc_id.encode() in one]


def test_no_word_of_the_page_can_be_searched_for_afterwards(whole, home, here_engine):
    """Words in an index are no passages that a search of bytes would find, so each is asked for."""
    _, files, _ = whole
    lake, page = Lake(home), files[0][4]
    before = [search.ShardIndex(place) for place in search.wanted(lake)]
    others = {word for file in files for other in file if other is not page for word in words(other.text)}
    alone = [word for word in words(page.text) if word not in others]
    assert len(alone) > 20 and all(any(one.searcher.doc_freq("text", word) for one in before) for word in alone)
    (held,) = [one for one in reach(lake, scope("url", page.url)).holdings if one.what == WORDS]
    version = search.make(lake, SNAPSHOT).data_version
    assert (held.asset, held.partition, held.version, held.documents) == ("search_index", SNAPSHOT, version, 1)
    ask(home, "url", page.url)
    (report,) = apply(lake, here_engine(), RULES)
    (change,) = [one for one in report["digests"] if one["asset"] == "search_index"]
    assert change["before"] == version != change["after"] == search.make(lake, SNAPSHOT).data_version
    assert Ledger(home).outdated()["search_index", SNAPSHOT, version] == 1
    after = [search.ShardIndex(place) for place in search.wanted(lake)]
    assert not [word for word in alone for one in after if one.searcher.doc_freq("text", word)]
    assert {path.parent for path in (home / search.FOLDER).glob("*/*/*/*")} == {one.place.folder for one in after}
    kept = {place.folder for place in search.wanted(lake)} & {one.place.folder for one in before}
    assert len(kept) == len(before) - 1  # the other shard was not made again


def test_an_apply_that_is_killed_between_two_shards_of_the_index_ends_with_the_same_report(
    whole, home, here_engine, tmp_path, monkeypatch
):
    _, files, source = whole
    text = files[0][0].text  # of pages in both shards
    ask(home, "text", text)
    (expected,) = apply(Lake(home), here_engine(), RULES)
    other = shutil.copytree(source, tmp_path / "other", symlinks=True)
    ask(other, "text", text)
    written: list[search.Place] = []
    write = search._write

    def stop(lake: Lake, place: search.Place, parts: list) -> None:
        if written:
            raise Killed
        written.append(place)
        write(lake, place, parts)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(search, "_write", stop)
        apply(Lake(other), here_engine(), RULES)
    (report,) = apply(Lake(other), here_engine(), RULES)
    assert report["digests"] == expected["digests"] and report["deleted"] == expected["deleted"]
    assert [one["asset"] for one in report["digests"]].count("search_index") == 1


def test_only_the_shards_touched_are_made_again(whole, home, here_engine):
    _, files, _ = whole
    lake, engine = Lake(home), here_engine()
    before = {part.path for part in lake.parts("corpus")}
    ask(home, "url", files[0][3].url)
    apply(lake, engine, RULES)
    assert engine.done == []  # nobody else's cluster changed, so the row alone goes
    assert len(before & {part.path for part in lake.parts("corpus")}) == len(before) - 1


def test_token_shards_are_those_of_the_corpus_without_the_page(whole, home, here_engine, tmp_path):
    _, files, _ = whole
    lake = Lake(home)
    alone = next(page for page in files[0][2:] if page.doc_id in set(lake.scan("corpus").collect()["doc_id"]))
    ask(home, "url", alone.url)
    (report,) = apply(lake, here_engine(), RULES)
    excised = lake.artifacts.version_of("token_shards")
    (change,) = [one for one in report["digests"] if one["asset"] == "token_shards"]
    assert change["after"] == excised != change["before"]
    assert not (lake.artifacts.root / "token_shards" / change["before"]).exists()
    assert shards(lake, tmp_path / "again") == excised


def test_what_a_killed_removal_left_is_removed_by_the_next_apply(whole, home, here_engine):
    _, files, _ = whole
    text, decode = files[0][0].text, decoder(home)
    lake = Lake(home)
    for folder in (lake.open_dir("token_shards"), home / "work" / "token_shards" / "0123456789abcdef"):
        torso = shutil.copytree(folder, folder.with_name(f".removed-{folder.name}"))
        for path in torso.rglob("*.spans.parquet"):
            path.unlink()
    (home / "work" / "tmpabc").mkdir()
    (home / "work" / "tmpabc" / "texts").write_text(text)
    (home / "lake" / "documents" / ".part-1.tmp").write_text(text)
    ask(home, "text", text)
    apply(lake, here_engine(), RULES)
    assert holding(home, [text], decode) == set() and not list(home.rglob(".removed-*"))


def test_models_that_read_the_page_are_marked_and_may_not_become_champion(whole, home, here_engine):
    _, files, _ = whole
    lake = Lake(home)
    versions = {name: lake.artifacts.version_of(name) for name in ("base_model", "sft_model", "rl_model")}
    ask(home, "url", files[1][2].url)  # a copy that no model read
    number = ask(home, "url", files[0][1].url)
    for digest in versions.values():
        assert seen_by(lake, digest) == [number]
    note = home / "mlflow" / "promote"
    note.parent.mkdir()
    note.write_text(versions["rl_model"])
    unread, read = apply(lake, here_engine(), RULES)
    assert unread["marked"] == [] and {one["version"] for one in read["marked"]} > set(versions.values())
    marked = Ledger(home).outdated()
    for asset, digest in versions.items():
        assert seen_by(lake, digest) == [number] and marked[asset, "", digest] == number
        (refused,) = takedown_objections(lake, digest)
        assert f"takedown {number}" in refused
    assert takedown_objections(lake, "0" * 32) == [] and not note.exists()
    assert {one.version for one in reach(lake, scope("url", files[0][1].url)).models} > set(versions.values())


def test_applied_takedowns_are_not_applied_again(home, here_engine):
    lake = Lake(home)
    assert apply(lake, here_engine(), RULES) == []
    ask(home, "host", "earth.org")
    assert len(apply(lake, here_engine(), RULES)) == 1
    after = table_versions(lake)
    assert apply(lake, here_engine(), RULES) == [] and table_versions(lake) == after


def test_a_takedown_of_pages_that_are_not_there_is_applied_and_says_so(home, here_engine):
    before = table_versions(Lake(home))
    ask(home, "host", "nowhere.example.org")
    (report,) = apply(Lake(home), here_engine(), RULES)
    assert (report["found"], report["deleted"], report["marked"]) == ([], {}, [])
    assert table_versions(Lake(home)) == before


@pytest.mark.parametrize("apart", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_between_steps_the_next_apply_ends_with_the_same_digests(whole, home, here_engine, tmp_path, apart):
    _, files, source = whole
    steps: list[str] = []
    ask(home, "url", files[0][0].url)
    ask(home, "host", "www.britannica.com")
    expected = apply(Lake(home), here_engine(), RULES, steps.append)
    versions, decode = table_versions(Lake(home)), decoder(home)
    assert len(steps) > 12
    for at in range(1, len(steps), apart):
        other = shutil.copytree(source, tmp_path / f"killed-{at}", symlinks=True)
        ask(other, "url", files[0][0].url)
        ask(other, "host", "www.britannica.com")
        seen: list[str] = []

        def stop(step: str, at: int = at, seen: list[str] = seen) -> None:
            if len(seen) == at:
                raise Killed
            seen.append(step)

        with pytest.raises(Killed):
            apply(Lake(other), here_engine(), RULES, stop)
        apply(Lake(other), here_engine(), RULES)
        assert table_versions(Lake(other)) == versions
        shown = Lake(other).artifacts.version_of("token_shards")
        assert shown == Lake(home).artifacts.version_of("token_shards")
        for report in expected:
            number = report["asked"]["number"]
            found = Ledger(other).read(number, FOUND)
            assert found is not None and found["pages"] == report["found"]
            assert (Ledger(other).read(number, REPORT) or {})["digests"] == report["digests"]
            assert Ledger(other).status(number) == "applied"
        assert holding(other, [files[0][4].text], decode) == set()
        shutil.rmtree(other)


def test_earlier_versions_say_which_takedown_removed_them_and_their_copies_are_named(
    whole, home, here_engine, tmp_path
):
    _, files, _ = whole
    lake, page = Lake(home), files[0][3]
    before = Versions(lake).current
    with appearing(tmp_path / "copy") as folder:
        restore(Versions(lake), before, folder)
        remember_export(lake.local, tmp_path / "copy", "corpus", before.digest)
    number = ask(home, "url", page.url)
    (report,) = apply(lake, here_engine(), RULES)
    known = Versions(lake)
    gone, now = known.find(before.digest), known.current
    assert (gone.readable, gone.takedowns, gone.pages_removed) == (False, (number,), 1)
    assert gone.instead == now.digest and now.digest in gone.why_gone() and now.rows == before.rows - 1
    with pytest.raises(VersionGone, match=f"takedown {number} removed"):
        known.readable(gone)
    left = compare(of_restored(tmp_path / "copy", known), of_version(known, now), removed=removals(home))
    assert [(row["doc_id"], row["takedown"]) for row in left.only_a.samples] == [(page.doc_id, number)]
    assert {(one["place"], one["documents"]) for one in report["out_of_reach"]} == {(str(tmp_path / "copy"), 1)}
