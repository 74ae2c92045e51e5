"""`stemma search`: counts are those of the tables, pages are those that a reader would find, bad input is one line."""

import json

import polars as pl
import pytest

from assets.lake import Lake
from assets.searching.words import words


def asked(demo, *arguments: str) -> dict:
    done = demo.stemma("search", *arguments, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_page_is_searched_kept_and_dropped_alike(smoke):
    lake = Lake(smoke.home)
    texts = dict(lake.scan("documents").select("doc_id", "text").collect().iter_rows())
    have = {key for key, text in texts.items() if "about" in words(text) and "contact" not in words(text)}
    found = asked(smoke, "about -contact", "--limit", "1000")
    assert {page["doc_id"] for page in found["pages"]} == have and found["total"] == len(have) > 10
    assert {"kept", "dropped"} <= set(found["counts"]["verdict"])
    assert sum(found["counts"]["verdict"].values()) == len(have) and found["not_indexed"] == []
    assert all(any("about" in words(piece) for piece in page["pieces"]) for page in found["pages"])


def test_conditions_are_those_of_the_tables(smoke):
    found = asked(smoke, "", "--verdict", "dropped", "--score", "n_words<50", "--sort", "n_words", "--limit", "1000")
    lake = Lake(smoke.home)
    dropped = lake.scan("decisions").filter(pl.col("verdict") == "dropped").select("doc_id")
    copies = lake.scan("duplicate_clusters").filter(~pl.col("survivor")).select("doc_id")
    rows = lake.scan("annotations").join(pl.concat([dropped, copies]), on="doc_id", how="semi")
    wanted = rows.filter(pl.col("n_words") < 50).select("doc_id", "n_words").collect()
    assert {page["doc_id"]: page["n_words"] for page in found["pages"]} == dict(wanted.iter_rows()) != {}
    scores = [page["n_words"] for page in found["pages"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(found["counts"]["reason"].values()) == found["total"]


def test_people_are_told_what_became_of_each_page(smoke):
    done = smoke.stemma("search", "about", "--verdict", "dropped", "--limit", "3")
    assert done.returncode == 0 and "verdict:" in done.stdout and "://" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (['a "b'], "quote at character 3 is not closed"),
        (["x" * 10_000], "10,000 characters"),
        (["!!!"], "has no word"),
        (["a", "--score", "n_wordz>=5"], "no score is called n_wordz"),
        (["a", "--verdict", "maybe"], "no verdict is called so"),
        (["a", "--sort", "text"], "no score is called text"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(smoke, arguments, why):
    done = smoke.stemma("search", *arguments)
    assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1


def test_a_home_without_anything_says_what_makes_it(tmp_path, smoke):
    done = smoke.elsewhere(home=tmp_path / "none").stemma("search", "a")
    assert done.returncode == 2 and "stemma demo" in done.stderr
