"""One page's journey: what is shown is what the tables, the WARC file and the shards say, for real pages and hostile
ones."""

import re
import shutil
import time
from pathlib import Path

import polars as pl
import pytest

from assets.lake import Lake
from assets.steps.corpus import without
from assets.steps.signatures import cleaned_text
from kernels.text import pii
from kernels.tokens.shards import SplitReader
from orchestration.home import prepare
from orchestration.pages.document_cleaning import cleaned, lines_taken_out, scrubbed
from orchestration.pages.document_panels import PANELS
from orchestration.pages.document_rows import rows_of, text_of
from orchestration.pages.document_source import origins, outside_tags
from orchestration.pages.document_texts import PANEL_BYTES, weight, window
from orchestration.pages.document_tokens import Tokens
from orchestration.pages.document_tokens import text_of as spelled
from orchestration.pages.hostile import Span, visible
from orchestration.pages.shelf import Shelf
from tests.assets.conftest import HereEngine
from tests.assets.takedown_crawl import SNAPSHOT
from tests.assets.takedown_home import make_tables, write_home
from tests.bounded import in_bounded_work
from tests.browser import hostile_crawl
from tests.browser.conftest import OURS
from tests.orchestration.pages.shown import Page, foreign
from tests.small_demo import Demo

LARGEST = 200_000
HX = {"hx-request": "true"}


@pytest.fixture(scope="module")
def rows(smoke: Demo) -> pl.DataFrame:
    return Shelf(smoke.home).rows()


@pytest.fixture(scope="module")
def in_corpus(smoke: Demo, rows) -> pl.DataFrame:
    """Rows of the shelf of pages that are in the corpus, with the corpus text."""
    texts = Lake(smoke.home).scan("corpus").select("doc_id", "snapshot", pl.col("text").alias("corpus")).collect()
    return rows.join(texts, on=["doc_id", "snapshot"])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, bundled_crawl, block_list_cache) -> tuple[Path, Path, list[str]]:
    """(home, crawl root, doc_ids) of pages that attack whoever shows them."""
    place = tmp_path_factory.mktemp("hostile")
    home, crawl = place / "home", place / "crawl"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    ids = hostile_crawl.write(crawl, bundled_crawl, [*OURS, "\u202egnp.exe\u2066", "\x00\x1b[31m", "<b>" * 5000])
    prepare(home)
    make_tables(Lake(home), HereEngine(), crawl, hostile_crawl.SNAPSHOT)
    return home, crawl, ids


@pytest.fixture(scope="module")
def clusters(tmp_path_factory, bundled_crawl, block_list_cache):
    """(home, crawl root, pages of its files): near and exact duplicates, shards and a chain of models."""
    root, home = tmp_path_factory.mktemp("crawl"), tmp_path_factory.mktemp("clusters") / "home"
    files = write_home(home, root, tmp_path_factory.mktemp("programs"), bundled_crawl, block_list_cache, HereEngine())
    prepare(home)
    return home, root, files


def address(row: dict, **parameters: object) -> str:
    said = "".join(f"&{name}={value}" for name, value in parameters.items())
    return f"/doc/{row['doc_id']}?snapshot={row['snapshot']}{said}"


# ---- hostile pages ----


@pytest.mark.parametrize("panel", [None, *PANELS])
def test_nothing_of_a_hostile_page_gets_out(pages_of, hostile, panel):
    home, crawl, ids = hostile
    client, shelf = pages_of(home, STEMMA_CRAWL=str(crawl)), Shelf(home)
    assert set(shelf.rows()["doc_id"]) < set(ids) and shelf.rows().height >= 5, "all but those that no reader takes"
    for row in shelf.rows().iter_rows(named=True):
        with in_bounded_work():
            answer = client.get(address(row, panel=panel) if panel else address(row))
        assert answer.status_code == 200
        assert len(answer.content) < LARGEST
        assert foreign(answer.text, "document") == []


def test_a_text_of_escaped_characters_or_of_marks_stays_within_its_weight():
    for text in ("\U000e0041" * 30_000, "<" * 30_000, "\u202e" * 30_000, "'" * 30_000):
        assert weight(window(text).text) <= PANEL_BYTES
    marks = [Span(i, i + 1, "a note that is long enough to weigh something", "pii") for i in range(0, 20_000, 2)]
    part = window("x" * 20_000, marks).text
    assert weight(part) <= PANEL_BYTES and part.is_cut


def test_the_parts_of_a_text_can_be_walked_from_end_to_end():
    text, at, seen = "\u202eab<" * 20_000, 0, 0
    while at is not None:
        part = window(text, start=at)
        seen, at = seen + part.text.shown, part.behind
    assert seen == len(text)


