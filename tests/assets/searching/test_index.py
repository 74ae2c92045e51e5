"""The full-text index: it finds what a reader finds, costs what is new, appears whole, and lets a page go."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from assets.lake import Lake
from assets.searching import index
from assets.searching.finding import Indexes, find
from assets.searching.index import CorruptSearchIndex, ShardIndex, held, make, put_right, wanted
from assets.searching.query import parse
from assets.searching.texts import texts_of
from assets.searching.words import fold, words
from tests.assets.searching.lakes import Page, commit


def named(index: ShardIndex) -> pl.Series:
    return index.doc_ids


def ids(lake: Lake, typed: str) -> list[str]:
    return find(parse(typed), Indexes().look(lake).indexes, named)["doc_id"].to_list()


def made(home: Path) -> Lake:
    """Two snapshots, three shards."""
    lake = Lake(home)
    pages = [
        Page("a", "The quick brown fox"),
        Page("b", "A brown quick dog, and a brown cat", "https://other.example.net/Caf%C3%A9/menu"),
        Page("c", "", "https://example.org/empty", "shard1"),
    ]
    commit(lake, "s1", pages)
    commit(lake, "s2", [Page("d", "quick brown foxes and dogs")])
    for snapshot in ("s1", "s2"):
        make(lake, snapshot)
    return lake


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Lake:
    """To ask."""
    return made(tmp_path_factory.mktemp("asked"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """To change."""
    return made(tmp_path / "home")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("quick brown", {"a", "b", "d"}),
        ('"quick brown"', {"a", "d"}),
        ("quick -fox", {"b", "d"}),
        ("fox OR foxes", {"a", "d"}),
        ("brown fox OR dog", {"a", "b"}),
        ("host:example.org", {"a", "c", "d"}),
        ("host:www.example.org", {"a", "d"}),
        ("host:ample.org", set()),
        ("url:café/menu", {"b"}),
        ('url:"https://example.org"', {"c"}),
        ("brown host:other.example.net", {"b"}),
        ("-quick", {"c"}),
        ("nowhere", set()),
    ],
)
def test_a_query_finds_the_pages_that_it_means(asked, typed, found):
    assert set(ids(asked, typed)) == found


def test_real_pages_are_found_by_the_words_that_they_have_and_no_others(tmp_path, shared_data):
    with gzip.open(shared_data / "pages" / "webpages-multilingual.gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pages = [Page(row["record_id"], row["text"], shard=f"shard{i % 3}") for i, row in enumerate(rows)]
    lake = Lake(tmp_path)
    commit(lake, "s", pages)
    make(lake, "s")
    cut = {page.doc_id: words(page.text) for page in pages}
    typed_in = ["vaccination", "здоровья", "грипп", "疫苗", "病毒", "χώρα", "grypa", "en la", "的", "τον"]
    assert all(any(piece in fold(page.text) for page in pages) for piece in typed_in[:6])
    for typed in typed_in:
        wanted_words = words(typed)
        n = len(wanted_words)
        have = {key for key, own in cut.items() if any(own[i : i + n] == wanted_words for i in range(len(own)))}
        assert set(ids(lake, f'"{typed}"')) == have


def test_japanese_and_arabic_are_found_by_any_piece_of_their_text(tmp_path, shared_data):
    with gzip.open(shared_data / "text" / "wagahai-ja.txt.gz", "rt", encoding="utf-8") as file:
        japanese = [file.read(4000) for _ in range(5)]
    with gzip.open(shared_data / "langid" / "udhr.tsv.gz", "rt", encoding="utf-8") as file:
        texts = [line.rstrip("\n").split("\t") for line in file]
    arabic = [text for language, text in texts if language in ("arb", "pes", "urd")]
    lake = Lake(tmp_path)
    commit(lake, "s", [Page(f"{i:04d}", text) for i, text in enumerate([*japanese, *arabic])])
    make(lake, "s")
    piece = japanese[2][100:104]
    assert "0002" in ids(lake, f'"{piece}"')
    for i, text in enumerate(arabic[:40]):
        assert f"{len(japanese) + i:04d}" in ids(lake, " ".join(words(text)[:5]))


def test_relevance_is_measured_over_all_shards(tmp_path):
    """A word that is common in one shard and rare in the whole counts as rare, wherever the page lies."""
    texts = [f"common word{i}" for i in range(40)] + ["rare word"] * 3
    one, many = Lake(tmp_path / "one"), Lake(tmp_path / "many")
    commit(one, "s", [Page(f"{i:02d}", text) for i, text in enumerate(texts)])
    commit(many, "s", [Page(f"{i:02d}", text, shard=f"shard{i // 20}") for i, text in enumerate(texts)])
    answers = []
    for lake in (one, many):
        make(lake, "s")
        found = find(parse("common OR rare OR word"), Indexes().look(lake).indexes, named)
        answers.append(found.sort("relevance", "doc_id", descending=[True, False]))
    assert answers[0]["relevance"].to_list() == pytest.approx(answers[1]["relevance"].to_list(), rel=0.02)
    assert answers[0]["doc_id"].to_list() == answers[1]["doc_id"].to_list()


def test_the_name_follows_from_the_documents_alone_and_so_do_the_answers(lake, tmp_path):
    other = Lake(tmp_path / "elsewhere")
    commit(other, "s2", [Page("d", "quick brown foxes and dogs")])
    assert make(other, "s2").data_version == make(lake, "s2").data_version != make(lake, "s1").data_version
    first, second = (ShardIndex(next(iter(wanted(one, "s2")))) for one in (lake, other))
    assert first.place.name == second.place.name and first.doc_ids.to_list() == second.doc_ids.to_list()


def test_only_shards_whose_pages_changed_are_made_again(lake):
    folders = [place.folder for place in wanted(lake, "s1")]
    before = {folder: {path: path.stat().st_mtime_ns for path in folder.iterdir()} for folder in folders}
    pages = [
        Page("a", "The quick brown fox"),
        Page("b", "A brown quick dog, and a brown cat", "https://other.example.net/Caf%C3%A9/menu"),
        Page("c", "a text now", "https://example.org/empty", "shard1"),
    ]
    commit(lake, "s1", pages)
    make(lake, "s1")
    same, other = sorted(folders, key=lambda folder: folder.parent.name)
    assert {path: path.stat().st_mtime_ns for path in same.iterdir()} == before[same]
    assert not other.exists() and ids(lake, "now") == ["c"]


def test_pages_of_other_documents_are_not_found_before_their_index_is_made(lake):
    commit(lake, "s2", [Page("d", "quick brown foxes and dogs"), Page("e", "quick")])
    opened = Indexes().look(lake)
    assert opened.snapshots_absent == ["s2"]
    assert set(find(parse("quick"), opened.indexes, named)["doc_id"]) == {"a", "b"}


def test_an_index_that_was_killed_while_it_was_written_is_not_seen_and_goes(lake, monkeypatch):
    commit(lake, "s2", [Page("e", "secretword")])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index, "file_sha256", killed)
        with pytest.raises(KeyboardInterrupt):
            make(lake, "s2")
    assert Indexes().look(lake).snapshots_absent == ["s2"]
    (lake.local / index.FOLDER / "s2" / "shard0" / ".search-elsewhere-abc.tmp").mkdir()
    put_right(lake)
    assert ids(lake, "secretword") == ["e"]
    assert not list((lake.local / index.FOLDER).glob("*/*/.*"))


def test_nothing_of_a_page_that_is_gone_can_be_found_in_any_file(lake):
    assert [one[:3] for one in held(lake.local, {"b", "d"})] == [
        ("s1", make(lake, "s1").data_version, 1),
        ("s2", make(lake, "s2").data_version, 1),
    ]
    before = Indexes()
    assert before.look(lake).indexes
    lake.delete("documents", pl.col("doc_id") == "b")
    put_right(lake)
    assert list(held(lake.local, {"b"})) == []
    left = [ShardIndex(place) for place in wanted(lake)]
    for word in set(words("A brown quick dog, and a brown cat")) - set(words("The quick brown foxes and dogs fox")):
        assert all(one.searcher.doc_freq("text", word) == 0 for one in left)
        assert word not in {term for one in left for term, _ in one.searcher.terms_with_prefix("text", word)}
    assert all(one.searcher.doc_freq("host", "other.example.net") == 0 for one in left)
    there = {path.parent for path in (lake.local / index.FOLDER).rglob(index.MANIFEST)}
    assert there == {place.folder for place in wanted(lake)}
    assert {one.place for one in before.look(lake).indexes} == {one.place for one in left}


def test_texts_of_some_documents_are_those_of_the_table(tmp_path):
    lake = Lake(tmp_path)
    commit(lake, "s", [Page(f"{i:04d}", f"text {i}", shard=f"shard{i % 2}") for i in range(3000)])
    wanted = [("s", f"shard{i % 2}", f"{i:04d}") for i in (0, 1, 1023, 1024, 2999)]
    gone = [("s", "shard0", "0001"), ("s", "none", "0000"), ("t", "shard0", "0000")]
    assert texts_of(lake, [*wanted, *gone]) == {("s", doc_id): f"text {int(doc_id)}" for _, _, doc_id in wanted}
    assert texts_of(lake, []) == {}


def test_an_index_of_a_snapshot_that_is_gone_goes(lake):
    lake.commit("documents", [], replace={"snapshot": "s1"})
    put_right(lake)
    assert set(ids(lake, "quick")) == {"d"} and list((lake.local / index.FOLDER / "s1").iterdir()) == []


def test_a_damaged_file_is_named_and_nothing_is_answered_from_it(lake):
    place = next(iter(wanted(lake, "s2")))
    path = next(place.folder.glob("*.idx"))
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptSearchIndex, match="materialize search_index of s2"):
        Indexes().look(lake)


def test_no_text_is_stored(lake):
    for place in wanted(lake):
        for path in place.folder.iterdir():
            assert b"quick brown" not in path.read_bytes()


def test_hosts_with_many_labels_are_cut():
    assert index.domains("www.Example.org.") == ["www.example.org", "example.org", "org"]
    assert len(index.domains("a." * 5000)) == 32
