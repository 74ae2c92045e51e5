"""From text to tokens: `tokenizer`, trained on the corpus, and `token_shards`, whose spans name the documents."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from assets.conventions import Group, blocking_check, stage
from assets.lake import Lake
from assets.making import making
from assets.partitions import every_snapshot
from assets.programs import build
from assets.resources import LakeResource, Progress, RecipeResource

if TYPE_CHECKING:
    from assets.policy import Policy


def corpus_inputs(lake: Lake, policy: "Policy") -> dict[str, Any]:
    """What a program is told of the corpus: its files and, where the policy takes one document of all snapshots, the
    files that say which."""
    if policy.dedup.scope == "snapshot":
        return {"corpus_files": lake.files("corpus")}
    snapshots: dict[str, list[str]] = {}
    for part, file in zip(lake.parts("corpus_clusters"), lake.files("corpus_clusters"), strict=True):
        snapshots.setdefault(part.partition["snapshot"], []).append(file)
    of = [part.partition["snapshot"] for part in lake.parts("corpus")]
    return {"corpus_files": lake.files("corpus"), "corpus_snapshots": of, "clusters": snapshots}


@dg.asset(
    **stage(Group.PRETRAINING, kinds={"tokenizers"}, version="1", trains=True),
    deps=[every_snapshot("corpus"), "corpus_clusters"],
)
def tokenizer(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Byte-level BPE trained on the corpus, with the split pattern that llama.cpp calls qwen2, and a chat template."""
    from assets import policy

    with making(context, lake, recipe, progress) as made:
        inputs = corpus_inputs(made.lake, policy.load(made.policy))
        commit, manifest = build(made, "tokenizer", inputs)
        return made.result(commit, {"vocab_size": manifest["vocab_size"]})


@dg.asset(
    **stage(Group.PRETRAINING, kinds={"tokenizers", "numpy"}, version="1", trains=True),
    deps=[every_snapshot("corpus"), "corpus_clusters", "tokenizer"],
)
def token_shards(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """The corpus as memory-mappable token ids, train and held-out apart, with the span of every document."""
    from assets import policy

    with making(context, lake, recipe, progress) as made:
        chosen = policy.load(made.policy)
        tokenizer_dir = str(made.lake.open_dir("tokenizer"))
        inputs = {**corpus_inputs(made.lake, chosen), "tokenizer_dir": tokenizer_dir}
        if repetition := chosen.repetition:
            inputs["repetition"] = {str(size): weight for size, weight in repetition.items()}
        commit, manifest = build(made, "tokenize", inputs)
        splits = manifest["splits"]
        rows, tokens = (sum(one[what] for one in splits.values()) for what in ("documents", "tokens"))
        return made.result(replace(commit, rows=rows), {"splits": dg.MetadataValue.json(splits)}, tokens=tokens)


@blocking_check(
    token_shards,
    description="Every document that the policy takes is in one split, in one span, or in as many as it repeats it.",
)
def shards_hold_every_document_once(lake: LakeResource) -> dg.AssetCheckResult:
    from models.data.mixing import repetitions

    opened = lake.open()
    directory = opened.open_dir("token_shards")
    manifest = manifest_of(lake, "token_shards")
    weights = {int(size): n for size, n in manifest.get("repetition", {}).items()}
    paths = sorted(directory.glob("*.spans.parquet"))
    spans = pl.concat([pl.read_parquet(path).with_columns(split=pl.lit(path.name.split("-")[0])) for path in paths])
    held = spans.group_by("doc_id").agg(
        pl.len().alias("spans"), pl.col("split").n_unique(), heldout=pl.col("split").first() == "heldout"
    )
    rows = opened.scan("corpus").select("doc_id", "snapshot", "text_bytes", "cluster_size")
    if manifest.get("dedup_scope") == "corpus":
        stay = opened.scan("corpus_clusters").filter("survivor").select("doc_id", "snapshot", "cluster_size")
        rows = rows.drop("cluster_size").join(stay, on=["doc_id", "snapshot"])
    corpus = rows.drop("snapshot").collect()
    sizes = {size: repetitions(size, weights) for size in corpus["cluster_size"].unique().to_list()}
    copies = pl.col("cluster_size").replace_strict(sizes, return_dtype=pl.Int64, default=0)
    due = pl.when("heldout").then(1).otherwise(copies)
    both = corpus.join(held, on="doc_id", how="full", coalesce=True)
    wrong = (pl.col("spans").fill_null(0) != due) | (pl.col("split").fill_null(1) > 1) | pl.col("text_bytes").is_null()
    bad = both.filter(wrong & (pl.col("text_bytes").fill_null(1) > 0))
    passed = bad.is_empty() and held.height > 0
    return dg.AssetCheckResult(passed=passed, metadata={"spans": spans.height, "wrong": bad.height})


def manifest_of(lake: LakeResource, asset: str) -> dict:
    """The manifest of an artifact's current version."""
    return json.loads((lake.open().open_dir(asset) / "manifest.json").read_text())
