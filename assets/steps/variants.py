"""Corpus variants: which documents of the lake each keeps, and how it cleans them. Nothing is extracted or measured
again: decisions come from the annotations, by policy, and duplicates are looked for among what each keeps.

Every variant leaves out the same near-duplicate clusters, from which the held-out texts are: clusters over all
extracted texts, the held-out sets' texts among them, so no variant has read a near-copy of what it is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from assets import policy as policies
from assets.policy import Policy
from assets.steps import clusters
from assets.steps.corpus import final_text
from assets.steps.signatures import sign
from models.data.tokenize import is_heldout
from models.seeds import derive

REFERENCE = "no_filter"
LANGUAGE_RULES = ("empty_text", "language", "language_score")  # of fineweb: who reads English alone needs these
ONE = "all"  # the shard of everything: it is looked at together
SET = "set:"  # ids of held-out sets' texts among documents


@dataclass(frozen=True)
class Variant:
    """A corpus made of the same extracted documents."""

    name: str
    says: str  # what it is, for people
    policy: Policy | None  # None: every document with text
    line_filter: Literal["c4", "none"] = "none"
    dedup: bool = True
    change: Literal["", "half", "shuffled"] = ""  # a random half of the documents; the words of each out of order


@dataclass(frozen=True)
class Made:
    """texts: text_id, doc_id, source, text. members: variant, text_id. heldout: set, text. weights: by source."""

    texts: pl.DataFrame
    members: pl.DataFrame
    heldout: pl.DataFrame
    weights: dict[str, float]


def standard(own: Policy | None = None) -> list[Variant]:
    """What an ablation compares: no filter, its controls, fineweb and what it consists of, strict, the home's own."""
    fineweb, strict = policies.load("fineweb"), policies.load("strict")
    others = [rule.rule for rule in fineweb.rules if rule.rule not in LANGUAGE_RULES]
    english = policies.what_if(fineweb, [], others)
    found = [
        Variant(REFERENCE, "every extracted document, near-duplicates removed", None),
        Variant("random_half", "a random half of no_filter: shows what chance does", None, change="half"),
        Variant("english", "fineweb's rules of language alone", english),
        Variant("fineweb", "the policy fineweb: all its rules, its line rules, near-duplicates removed", fineweb, "c4"),
        Variant("fineweb_no_dedup", "the same with every duplicate", fineweb, "c4", dedup=False),
        Variant("strict", "the policy strict", strict, strict.line_filter),
        Variant("shuffled", "fineweb with the words of each document out of order", fineweb, "c4", change="shuffled"),
    ]
    if own is not None and own.id not in (fineweb.id, strict.id):
        name = own.name if own.name not in {variant.name for variant in found} else f"own_{own.name}"
        found.append(Variant(name, f"the home's policy {own.id}", own, own.line_filter))
    return found


def make(
    documents: pl.DataFrame,
    annotations: pl.LazyFrame,
    variants: Sequence[Variant],
    sets: dict[str, list[str]],
    scratch: Path,
    *,
    heldout_fraction: float,
    heldout_documents: int,
    seed: int,
) -> Made:
    """The texts of every variant, and the held-out sets: two of pages and `sets`, texts from elsewhere.

    documents: doc_id, snapshot, fetched_at, content_hash, text, each doc_id once. annotations: what policies look at,
    one row per document and snapshot. scratch: an empty folder.
    `kept_by_all`: pages that every policy keeps, as extracted. `all_pages`: any. Weights are the shares of the sources
    (snapshots) among the documents that every policy keeps, in bytes of extracted text. Raises PolicyError.
    """
    documents = documents.filter(pl.col("text").str.len_bytes() > 0).sort("doc_id")
    foreign = pl.DataFrame(
        [
            {"doc_id": f"{SET}{name}:{i}", "content_hash": f"{SET}{name}:{i}", "text": text}
            for name, texts in sets.items()
            for i, text in enumerate(texts)
        ],
        schema={"doc_id": pl.String, "content_hash": pl.String, "text": pl.String},
    )
    kept = {variant.name: _kept(documents, annotations, variant.policy) for variant in variants}
    everything = pl.concat([documents, foreign], how="diagonal")
    clustered = {form: _clusters(everything, scratch / form, form, None) for form in ("none", "c4")}
    whole = clustered["none"]
    out = {doc_id for doc_id, cluster in whole.items() if is_heldout(cluster, heldout_fraction)}
    beside = {cluster for doc_id, cluster in whole.items() if doc_id.startswith(SET)}
    out |= {doc_id for doc_id, cluster in whole.items() if cluster in beside}
    held = {clustered["c4"][doc_id] for doc_id in out}
    out |= {doc_id for doc_id, cluster in clustered["c4"].items() if cluster in held}
    common = set.intersection(*[kept[variant.name] for variant in variants])
    weights = _weights(documents.filter(pl.col("doc_id").is_in(sorted(common - out))))
    texts: dict[str, dict[str, str]] = {}
    members: list[dict[str, str]] = []
    rows = {row["doc_id"]: row for row in documents.iter_rows(named=True)}
    for variant in variants:
        ids = kept[variant.name] - out
        if variant.dedup:
            among = documents.filter(pl.col("doc_id").is_in(sorted(ids)))
            similarity = variant.policy.dedup.similarity if variant.policy else policies.Dedup().similarity
            found = _clusters(among, scratch / variant.name, variant.line_filter, similarity)
            ids = {doc_id for doc_id, cluster in found.items() if doc_id == cluster}
        if variant.change == "half":
            ids = {doc_id for doc_id in ids if derive(seed, "half", doc_id) % 2}
        for doc_id in sorted(ids):
            text_id = f"{doc_id}/{variant.line_filter}{'/shuffled' * (variant.change == 'shuffled')}"
            if text_id not in texts:
                text = final_text(rows[doc_id]["text"], doc_id, variant.line_filter)
                text = shuffled(text, derive(seed, "shuffled", doc_id)) if variant.change == "shuffled" else text
                source = rows[doc_id]["snapshot"]
                texts[text_id] = {"text_id": text_id, "doc_id": doc_id, "source": source, "text": text}
            if texts[text_id]["text"]:
                members.append({"variant": variant.name, "text_id": text_id})
    pages = _heldout_pages(documents, whole, heldout_fraction, beside, common, heldout_documents)
    for name, own in sets.items():
        chosen = sorted(range(len(own)), key=lambda i: derive(0, "set", name, i))[:heldout_documents]
        pages += [{"set": name, "text": own[i]} for i in sorted(chosen)]
    heldout = pl.DataFrame(pages, schema={"set": pl.String, "text": pl.String})
    return Made(pl.DataFrame(list(texts.values())), pl.DataFrame(members), heldout, weights)


