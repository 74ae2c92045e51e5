"""From text to tokens: `tokenizer`, trained on the corpus, and `token_shards`, whose spans name the documents."""

import json
from dataclasses import replace

import dagster as dg
import polars as pl

from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.partitions import every_snapshot
from assets.programs import build
from assets.resources import LakeResource, Progress, RecipeResource


@dg.asset(**stage(Group.PRETRAINING, kinds={"tokenizers"}, version="1", trains=True), deps=[every_snapshot("corpus")])
def tokenizer(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Byte-level BPE trained on the corpus, with the split pattern that llama.cpp calls qwen2, and a chat template."""
    with making(context, lake, recipe, progress) as made:
        commit, manifest = build(made, "tokenizer", {"corpus_files": made.lake.files("corpus")})
        return made.result(commit, {"vocab_size": manifest["vocab_size"]})


@dg.asset(
    **stage(Group.PRETRAINING, kinds={"tokenizers", "numpy"}, version="1", trains=True),
    deps=[every_snapshot("corpus"), "tokenizer"],
)
def token_shards(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """The corpus as memory-mappable token ids, train and held-out apart, with the span of every document."""
    with making(context, lake, recipe, progress) as made:
        tokenizer_dir = str(made.lake.open_dir("tokenizer"))
        files = made.lake.files("corpus")
        commit, manifest = build(made, "tokenize", {"corpus_files": files, "tokenizer_dir": tokenizer_dir})
        splits = manifest["splits"]
        rows, tokens = (sum(one[what] for one in splits.values()) for what in ("documents", "tokens"))
        return made.result(replace(commit, rows=rows), {"splits": dg.MetadataValue.json(splits)}, tokens=tokens)


@blocking_check(token_shards, description="Every document of the corpus is in exactly one span of one split.")
def shards_hold_every_document_once(lake: LakeResource) -> dg.AssetCheckResult:
    opened = lake.open()
    directory = opened.open_dir("token_shards")
    spans = pl.concat([pl.read_parquet(path) for path in sorted(directory.glob("*.spans.parquet"))])
    corpus = opened.scan("corpus").select("doc_id", "text_bytes").collect()
    expected = corpus.filter(pl.col("text_bytes") > 0)["doc_id"]
    twice = spans.height - spans["doc_id"].n_unique()
    absent = len(set(expected) - set(spans["doc_id"]))
    return dg.AssetCheckResult(passed=twice == 0 and absent == 0, metadata={"twice": twice, "absent": absent})


def manifest_of(lake: LakeResource, asset: str) -> dict:
    """The manifest of an artifact's current version."""
    return json.loads((lake.open().open_dir(asset) / "manifest.json").read_text())