def test_hostile_sources_are_marked_in_bounded_time():
    for source in ("<script>" * 100_000, "<!--" * 200_000, "<" * 1_000_000, "<a>w " * 200_000, "&amp;" * 200_000):
        with in_bounded_work():
            origins(source, "word " * 500_000)


# ---- provenance and source ----


def test_the_address_is_shown_and_is_no_link(pages, rows):
    row = rows.row(0, named=True)
    page = Page(pages.get(address(row)).text)
    assert row["url"] in [one.text for one in page.all("code")]
    for link in page.all("a"):
        assert link.attributes["href"].startswith(("/", "#", "http://127.0.0.1:"))


def test_every_record_is_read_again_and_is_the_page(pages, rows):
    for row in rows.gather_every(9).iter_rows(named=True):
        said = pages.get(address(row, panel="source"), headers=HX).text
        assert "The record still has the document&#39;s id" in said or "The record still has the document's id" in said


def test_a_record_that_changed_or_went_is_told(pages_of, clusters, tmp_path):
    home, root, files = clusters
    row = Shelf(home).page(files[0][0].doc_id, SNAPSHOT)
    assert row is not None
    other = shutil.copytree(root, tmp_path / "other")
    file = other / row["warc_path"]
    data = bytearray(file.read_bytes())
    place = data.find(files[0][0].text.encode()[:40])
    data[place : place + 1] = b"#"
    file.write_bytes(data)
    said = pages_of(home, STEMMA_CRAWL=str(other)).get(address(row, panel="source"), headers=HX).text
    assert "payload_digest was sha1:" in said and 'role="alert"' in said
    file.unlink()
    gone = pages_of(home, STEMMA_CRAWL=str(other)).get(address(row, panel="source"), headers=HX)
    assert gone.status_code == 200 and "cannot be read again" in gone.text and "STEMMA_CRAWL" in gone.text
    assert visible(files[0][0].text[:60]) in Page(gone.text).texts()[-1].text, "the text is shown all the same"


def test_what_is_marked_in_the_source_are_words_of_the_text_between_tags():
    source = "<html><script>one two three four</script><p>one two <b>three four</b> five</p><!-- one two three four -->"
    marked = [source[span.start : span.end] for span in origins(source, "One two three four five six")]
    assert marked == ["one two", "three four", "five"]
    entity = "caf&eacute; au lait &amp; more of it"
    assert [entity[s.start : s.end] for s in origins(entity, "café au lait & more")] == [
        "caf&eacute; au lait &amp; more"
    ]


def test_the_parts_between_tags_hold_no_tag_and_lose_no_letter():
    source = "a<p>b</p><style>c</style>d<!-- <e> -->f<g"
    assert [source[start:end] for start, end in outside_tags(source)] == ["a", "b", "d", "f"]


