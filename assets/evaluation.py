"""The `scorecard`: every model on every metric, beside the uniform and the random baseline."""

import json
import math
from pathlib import Path

import dagster as dg
import polars as pl

from assets import told
from assets.conventions import Group, blocking_check, stage
from assets.instruct import counted
from assets.making import making
from assets.programs import build
from assets.resources import LakeResource, Progress, RecipeResource

MODELS = ("base_model", "sft_model", "rl_model")
ACCURACY = "accuracy_greedy"  # on held-out tasks, the likeliest token each time


@dg.asset(
    **stage(Group.RELEASE, kinds={"parquet", "pytorch"}, version="1"),
    deps=[*MODELS, "token_shards", "rl_tasks"],
)
def scorecard(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Bits per byte and accuracy of every model, with confidence intervals and baselines in the same rows."""
    with making(context, lake, recipe, progress) as made:
        config = {
            "models": {name: str(made.lake.open_dir(name)) for name in MODELS},
            "shards_dir": str(made.lake.open_dir("token_shards")),
            "tasks_files": [str(made.lake.open_dir("rl_tasks") / "tasks.parquet")],
        }
        commit, _ = build(made, "evaluate", config)
        directory = made.lake.open_dir(made.asset)
        commit, schema = counted(directory / "scorecard.parquet", commit)
        said = {"scores": dg.MetadataValue.md(as_markdown(directory)), "headlines": headlines(directory)}
        return made.result(commit, said, schema=schema)


@blocking_check(scorecard, description="Every figure is finite, and the RL model is not worse than the SFT model.")
def rl_is_not_worse_than_sft(lake: LakeResource) -> dg.AssetCheckResult:
    scores = read_scores(lake.open().open_dir("scorecard"))
    trouble = objections(scores)
    found = {name: score(scores, name, ACCURACY) for name in ("sft_model", "rl_model")}
    return dg.AssetCheckResult(passed=not trouble, metadata={**found, "objections": trouble})


def objections(scores: pl.DataFrame) -> list[str]:
    """Why the RL model may not be released; empty when it may.

    It is worse than the SFT model when even the upper end of its 95% interval is below the SFT model's accuracy: with
    few held-out tasks a smaller difference is chance.
    """
    found = [f"{r['model']}.{r['metric']} is not finite" for r in scores.to_dicts() if not math.isfinite(r["value"])]
    sft, rl = (score(scores, name, ACCURACY) for name in ("sft_model", "rl_model"))
    highest = score(scores, "rl_model", ACCURACY, "high")
    if not highest >= sft:
        found.append(
            f"the RL model answers {rl:.1%} of the held-out tasks (at most {highest:.1%}), the SFT model {sft:.1%}"
        )
    return found


def read_scores(directory: Path) -> pl.DataFrame:
    """The rows of a scorecard: model, metric, value, low, high, n and the baselines."""
    return pl.read_parquet(directory / "scorecard.parquet")


def score(scores: pl.DataFrame, model: str, metric: str, column: str = "value") -> float:
    """One figure of the scorecard. Raises LookupError when it is not there."""
    rows = scores.filter((pl.col("model") == model) & (pl.col("metric") == metric))
    if rows.height != 1:
        raise LookupError(f"the scorecard has {rows.height} rows for {metric} of {model}")
    return float(rows[column][0])


def headlines(directory: Path) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """The scores over all families, with their intervals and baselines, as a table in Dagster."""
    rows = read_scores(directory).filter(~pl.col("metric").str.contains("/")).to_dicts()
    return told.table(rows)


def as_markdown(directory: Path) -> str:
    """The scorecard as a table for people."""
    rows = read_scores(directory).to_dicts()
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    shown = (
        " | ".join(
            f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"') for value in row.values()
        )
        for row in rows
    )
    return "\n".join([*lines, *(f"| {line} |" for line in shown)])
