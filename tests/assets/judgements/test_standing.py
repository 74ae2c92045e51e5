"""What counts of labels: majorities, ties, agreement, and tables with the same bytes whenever things were said."""

from datetime import UTC, datetime

import polars as pl

from assets.judgements import standing
from assets.judgements.said import Page, Said
from assets.judgements.store import Judgements
from assets.lake import Lake


def page(name: str, version: str = "1") -> Page:
    return Page(name, "A", f"https://a.org/{name}", f"{name}-{version}", f"text {name} {version}")


def say(store: Judgements, who: str, **labels: str) -> None:
    store.add([Said(page(name), label) for name, label in labels.items()], who)


def test_the_majority_decides_and_a_tie_is_left_out(tmp_path):
    store = Judgements(tmp_path)
    say(store, "Ann", both="good", tie="good", two="bad", doubt="unsure", half="unsure")
    say(store, "Bob", both="good", tie="bad", two="good", half="good")
    say(store, "Cyd", two="bad")
    found = standing.majority(standing.rows(store))
    assert dict(found.select("doc_id", "label").iter_rows()) == {"both": 1, "half": 1, "two": 0}


def test_two_texts_of_one_page_are_judged_apart(tmp_path):
    store = Judgements(tmp_path)
    store.add([Said(page("p", "1"), "good")], "Ann")
    store.add([Said(page("p", "2"), "bad")], "Bob")
    labels = standing.rows(store)
    assert standing.majority(labels)["label"].to_list() == [1, 0]
    assert standing.texts(store, labels)["text"].to_list() == ["text p 1", "text p 2"]
    assert standing.agreements(labels) == []  # nobody judged the same text


def test_texts_that_nobody_has_a_standing_label_on_are_not_kept_in_the_table(tmp_path):
    store = Judgements(tmp_path)
    say(store, "Ann", p="good")
    say(store, "Ann", q="good")
    store.undo("Ann")
    assert standing.texts(store, standing.rows(store))["doc_id"].to_list() == ["p"]


def test_agreement_and_what_two_disagree_on(tmp_path):
    store = Judgements(tmp_path)
    say(store, "Ann", a="good", b="bad", c="good", d="bad", e="good")
    say(store, "Bob", a="good", b="bad", c="bad", d="bad")
    labels = standing.rows(store)
    [(one, other, found)] = standing.agreements(labels)
    assert (one, other, found.n, found.observed) == ("Ann", "Bob", 4, 0.75)
    assert found.kappa == 0.5  # by hand: expected 1/2 * 1/4 + 1/2 * 3/4
    differing = standing.disagreements(labels, "Ann", "Bob")
    assert differing.select("doc_id", "one", "other").rows() == [("c", "good", "bad")]


def test_the_tables_are_the_same_bytes_whoever_came_first(tmp_path):
    versions = set()
    for order in (1, -1):
        home = tmp_path / str(order)
        store = Judgements(home)
        for day, who in enumerate(["Ann", "Bob", "Cyd"][::order], 1):
            said = [Said(page(name), "good", ("b", "a")) for name in ("p", "q", "r")[::order]]
            store.add(said, who, {"day": str(day)}, datetime(2025, 1, day, tzinfo=UTC))
        lake = Lake(home)
        commit = standing.write(lake, store)
        assert commit.rows == 9 and lake.scan("labels").collect()["tags"].to_list() == [["a", "b"]] * 9
        versions.add((commit.data_version, lake.version_of("labelled_texts")))
    assert len(versions) == 1


def test_a_home_without_labels_has_empty_tables(tmp_path):
    lake = Lake(tmp_path)
    assert standing.write(lake, Judgements(tmp_path)).rows == 0
    assert (
        lake.scan("labels").collect().is_empty() and lake.scan("labelled_texts").select(pl.len()).collect().item() == 0
    )
