"""What all assets share: groups, owners, pools, freshness, named automation conditions, and how they are declared."""

import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.partitions import SNAPSHOTS

CORPUS_TEAM = "team:corpus"
MODELS_TEAM = "team:models"


class Group(StrEnum):
    """The stages as the graph shows them, in the order that documents flow."""

    PAGES = "pages"
    CORPUS = "corpus"
    PRETRAINING = "pretraining"
    INSTRUCT = "instruct"
    REINFORCEMENT = "reinforcement"
    RELEASE = "release"
    CURATION = "curation"  # what people judged, and what is learnt from it
    OPERATIONS = "operations"  # records of what happened: never outdated, for nothing is built on them
    EXPERIMENTS = "experiments"  # made when somebody asks: never outdated either


class Pool(StrEnum):
    """What an asset must wait its turn for; limits are set in dagster.yaml."""

    CRAWL = "crawl_download"
    CPU = "cpu_wide"
    TRAINER = "gpu"


# A failed blocking check stops only its own run, so every condition also asks for sound inputs.
SOUND = dg.AutomationCondition.all_deps_blocking_checks_passed()
REFRESH_WHEN_SOUND = (dg.AutomationCondition.eager() & SOUND).with_label("refresh_when_sound")
# Scores come anew with every retrained classifier, whether or not the policy asks for them: decisions follow in the
# night, which knows the policy.
REFRESH_BUT_FOR_SCORES = REFRESH_WHEN_SOUND.ignore(dg.AssetSelection.assets("page_quality")).with_label(
    "refresh_but_for_scores"
)
TRAIN_WEEKLY_WHEN_SOUND = (dg.AutomationCondition.on_cron("0 3 * * 6", "UTC") & SOUND).with_label(
    "train_weekly_when_sound"
)

# Dagster's freshness is the age of the newest materialization. What has nothing new is not made again, so only the
# night's report is due every night; a table is late when no snapshot came for longer than Common Crawl takes.
NIGHTLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
MONTHLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=62), warn_window=timedelta(days=38))

BLOCKING: dict[str, list[str]] = {}  # asset: names of its blocking checks; the guard inside a consumer reads it


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """A table's schema as the UI shows it: type, meaning and unit of every column."""

    def column(field: pa.Field) -> dg.TableColumn:
        notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        unit = f" [{notes['unit']}]" if notes.get("unit") else ""
        return dg.TableColumn(
            field.name, str(field.type), description=(notes.get("comment") or notes.get("meaning", "")) + unit
        )

    return dg.TableSchema(columns=[column(field) for field in schema])


def stage(
    group: Group,
    *,
    kinds: set[str],
    version: str,
    pool: Pool = Pool.CPU,
    trains: bool = False,
    per_snapshot: bool = False,
    schema: pa.Schema | None = None,
    refreshed: dg.AutomationCondition = REFRESH_WHEN_SOUND,
) -> dict[str, Any]:
    """Arguments of `dg.asset` for one stage. The description is the docstring of the asset's function.

    version: bumped by hand when the same inputs would give other bytes; a move of code leaves it alone.
    trains: never refreshed eagerly, only weekly and on demand.
    """
    corpus_side = group in (Group.PAGES, Group.CORPUS)
    return {
        "group_name": str(group),
        "kinds": kinds,
        "owners": [CORPUS_TEAM if corpus_side else MODELS_TEAM],
        "code_version": version,
        "pool": str(pool),
        "automation_condition": TRAIN_WEEKLY_WHEN_SOUND if trains else refreshed,
        "freshness_policy": MONTHLY,
        "partitions_def": SNAPSHOTS if per_snapshot else None,
        "metadata": {"dagster/column_schema": column_schema(schema)} if schema is not None else {},
    }


def records(group: Group, *, kinds: set[str], version: str, nightly: bool = False) -> dict[str, Any]:
    """Arguments of `dg.asset` for a record of what happened; `nightly` when one is due every night."""
    return {
        "group_name": str(group),
        "kinds": kinds,
        "owners": [CORPUS_TEAM],
        "code_version": version,
        "pool": str(Pool.CPU),
        "freshness_policy": NIGHTLY if nightly else None,
    }


def experiment(group: Group, *, kinds: set[str], version: str, pool: Pool) -> dict[str, Any]:
    """Arguments of `dg.asset` for what is made only when asked: no condition, no freshness, no night makes it."""
    return {
        "group_name": str(group),
        "kinds": kinds,
        "owners": [MODELS_TEAM],
        "code_version": version,
        "pool": str(pool),
    }


def cost(started: float, cpu_before: float) -> dict[str, float]:
    """The metadata of what was spent since (time.monotonic(), assets.making.cpu_seconds())."""
    from assets.making import cpu_seconds

    return {
        "stemma/wall_s": round(time.monotonic() - started, 3),
        "stemma/cpu_s": round(cpu_seconds() - cpu_before, 3),
    }


def blocking_check(asset: Any, *, description: str) -> Callable[[Callable[..., Any]], Any]:
    """A check of an AssetsDefinition that stops its own run; consumers ask about it too (assets/making.py)."""

    def declare(function: Callable[..., Any]) -> Any:
        BLOCKING.setdefault(asset.key.to_user_string(), []).append(function.__name__)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)  # checks by partition: preview, and what we rely on
            return dg.asset_check(
                asset=asset, blocking=True, description=description, partitions_def=asset.partitions_def
            )(function)

    return declare
