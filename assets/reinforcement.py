"""Verifiable tasks that the instruct model never saw, and the model that learned from their rewards."""

import math

import dagster as dg
import pyarrow.parquet as pq

from assets import told
from assets.conventions import Group, Pool, blocking_check, stage
from assets.instruct import counted
from assets.making import making
from assets.programs import build, train
from assets.resources import LakeResource, Progress, RecipeResource
from assets.tokens import manifest_of
from assets.tracking import TrackingResource


@dg.asset(
    **stage(Group.REINFORCEMENT, kinds={"parquet", "python"}, version="2", trains=True),
    deps=["sft_dataset"],  # whose problems are excluded
)
def rl_tasks(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Procedural problems with exact answers, none of them in the instruct data; train and held-out apart."""
    with making(context, lake, recipe, progress) as made:
        seen = made.lake.open_dir("sft_dataset") / "sft.parquet"
        commit, _ = build(made, "rl-tasks", {"exclude": [str(seen)]})
        tasks = made.lake.open_dir(made.asset) / "tasks.parquet"
        commit, schema = counted(tasks, commit)
        return made.result(commit, told.problems(tasks, "family", "split"), schema=schema)


@blocking_check(rl_tasks, description="No task has the identity of a problem in the instruct data.")
def tasks_are_unseen(lake: LakeResource) -> dg.AssetCheckResult:
    opened = lake.open()
    tasks = pq.read_table(opened.open_dir("rl_tasks") / "tasks.parquet", columns=["task_id"])["task_id"].to_pylist()
    seen = pq.read_table(opened.open_dir("sft_dataset") / "sft.parquet", columns=["problem_id"])["problem_id"]
    shared = set(tasks) & set(seen.to_pylist())
    unique = len(tasks) == len(set(tasks))
    return dg.AssetCheckResult(passed=not shared and unique and len(tasks) > 0, metadata={"shared": len(shared)})


@dg.asset(
    **stage(Group.REINFORCEMENT, kinds={"pytorch", "mlflow"}, version="2", pool=Pool.TRAINER, trains=True),
    deps=["sft_model", "rl_tasks"],
)
def rl_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """The instruct model after policy-gradient training on verified rewards (Dr. GRPO's normaliser by default)."""
    with making(context, lake, recipe, progress) as made:
        sources = {name: made.lake.open_dir(name) for name in ("sft_model", "rl_tasks")}
        config = {
            "model_dir": str(sources["sft_model"]),
            "tasks_files": [str(sources["rl_tasks"] / "tasks.parquet")],
            "reward": "true",
        }
        parent = sources["sft_model"].name
        commit, manifest, links = train(made, tracking, "rl", config, parent=parent, sources=sources)
        shown = {"accuracy_greedy": manifest["accuracy_greedy"], "accuracies": told.accuracies(manifest)}
        return made.result(commit, {**shown, **links})


@blocking_check(rl_model, description="The accuracy is finite and the model is a child of the present instruct model.")
def rl_model_is_sound(lake: LakeResource) -> dg.AssetCheckResult:
    manifest, parent = manifest_of(lake, "rl_model"), lake.open().open_dir("sft_model").name
    passed = manifest["parent"] == parent and math.isfinite(manifest["accuracy_greedy"])
    return dg.AssetCheckResult(
        passed=passed, metadata={"accuracy_greedy": manifest["accuracy_greedy"], "parent": parent}
    )