def test_most_words_of_real_texts_are_found_in_their_source(pages, rows):
    from orchestration.pages.document_source import reread

    lake, shares = pages.app.state.site.lake(), []
    for row in rows.filter(pl.col("n_words") > 100).gather_every(7).iter_rows(named=True):
        text = text_of(lake, row)
        record = reread(row)
        spans = origins(record.source, text, row["content_type"] == "text/plain")
        covered = sum(len(re.findall(r"\w", record.source[span.start : span.end])) for span in spans)
        shares.append(covered / len(re.findall(r"\w", text[:100_000])))
    assert sorted(shares)[len(shares) // 2] > 0.9


# ---- rules ----


def test_each_rule_says_passed_failed_or_not_reached_in_order(pages, rows):
    dropped = rows.filter(pl.col("reason").is_not_null()).unique("reason", maintain_order=True)
    for row in dropped.iter_rows(named=True):
        table = Page(pages.get(address(row)).text).table("The ")
        states = [cells[3].split(" would")[0] for cells in table]
        at = states.index("failed")
        assert table[at][0] == row["reason"]
        assert states == ["passed"] * at + ["failed"] + ["not reached"] * (len(states) - at - 1)


def test_any_policy_decides_the_page(pages, rows):
    row = rows.row(0, named=True)
    strict = pages.get(address(row, policy="strict")).text
    assert "strict@" in strict and "selected>strict" in strict
    for name in ("nope", "/etc/passwd.yaml", "../fineweb", "fineweb@99", "<script>"):
        answer = pages.get("/doc/" + row["doc_id"], params={"policy": name})
        assert answer.status_code == 404 and "<script>" not in answer.text


def test_the_pieces_that_a_rule_counts_are_marked(pages, rows):
    row = rows.filter(pl.col("reason") == "line_punct_ratio").row(0, named=True)
    page = Page(pages.get(address(row, panel="spans", rule="line_punct_ratio"), headers=HX).text)
    marks = [one for one in page.texts()[0].children if one.has("rule")]
    assert marks and all(one.attributes["title"] == "line without a final punctuation mark" for one in marks)
    assert not any(one.text.rstrip().endswith((".", "!", "?")) for one in marks)


def test_every_value_has_its_meaning(pages, rows):
    row = rows.row(0, named=True)
    table = Page(pages.get(address(row)).text).table("Columns of the table annotations")
    assert all(cells[3] for cells in table)
    assert {"n_words", "language_score", "quality_score", "contaminated_by"} <= {cells[0] for cells in table}


# ---- duplicates ----


def test_a_cluster_names_who_stays_and_why_and_how_the_texts_differ(pages_of, clusters):
    home, root, files = clusters
    client = pages_of(home, STEMMA_CRAWL=str(root))
    near = {"doc_id": files[1][0].doc_id, "snapshot": SNAPSHOT}
    page = Page(client.get(address(near, panel="duplicates"), headers=HX).text)
    table = page.table(f"Among pages of {SNAPSHOT}: 3 are one cluster")
    assert len(table) == 3
    assert files[0][0].url in table[0][0] and table[0][3] == "stays: it was fetched first"
    assert sorted(cells[3] for cells in table[1:]) == ["removed: nearly the same text", "removed: the same text"]
    marks = {one.attributes["class"]: one.text.strip() for one in page.texts()[0].children if "class" in one.attributes}
    assert "as is well known." in marks["added"] and marks["removed"] in files[0][0].text
    copy = {"doc_id": files[1][1].doc_id, "snapshot": SNAPSHOT}
    same = Page(client.get(address(copy, panel="duplicates", against=files[0][0].doc_id), headers=HX).text)
    assert not any(one.has("added") or one.has("removed") for one in same.texts()[0].children)


# ---- cleaning ----


def test_every_corpus_text_is_made_again_and_its_placeholders_are_where_they_are_said_to_be(smoke, in_corpus):
    lake, replaced = Lake(smoke.home), 0
    for row in in_corpus.iter_rows(named=True):
        text = text_of(lake, row)
        found = cleaned(lake, row, text, "c4")
        assert found.corpus == found.made == row["corpus"]
        left = cleaned_text(without(text, []), "c4")
        for span in found.placeholders:
            stand_in = row["corpus"][span.start : span.end]
            assert stand_in not in left or pii.find(left) == []
            replaced += 1
    assert replaced > 10


def test_lines_said_to_be_taken_out_are_what_the_line_rules_take_out(smoke, rows):
    lake, taken = Lake(smoke.home), 0
    for row in rows.filter(pl.col("n_words") > 0).gather_every(3).iter_rows(named=True):
        text = text_of(lake, row)
        spans = sorted(lines_taken_out(text, []), key=lambda span: span.start)
        left, at = [], 0
        for span in spans:
            left.append(text[at : span.start])
            at = span.end
        assert cleaned_text("".join([*left, text[at:]]), "c4") == cleaned_text(text, "c4")
        assert list(lines_taken_out("".join([*left, text[at:]]), [])) == []
        taken += len(spans)
    assert taken > 100


def test_lines_taken_out_behind_a_cut_keep_their_place_in_the_whole_text():
    text = "A first line of some words stays here.\nA line that was cut as it recurs.\nshort\nAnother one that stays.\n"
    start = text.index("A line")
    cut = [{"start": start, "end": text.index("short")}]
    (span,) = lines_taken_out(text, cut)
    assert text[span.start : span.end] == "short"


@pytest.mark.parametrize(
    "text",
    [
        "Write to jane.roe@acme-widgets.com today, and to nobody else.",
        "Write to jane.roe@acme-widgets.com or call +1 415 555 2671 from 8.8.8.8 today.",  # takes two rounds
    ],
)
def test_a_scrubbed_text_is_that_of_the_corpus_and_all_that_changed_is_marked(text):
    made, spans = scrubbed(text, "d1")
    assert made == pii.scrub(text, "d1")
    assert spans and all(made[span.start : span.end] not in text for span in spans)
    marked = {at for span in spans for at in range(span.start, span.end)}
    unmarked = "".join(" " if at in marked else c for at, c in enumerate(made))
    assert set(unmarked.split()) <= set(text.split())


# ---- tokens ----


def test_the_stored_ids_of_every_document_spell_its_corpus_text(smoke, in_corpus):
    shards = Tokens(Lake(smoke.home))
    tokenizer = shards.tokenizer()
    readers = {split: SplitReader(shards.directory, split) for split in ("train", "heldout")}
    splits = set()
    for row in in_corpus.filter(pl.col("corpus") != "").iter_rows(named=True):
        (place,) = shards.places(row["doc_id"])
        reader = readers[place.split]
        index = reader.doc_ids.index(row["doc_id"])
        assert place.position == reader.starts[index]
        ids = shards.ids(place)
        assert ids.tolist() == reader.document(index).tolist()
        assert spelled(tokenizer, ids) == row["corpus"]
        splits.add(place.split)
    assert splits == {"train", "heldout"}


def test_tokens_are_shown_with_their_ids_in_parts_that_follow_each_other(pages, smoke, in_corpus):
    row = in_corpus.sort(pl.col("corpus").str.len_chars(), descending=True).row(0, named=True)
    shards = Tokens(Lake(smoke.home))
    (place,) = shards.places(row["doc_id"])
    seen: list[int] = []
    while len(seen) < min(place.length, 2000):
        page = Page(pages.get(address(row, panel="tokens", tokens_from=len(seen)), headers=HX).text)
        seen += [int(one.children[0].text) for one in page.texts()[0].children]
    assert seen == shards.ids(place, 0, len(seen)).tolist()


def test_a_document_without_tokens_says_so(pages, rows):
    row = rows.filter(pl.col("verdict") == "dropped").row(0, named=True)
    assert "hold nothing of it" in pages.get(address(row, panel="tokens"), headers=HX).text


# ---- who holds it ----


def test_holders_are_those_that_reach_names(pages, smoke, in_corpus):
    from assets.reach import reach
    from assets.steps.scopes import scope

    row = in_corpus.row(0, named=True)
    deadline = time.monotonic() + 300
    while "hx-trigger" in (said := pages.get(address(row, panel="holders"), headers=HX).text):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    table = Page(said).table("Held by")
    held = reach(Lake(smoke.home), scope("document", row["doc_id"])).holdings
    assert [cells[1].split()[0] for cells in table] == [one.version[:12] or "–" for one in held]
    assert {"base_model", "token_shards", "corpus"} <= {cells[0].split()[0] for cells in table}
    assert all(cells[6] == "current" for cells in table if cells[0] == "base_model")


# ---- the page itself ----


def test_the_page_is_whole_without_scripts_and_each_panel_alone_with_them(pages, rows):
    row = rows.row(0, named=True)
    plain = Page(pages.get(address(row)).text)
    waiting = {
        one.attributes["id"]: one.attributes["hx-get"] for one in plain.all("section") if "hx-get" in one.attributes
    }
    assert set(waiting) == set(PANELS)
    for name, link in waiting.items():
        alone = pages.get(link, headers=HX).text
        assert "<html" not in alone and Page(alone).all("section")[0].attributes["id"] == name
        whole = pages.get(address(row, panel=name)).text
        assert "<html" in whole and next(one.text for one in Page(alone).all("h2")) in whole
    assert all(f"#{name}" in {one.attributes.get("href", "") for one in plain.all("a")} for name in ("crawl", "rules"))


def test_unknown_things_are_pages_that_say_where_to_go(pages, rows):
    row = rows.row(0, named=True)
    for path in ("/doc/nope", "/doc/%00%E2%80%AE", f"/doc/{row['doc_id']}?snapshot=nope", address(row, panel="nope")):
        answer = pages.get(path)
        assert answer.status_code == 404
        assert foreign(answer.text) == []
        assert '<a href="/search">' in answer.text
    assert row["snapshot"] in pages.get(f"/doc/{row['doc_id']}?snapshot=nope").text


def test_numbers_out_of_range_show_the_nearest_part(pages, in_corpus):
    row = in_corpus.row(0, named=True)
    for name in PANELS:
        for number in (-5, 10**12):
            said = {
                key: number for key in ("source_from", "text_from", "corpus_from", "diff_from", "tokens_from", "span")
            }
            assert pages.get(address(row, panel=name, **said), headers=HX).status_code == 200


def test_a_home_without_pages_says_what_makes_some(empty):
    assert "stemma demo" in empty.get("/doc/anything").text


def test_rows_of_one_page_are_those_of_a_scan(smoke, rows):
    lake = Lake(smoke.home)
    for row in rows.gather_every(11).iter_rows(named=True):
        for table, column in (("documents", "text"), ("annotations", "n_words"), ("corpus", "text")):
            wanted = lake.scan(table, snapshot=row["snapshot"]).filter(pl.col("doc_id") == row["doc_id"])
            assert list(rows_of(lake, table, row, [column])) == wanted.select(column).collect().to_dicts()
    assert list(rows_of(lake, "contamination", rows.row(0, named=True) | {"snapshot": "nope"}, ["set"])) == []