def shuffled(text: str, seed: int) -> str:
    """The text's words in a random order: the same words and bytes, no syntax."""
    words = text.split()
    return " ".join(words[i] for i in np.random.default_rng(seed).permutation(len(words)))


def _kept(documents: pl.DataFrame, annotations: pl.LazyFrame, policy: Policy | None) -> set[str]:
    ids = documents.select("doc_id", "snapshot")
    if policy is None:
        return set(ids["doc_id"])
    own = annotations.join(ids.lazy(), on=["doc_id", "snapshot"], how="semi")
    decided = policies.decide(own, policy).filter(pl.col("verdict") == "kept").select("doc_id").collect()
    return set(decided["doc_id"])


def _clusters(documents: pl.DataFrame, scratch: Path, line_filter: str, similarity: float | None) -> dict[str, str]:
    """Cluster (its survivor's doc_id) of every document."""
    if documents.is_empty():
        return {}
    scratch.mkdir(parents=True)
    texts = documents.select("doc_id", "text").to_arrow().combine_chunks()
    signed = sign(texts.to_batches()[0], set(documents["doc_id"]), line_filter)
    if "fetched_at" not in documents.columns:
        documents = documents.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("fetched_at"))
    members = documents.select("doc_id", pl.lit(ONE).alias("shard"), "fetched_at", "content_hash")
    limit = {} if similarity is None else {"threshold": similarity}
    found = clusters.find(
        members, lambda: [(ONE, signed)], lambda: [(ONE, texts)], scratch, line_filter=line_filter, **limit
    )
    return dict(zip(found["doc_id"], found["cluster_id"], strict=True))


def _weights(documents: pl.DataFrame) -> dict[str, float]:
    sized = documents.group_by("snapshot").agg(pl.col("text").str.len_bytes().sum().alias("bytes")).sort("snapshot")
    total = sized["bytes"].sum()
    return {source: round(size / total, 6) for source, size in sized.iter_rows()}


def _heldout_pages(
    documents: pl.DataFrame,
    clustered: dict[str, str],
    fraction: float,
    beside: set[str],
    common: set[str],
    most: int,
) -> list[dict[str, str]]:
    """One page of each held-out cluster, as extracted and scrubbed: of those that all keep, and of all."""
    pages = []
    for name, allowed in (("kept_by_all", common), ("all_pages", None)):
        chosen: dict[str, str] = {}
        for doc_id in documents["doc_id"]:
            cluster = clustered[doc_id]
            if is_heldout(cluster, fraction) and cluster not in beside and (allowed is None or doc_id in allowed):
                chosen.setdefault(cluster, doc_id)
        ids = sorted(sorted(chosen.values(), key=lambda doc_id: derive(0, "heldout", doc_id))[:most])
        texts = documents.filter(pl.col("doc_id").is_in(ids))
        pages += [
            {"set": name, "text": final_text(t, i, "none")} for i, t in texts.select("doc_id", "text").iter_rows()
        ]
    return pages


def sampled(documents: pl.LazyFrame, most: int) -> pl.DataFrame:
    """Each doc_id once, of the snapshot that sorts first, and at most so many: those whose id's hash is least."""
    columns = ("doc_id", "snapshot", "fetched_at", "content_hash", "text")
    ids = documents.group_by("doc_id").agg(pl.col("snapshot").min()).collect().sort("doc_id")
    if ids.height > most:
        order = sorted(range(ids.height), key=lambda i: derive(0, "sampled", ids["doc_id"][i]))[:most]
        ids = ids[sorted(order)]
    return documents.select(columns).join(ids.lazy(), on=["doc_id", "snapshot"], how="semi").collect().sort("doc_id")
