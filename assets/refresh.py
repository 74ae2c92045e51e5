"""What nights leave behind: `takedown_reports`, after removals were applied, and the `refresh_report` of a night.

Both record what happened, so they are never outdated: nothing is built on them, and no automation makes them.
"""

import time

import dagster as dg
from pydantic import Field

from assets import conventions, curves
from assets.conventions import Group, records
from assets.making import cpu_seconds
from assets.partitions import every_snapshot
from assets.resources import Engine, LakeResource, Progress, RecipeResource, Surveyor

COUNTED = ("crawl_manifest", "documents", "decisions", "duplicate_clusters", "corpus")


class NightConfig(dg.Config):
    """What a night knows and no table says; empty when the report is made by hand."""

    noticed: list[str] = Field(default_factory=list, description="What somebody should look at, in words.")
    cpu_s: float = Field(default=0.0, description="CPU seconds that the night spent outside of assets.")
    wall_s: float = Field(default=0.0, description="Seconds since the night began.")


@dg.asset(**records(Group.OPERATIONS, kinds={"json"}, version="1"))
def takedown_reports(
    lake: LakeResource,
    engine: dg.ResourceParam[Engine],
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """What became of every request for removal; making it applies those that wait, alone in the home."""
    from assets import policy, takedowns
    from assets.configs import digest
    from assets.occupied import taking_out
    from assets.refresh_since import applied, removed

    started, cpu = time.monotonic(), cpu_seconds()
    progress.begin("takedown_reports", None)
    with taking_out(lake.path):
        done = takedowns.apply(lake.open(), engine, policy.load(recipe.chosen_policy(lake.path)), _shown(progress))
    progress.end("takedown_reports", time.monotonic() - started)
    metadata = {
        "applied_now": dg.MetadataValue.json([removed(report) for report in done]),
        "applied": len(applied(lake.path)),
    }
    version = digest(applied(lake.path))
    return dg.MaterializeResult(
        metadata=metadata | conventions.cost(started, cpu), data_version=dg.DataVersion(version)
    )


def _shown(progress: Progress):
    steps = 0

    def show(step: str) -> None:
        nonlocal steps
        steps += 1
        progress.advance("takedown_reports", steps, None, step)

    return show


@dg.asset(
    **records(Group.OPERATIONS, kinds={"json", "markdown", "matplotlib"}, version="1", nightly=True),
    deps=[*(every_snapshot(name) for name in COUNTED), "takedown_reports"],
)
def refresh_report(
    context: dg.AssetExecutionContext,
    config: NightConfig,
    lake: LakeResource,
    surveyor: dg.ResourceParam[Surveyor],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """What came, went and was spent since the last such report, what is outdated and why, and the corpus by night."""
    from assets import nights, refresh_page
    from assets.refresh_since import since

    started, cpu = time.monotonic(), cpu_seconds()
    progress.begin("refresh_report", None)
    before = nights.read(nights.newest(lake.path))
    snapshots = context.instance.get_dynamic_partitions("snapshot")
    outdated = surveyor.outdated(context.instance)
    report, cost = since(lake.open(), context.instance, snapshots, before, outdated, config.model_dump())
    page, plot = refresh_page.markdown(report, cost), refresh_page.plot(report["history"])
    folder = nights.write(lake.path, report, cost, page, plot)
    progress.end("refresh_report", time.monotonic() - started)
    metadata = {
        "night": report["night"],
        "corpus_by_night": dg.MetadataValue.md(curves.inline(plot, "corpus by night")),
        "report": dg.MetadataValue.md(page),
        "outdated": len(outdated),
        "to_look_at": len(report["noticed"]),
        "folder": dg.MetadataValue.path(folder),
        "dagster/row_count": report["corpus"]["kept"],
    }
    return dg.MaterializeResult(
        metadata=metadata | conventions.cost(started, cpu), data_version=dg.DataVersion(report["digest"])
    )
