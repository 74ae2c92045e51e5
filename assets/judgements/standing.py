"""What counts of the labels, as tables: one row a labeller and page, the judged texts, and what the majority says."""

from __future__ import annotations

from itertools import combinations

import polars as pl

from assets.judgements.store import Judgements
from assets.lake import Commit, Lake
from models.evaluation.agreement import Agreement, kappa

SIDES = {"good": 1, "bad": 0}  # what a classifier learns; who is unsure has no say


def rows(store: Judgements) -> pl.DataFrame:
    """Rows of the table labels: no time and no note, so the same judgements give the same bytes whenever they came."""
    names = ("doc_id", "snapshot", "content_hash", "labeller", "label", "tags")
    found = pl.DataFrame(store.table(), schema=dict.fromkeys(names, pl.String), orient="row")
    tags = pl.col("tags").str.split(" ").list.filter(pl.element() != "")
    return found.with_columns(tags).sort("doc_id", "labeller")


def texts(store: Judgements, labels: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table labelled_texts: the text of every page that a label in `labels` is about, each once."""
    schema = {name: pl.String for name in ("doc_id", "content_hash", "snapshot", "text")}
    judged = pl.DataFrame(store.texts(), schema=schema, orient="row")
    return judged.join(labels, on=["doc_id", "content_hash"], how="semi").sort("doc_id", "content_hash")


def write(lake: Lake, store: Judgements) -> Commit:
    """Commits the tables labelled_texts and labels as the store stands; returns the commit of labels."""
    standing = rows(store)
    lake.write("labelled_texts", texts(store, standing), replace={})
    return lake.write("labels", standing, replace={})


def majority(labels: pl.DataFrame) -> pl.DataFrame:
    """doc_id, content_hash, label (1 good, 0 bad): what most labellers say of a text; ties and the unsure are out."""
    told = labels.filter(pl.col("label").is_in(list(SIDES)))
    votes = told.group_by("doc_id", "content_hash").agg((pl.col("label") == "good").mean().alias("share"))
    decided = votes.filter(pl.col("share") != 0.5).with_columns((pl.col("share") > 0.5).cast(pl.Int64).alias("label"))
    return decided.drop("share").sort("doc_id", "content_hash")


def disagreements(labels: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """doc_id, snapshot, content_hash, `one`, `other`: the texts that both judged, and differently."""
    return judged_by_both(labels, one, other).filter(pl.col("one") != pl.col("other"))


def judged_by_both(labels: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """doc_id, snapshot, content_hash and the labels `one` and `other` of the texts that both judged."""
    key = ["doc_id", "snapshot", "content_hash"]
    first, second = (
        labels.filter(pl.col("labeller") == name).select(*key, pl.col("label").alias(column))
        for name, column in ((one, "one"), (other, "other"))
    )
    return first.join(second, on=key).sort("doc_id")


def agreements(labels: pl.DataFrame) -> list[tuple[str, str, Agreement]]:
    """Cohen's kappa of every two labellers who judged a text in common, by their names."""
    found = []
    for one, other in combinations(sorted(labels["labeller"].unique()), 2):
        both = judged_by_both(labels, one, other)
        if both.height:
            found.append((one, other, kappa(both["one"].to_list(), both["other"].to_list())))
    return found
