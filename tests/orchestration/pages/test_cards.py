"""Cards say what the tables say, the same on a page and in markdown, and leave nothing to be filled in."""

import html
import re
from dataclasses import replace

import polars as pl
import pytest

from assets.corpus_facts import Counted, gather
from assets.data_card import data_card
from assets.lake import Lake
from assets.versions import Versions
from models.export.card_form import Card, Code, Section, Table, markdown, written
from orchestration.pages.rendering import environment
from orchestration.pages.settings import PageSettings
from tests.orchestration.pages.test_models import LARGEST, digest_of, eventually

HOSTILE = "<img src=x onerror=alert(1)>|`evil`\u202e[a](javascript:b)"
PLACEHOLDERS = re.compile(r"\b(TODO|TBD|XXX|FIXME|lorem ipsum dolor|None|nan|unknown)\b")


@pytest.fixture
def facts(smoke):
    known = Versions(Lake(smoke.home))
    return gather(known, known.current)


def shown(page: str) -> str:
    """A page's text, without its tags."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)))


def test_data_card_counts_what_the_tables_hold(facts, smoke):
    lake = Lake(smoke.home)
    corpus = lake.scan("corpus").select("doc_id", "host", "text_bytes").collect()
    assert (facts.documents, facts.text_bytes) == (corpus.height, corpus["text_bytes"].sum())
    assert facts.pages == facts.documents + sum(facts.dropped.values())
    assert facts.pages == sum(one.pages for one in facts.sources)
    assert facts.all_hosts == corpus["host"].n_unique()
    assert sum(one.documents for one in facts.languages) == facts.documents
    spans = lake.scan("annotations").join(corpus.lazy(), on="doc_id", how="semi").select(pl.col("pii_count").sum())
    assert sum(facts.personal_data.values()) == spans.collect().item()


def test_card_of_a_snapshot_is_of_that_snapshot(pages, smoke, facts):
    known = Versions(Lake(smoke.home))
    parts = [gather(known, known.current, name) for name in known.current.snapshots]
    assert sum(part.documents for part in parts) == facts.documents
    assert all(len(part.sources) == 1 for part in parts)
    name = max(parts, key=lambda part: part.documents).snapshot
    page = eventually(pages, f"/cards/corpus?snapshot={name}", "Known limits")
    assert f"Corpus of {name} {known.current.digest[:12]}" in pages.get(f"/cards/corpus.md?snapshot={name}").text
    assert len(page.encode()) < LARGEST


def test_every_version_that_was_has_a_card(pages, smoke):
    for version in Versions(Lake(smoke.home)).known:
        said = pages.get(f"/cards/corpus.md?version={version.digest[:10]}")
        assert said.status_code == 200 and f"{version.rows:,} documents" in said.text


def test_page_and_markdown_say_the_same(pages, smoke):
    model = digest_of(smoke.home, "rl_model")
    for path, last in (("/cards/corpus", "To make it again"), (f"/cards/model/{model}", "What is outdated</h2>")):
        page = shown(eventually(pages, path, last))
        text = pages.get(f"{path}.md").text
        titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert len(titles) > 6 and all(title in page for title in titles)
        for line in text.splitlines():
            cells = [cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)] if line.startswith("| ") else []
            for cell in cells:
                assert set(cell) <= set("-: ") or cell.replace("\\|", "|") in page, f"{cell} is not on {path}"


def test_no_card_has_a_placeholder(pages, smoke):
    models = [digest_of(smoke.home, asset) for asset in ("base_model", "sft_model", "rl_model")]
    for path in ("/cards/corpus.md", *(f"/cards/model/{digest}.md" for digest in models)):
        answer = pages.get(path)
        assert answer.headers["content-type"].startswith("text/markdown")
        assert "attachment" in answer.headers["content-disposition"]
        assert not PLACEHOLDERS.findall(answer.text), path


def test_model_card_names_its_lineage_scores_and_standing(pages, smoke):
    rl = digest_of(smoke.home, "rl_model")
    eventually(pages, "/models", "as of ")
    text = pages.get(f"/cards/model/{rl}.md").text
    for asset in ("base_model", "sft_model", "token_shards", "tokenizer", "sft_dataset", "rl_tasks"):
        assert f"| {asset} | {digest_of(smoke.home, asset)} |" in text
    row = pl.read_parquet(Lake(smoke.home).open_dir("scorecard") / "scorecard.parquet").filter(
        model="rl_model", metric="accuracy_greedy"
    )
    value, low, high = row.select("value", "low", "high").row(0)
    assert f"| accuracy_greedy | {written(value)} | {low:.4g} to {high:.4g} |" in text
    assert "## What is outdated\nNothing" in text
    assert f"`{Versions(Lake(smoke.home)).current.digest}`" in text


def test_a_release_has_the_card_of_its_model(pages, smoke):
    released, rl = (digest_of(smoke.home, asset) for asset in ("released_model", "rl_model"))
    for name in (released, "champion", "rl_model"):
        assert pages.get(f"/cards/model/{name}").headers["location"] == f"/cards/model/{rl}"


def test_list_of_cards_leads_to_each(pages, smoke):
    page = pages.get("/cards").text
    assert f"/cards/corpus?version={Versions(Lake(smoke.home)).current.digest}" in page
    for asset in ("base_model", "sft_model", "rl_model"):
        assert f"/cards/model/{digest_of(smoke.home, asset)}.md" in page


@pytest.mark.parametrize(
    "path",
    [
        "/cards/corpus?version=0123456789",
        "/cards/corpus?version=%3Cscript%3E",
        "/cards/corpus?snapshot=%3Cscript%3Ealert(1)%3C/script%3E",
        "/cards/corpus.md?snapshot=nowhere",
        "/cards/model/0123456789abcdef",
        "/cards/model/nothing.md",
    ],
)
def test_unknown_cards_are_said_to_be_unknown(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 404 and "<script>" not in answer.text


def test_a_home_without_a_corpus_says_what_makes_one(empty):
    for path in ("/cards", "/cards/corpus", "/cards/corpus.md", "/cards/model/champion"):
        assert "stemma demo" in empty.get(path).text


def test_a_version_whose_bytes_are_gone_says_why(facts):
    gone = replace(facts, version=replace(facts.version, gone=1, takedowns=(3,), pages_removed=2, current=False))
    text = markdown(data_card(gone))
    assert "takedown 3 removed" in text and "## Hosts" not in text


def test_what_strangers_wrote_is_code_in_markdown_and_escaped_on_the_page(facts, tmp_path):
    from assets.safe_text import shown as visible

    hostile = replace(facts, hosts=(Counted(visible(HOSTILE, 60), 1, 1, 1.0),))
    card = data_card(hostile)
    [line] = [line for line in markdown(card).splitlines() if "onerror" in line]
    assert line.startswith("| `<img") and line.count("`") == 2 and "\u202e" not in line
    assert len(re.split(r"(?<!\\)\|", line)) == 6, "the pipe opens no cell"
    source = '{% import "card_parts.html" as c with context %}{{ c.card(card) }}'
    kind = {"kind": lambda part: type(part).__name__.lower(), "written": written}
    page = environment(PageSettings(tmp_path)).from_string(source).render(card=card, **kind)
    assert "<img" not in page and "&lt;img" in page


def test_a_table_without_rows_has_no_section():
    from models.export.card_form import present, section

    assert section("Empty", Table(("a",), ())) is None
    card = Card("t", ("s",), present([None, section("Full", Table(("a", "n"), ((Code("x"), 1234),)))]))
    assert markdown(card) == "# t\n\ns\n\n## Full\n| a | n |\n| --- | ---: |\n| `x` | 1,234 |\n"
    assert isinstance(card.sections[0], Section)
