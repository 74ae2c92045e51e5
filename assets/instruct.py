"""Instruction data chosen for diversity, and the model tuned on it: candidates, gradients, selection, chat examples."""

import json
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from assets import told
from assets.conventions import Group, Pool, blocking_check, stage
from assets.lake import Commit
from assets.making import making
from assets.programs import build, train
from assets.resources import LakeResource, Progress, RecipeResource
from assets.tokens import manifest_of
from assets.tracking import TrackingResource


@dg.asset(
    **stage(Group.INSTRUCT, kinds={"parquet", "python"}, version="2", trains=True),
    deps=["tokenizer"],  # the examples are counted in the tokens that the model will pay for
)
def synthetic_candidates(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Problems and answers from a teacher, each answer checked by majority vote; skewed and partly wrong by design."""
    with making(context, lake, recipe, progress) as made:
        tokenizer_dir = made.lake.open_dir("tokenizer")
        commit, manifest = build(made, "synthesize", {})
        commit, schema = counted(made.lake.open_dir(made.asset) / "candidates.parquet", commit)
        tokens = count_tokens(tokenizer_dir, made.lake.open_dir(made.asset) / "candidates.parquet")
        shown = told.problems(made.lake.open_dir(made.asset) / "candidates.parquet", "family", "reason")
        return made.result(commit, {"teacher": manifest["teacher"], **shown}, schema=schema, tokens=tokens)


@dg.asset(
    **stage(Group.INSTRUCT, kinds={"pytorch", "safetensors"}, version="1", pool=Pool.TRAINER, trains=True),
    deps=["base_model", "synthetic_candidates"],
)
def gradient_features(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """One projected loss gradient of the base model per candidate: where learning it would push the model."""
    with making(context, lake, recipe, progress) as made:
        candidates = made.lake.open_dir("synthetic_candidates") / "candidates.parquet"
        model_dir = made.lake.open_dir("base_model")
        commit, _ = build(made, "gradients", {"model_dir": str(model_dir), "candidates_files": [str(candidates)]})
        rows = pq.ParquetFile(candidates).metadata.num_rows
        return made.result(replace(commit, rows=rows))


@dg.asset(
    **stage(Group.INSTRUCT, kinds={"parquet", "numpy"}, version="2", trains=True),
    deps=["synthetic_candidates", "gradient_features"],
)
def diverse_candidates(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """The candidates that fill sparse regions of gradient space, with G-Vendi beside random choices of that size."""
    with making(context, lake, recipe, progress) as made:
        candidates = made.lake.open_dir("synthetic_candidates") / "candidates.parquet"
        features = made.lake.open_dir("gradient_features")
        commit, _ = build(made, "select", {"candidates_files": [str(candidates)], "features_dir": str(features)})
        chosen = made.lake.open_dir(made.asset)
        commit, schema = counted(chosen / "selected.parquet", commit)
        report = json.loads((chosen / "report.json").read_text())
        shown = told.problems(chosen / "selected.parquet", "family") | told.diversity(report)
        return made.result(commit, {"g_vendi": dg.MetadataValue.json(report), **shown}, schema=schema)


@dg.asset(
    **stage(Group.INSTRUCT, kinds={"parquet", "tokenizers"}, version="2", trains=True),
    deps=["diverse_candidates", "tokenizer"],
)
def sft_dataset(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Chat examples as token ids with the loss on the assistant's turn alone, split into train and held-out."""
    with making(context, lake, recipe, progress) as made:
        chosen = made.lake.open_dir("diverse_candidates") / "selected.parquet"
        tokenizer_dir = made.lake.open_dir("tokenizer")
        config = {"selected_files": [str(chosen)], "tokenizer_dir": str(tokenizer_dir)}
        commit, _ = build(made, "sft-data", config)
        examples = made.lake.open_dir(made.asset) / "sft.parquet"
        commit, schema = counted(examples, commit)
        tokens = sum(len(ids) for ids in pq.read_table(examples, columns=["input_ids"])["input_ids"].to_pylist())
        return made.result(commit, told.examples(examples), schema=schema, tokens=tokens)


@blocking_check(sft_dataset, description="Every example puts some loss on the answer, and none on all of it.")
def loss_falls_on_answers_only(lake: LakeResource) -> dg.AssetCheckResult:
    table = pq.read_table(lake.open().open_dir("sft_dataset") / "sft.parquet", columns=["loss_mask", "input_ids"])
    rows = zip(table["loss_mask"].to_pylist(), table["input_ids"].to_pylist(), strict=True)
    wrong = sum(not 0 < sum(map(bool, mask)) < len(mask) or len(mask) != len(ids) for mask, ids in rows)
    return dg.AssetCheckResult(passed=wrong == 0 and table.num_rows > 0, metadata={"wrong": wrong})


@dg.asset(
    **stage(Group.INSTRUCT, kinds={"pytorch", "mlflow"}, version="2", pool=Pool.TRAINER, trains=True),
    deps=["base_model", "sft_dataset"],
)
def sft_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """The base model tuned on the chosen chat examples; its manifest names the parent and the held-out accuracy."""
    with making(context, lake, recipe, progress) as made:
        sources = {name: made.lake.open_dir(name) for name in ("base_model", "sft_dataset")}
        config = {
            "model_dir": str(sources["base_model"]),
            "sft_files": [str(sources["sft_dataset"] / "sft.parquet")],
        }
        parent = sources["base_model"].name
        commit, manifest, links = train(made, tracking, "sft", config, parent=parent, sources=sources)
        shown = {"accuracy_greedy": manifest["accuracy_greedy"], "accuracies": told.accuracies(manifest)}
        return made.result(commit, {**shown, **links})


@blocking_check(sft_model, description="The tuned model is a child of the present base model.")
def sft_model_names_its_parent(lake: LakeResource) -> dg.AssetCheckResult:
    parent, base = manifest_of(lake, "sft_model")["parent"], lake.open().open_dir("base_model").name
    return dg.AssetCheckResult(passed=parent == base, metadata={"parent": parent, "base_model": base})


def counted(path: Path, commit: Commit) -> tuple[Commit, pa.Schema]:
    """The commit with the number of rows of a Parquet file in it, and the file's schema."""
    file = pq.ParquetFile(path)
    return replace(commit, rows=file.metadata.num_rows), file.schema_arrow


def count_tokens(tokenizer_dir: Path, candidates: Path) -> int:
    """Tokens of all questions and solutions."""
    from models.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_dir)
    table = pq.read_table(candidates, columns=["question", "solution"])
    texts = [text or "" for column in table.columns for text in column.to_pylist()]
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
