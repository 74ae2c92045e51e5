"""`base_evaluation`: what the base model learned, by source, language, place and repetition, beside its baselines."""

import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from assets import told, tracking
from assets.conventions import Group, blocking_check, stage
from assets.curves import inline
from assets.intervals import draw
from assets.making import making
from assets.partitions import every_snapshot
from assets.programs import build
from assets.resources import LakeResource, Progress, RecipeResource

FIGURES = "figures.parquet"
CHOICES = ("recall", "spelling", "counting", "comparing")
# tables of the asset's page: the measures of each, and the columns beside their values
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bits_per_byte": (("bits_per_byte",), ("unigram", "uniform")),
    "context": (("bits_per_byte_at", "in_context_gain"), ("unigram",)),
    "memorization": (("memorized", "tokens_continued"), ()),
    "choices": (CHOICES, ("chance",)),
}
SHARES = ("memorized", *CHOICES)


@dg.asset(
    **stage(Group.PRETRAINING, kinds={"parquet", "pytorch", "mlflow"}, version="1"),
    deps=["base_model", "token_shards", every_snapshot("corpus")],
)
def base_evaluation(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: tracking.TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """The base model's bits per byte by source and language, memorization by how often a document was read, use of the
    context, spelling, counting and comparing, with intervals and baselines; also on its MLflow run."""
    with making(context, lake, recipe, progress) as made:
        model, shards = (made.lake.open_dir(name) for name in ("base_model", "token_shards"))
        snapshots = [part.partition["snapshot"] for part in made.lake.parts("corpus")]
        files = {"corpus_files": made.lake.files("corpus"), "corpus_snapshots": snapshots}
        commit, _ = build(made, "evaluate-base", {"model_dir": str(model), "shards_dir": str(shards), **files})
        rows = read_figures(made.lake.open_dir(made.asset))
        state = annotated(made.home, tracking, model.name, rows)
        return made.result(commit, tables(rows) | {"mlflow/figures": state})


@blocking_check(base_evaluation, description="Every figure is finite, lies in its interval, and shares are shares.")
def figures_are_sound(lake: LakeResource) -> dg.AssetCheckResult:
    rows = read_figures(lake.open().open_dir("base_evaluation"))
    found = [f"{row['measure']} of {row['group']}" for row in rows.to_dicts() if not sound(row)]
    return dg.AssetCheckResult(passed=not found and rows.height > 0, metadata={"unsound": found})


def sound(row: Mapping[str, Any]) -> bool:
    """Whether a figure may be believed to be one."""
    finite = all(math.isfinite(row[name]) for name in ("value", "low", "high"))
    inside = row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
    return finite and inside and (row["measure"] not in SHARES or 0 <= row["value"] <= 1)


def read_figures(directory: Any) -> pl.DataFrame:
    """The rows of an evaluation: measure, group, value, low, high, n and what stands beside them."""
    return pl.read_parquet(directory / FIGURES)


def tables(rows: pl.DataFrame) -> dict[str, Any]:
    """A table for each kind of measure, one plot, and single figures as metadata that Dagster draws over time."""
    said: dict[str, Any] = {}
    for name, (measures, beside) in TABLES.items():
        some = rows.filter(pl.col("measure").is_in(measures))
        said[name] = told.table(some.select("measure", "group", "value", "low", "high", "n", *beside).to_dicts())
    said["picture"] = dg.MetadataValue.md(inline(draw(panels(rows)), "figures with intervals and baselines"))
    return said | {f"value/{row['measure']}": row["value"] for row in rows.to_dicts() if row["group"] == "all"}


def panels(rows: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """What the plot shows: by group or place in bits per byte, by repetition and by question as shares."""

    def labelled(*measures: str, groups: bool) -> list[dict[str, Any]]:
        some = rows.filter(pl.col("measure").is_in(measures)).to_dicts()
        return [row | {"label": row["group"] if groups else f"{row['measure']} {row['group']}"} for row in some]

    return {
        "bits per byte": labelled("bits_per_byte", groups=True),
        "bits per byte by place": labelled("bits_per_byte_at", groups=True),
        "share continued verbatim": labelled("memorized", groups=True),
        "share answered right": labelled(*CHOICES, groups=False),
    }


def annotated(home: LakeResource, where: tracking.TrackingResource, digest: str, rows: pl.DataFrame) -> str:
    """Puts every figure on the MLflow run that made the model; says what happened."""
    figures = {
        f"base/{row['measure']}/{row['group']}{end}": float(row[column])
        for row in rows.to_dicts()
        for end, column in (("", "value"), ("/low", "low"), ("/high", "high"))
    }
    return tracking.annotate(home.path, where.address(home.path), digest, figures)
