"""What an asset body works with: guarded inputs, its configuration, a place to work, and the result it returns.

Two guards live here. Before the body: every input exists, no blocking check on it stands failed (a blocking check stops
only the run it ran in), and no page was taken out of it since. After it: the lake's record of reads names nothing that
the asset does not declare.
"""

import resource
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from assets import conventions, told
from assets.configs import config_of, digest, unread
from assets.judgements.state import judged
from assets.lake import Commit, Lake
from assets.occupied import working
from assets.resources import LakeResource, Progress, RecipeResource
from assets.steps.ledger import Ledger

WHOLE = ""  # the partition of an unpartitioned asset
MADE_BY = {
    "rejects": "documents",
    "record_counts": "documents",
    "repeated_lines": "repeated_text",
    "labelled_texts": "labels",
}  # tables that another asset writes beside its own


# inputs that an asset does without while they were never made, and names in no record then
DISPENSABLE = {"page_quality": ("quality_classifier",)}


class InputMissing(LookupError):
    """An input of the asset was never materialized."""


class UnsoundInput(RuntimeError):
    """A blocking check on an input failed, so nothing may be built on it."""


class TakenDown(UnsoundInput):
    """An input held a page that was removed since, so what Dagster says of it is no longer what the lake holds."""


class UndeclaredRead(RuntimeError):
    """The asset read something that its dependencies do not name: the lineage would be false."""


CORPUS_VERSION = "stemma/corpus_version"
CORPUS_THROUGH = ("token_shards", "base_model", "sft_model", "rl_model")  # by which later stages meet the corpus

Versions = dict[str, dict[str, str]]  # input asset → partition ("" when it has none) → data version


def latest(instance: dg.DagsterInstance, asset: str, partition: str) -> dg.AssetMaterialization | None:
    """The newest materialization, or None."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey([asset]), asset_partitions=[partition] if partition else None)
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].asset_materialization if records else None


def latest_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str | None:
    """Data version of the newest materialization, or None."""
    event = latest(instance, asset, partition)
    return event.tags.get("dagster/data_version") if event is not None and event.tags else None


def latest_metadata(instance: dg.DagsterInstance, asset: str, partition: str = WHOLE) -> dict[str, Any]:
    """What the newest materialization says of itself; {} before the first."""
    event = latest(instance, asset, partition)
    return {name: entry.value for name, entry in event.metadata.items()} if event is not None else {}


def inputs_of(context: dg.AssetExecutionContext, left_out: Collection[str] = ()) -> Versions:
    """The data version of every declared input as it stands now, but of those left out. Raises InputMissing."""
    found: Versions = {}
    asset = context.asset_key.to_user_string()
    for dep in context.assets_def.specs_by_key[context.asset_key].deps:
        name = dep.asset_key.to_user_string()
        if name in left_out:
            continue
        if isinstance(dep.partition_mapping, dg.AllPartitionMapping):
            partitions = list(context.instance.get_dynamic_partitions("snapshot"))
        else:
            partitions = [context.partition_key if context.has_partition_key else WHOLE]
        versions = {partition: latest_version(context.instance, name, partition) for partition in partitions}
        found[name] = {partition: version for partition, version in versions.items() if version is not None}
        if not found[name] and partitions != [WHOLE] and (version := _whole_version(context.instance, name)):
            found[name] = {WHOLE: version}
        if not found[name] and name in DISPENSABLE.get(asset, ()):
            del found[name]
        elif not found[name]:
            raise InputMissing(f"{asset} needs {name}, which was never materialized")
    return found


def _whole_version(instance: dg.DagsterInstance, asset: str) -> str | None:
    """Data version of an asset without partitions; None of one with."""
    event = latest(instance, asset, WHOLE)
    return None if event is None or event.partition else (event.tags or {}).get("dagster/data_version")


def refuse_unsound(instance: dg.DagsterInstance, inputs: Versions) -> None:
    """Raises UnsoundInput when the latest evaluation of a blocking check on one of the inputs failed."""
    for name, versions in inputs.items():
        for check in conventions.BLOCKING.get(name, []):
            for partition in versions:
                if failed_check(instance, dg.AssetCheckKey(dg.AssetKey([name]), check), partition):
                    where = f" of {partition}" if partition else ""
                    raise UnsoundInput(f"the check {check} on {name}{where} failed: repair it and check again")


def refuse_taken_down(home: Path, inputs: Versions) -> None:
    """Raises TakenDown when one of the input versions held a page of a takedown."""
    held = Ledger(home).outdated()
    for name, versions in inputs.items():
        for partition, version in versions.items():
            if (number := held.get((name, partition, version))) is not None:
                where = f"{name} of {partition}" if partition else name
                raise TakenDown(f"{where} held a page of takedown {number}: make it again first (`stemma demo` does)")


def failed_check(instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str) -> bool:
    """Whether the newest finished evaluation of the check on that partition failed."""
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=1000)
    finished = [row.status.value for row in history if (row.partition or WHOLE) == partition and row.event is not None]
    verdicts = [status for status in finished if status in ("SUCCEEDED", "FAILED")]
    return bool(verdicts) and verdicts[0] == "FAILED"


@dataclass
class Making:
    """One materialization in progress."""

    context: dg.AssetExecutionContext
    home: LakeResource
    lake: Lake
    progress: Progress
    inputs: Versions
    recipe: str
    policy: str  # as assets.policy.load finds it; asked once, for the home may choose another meanwhile
    config: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    cpu_before: float = field(default_factory=lambda: cpu_seconds())

    @property
    def asset(self) -> str:
        return self.context.asset_key.to_user_string()

    @property
    def partition(self) -> str:
        return self.context.partition_key if self.context.has_partition_key else WHOLE

    @property
    def code_version(self) -> str:
        return str(self.context.assets_def.code_versions_by_key[self.context.asset_key])

    @property
    def key(self) -> str:
        """Names the work: the same inputs, configuration and code version find their scratch again."""
        return digest([self.asset, self.partition, self.inputs, self.config, self.code_version])[:16]

    @property
    def before(self) -> dict[str, Any]:
        """What the last materialization of this said of itself; for people, nothing may be made of it."""
        return latest_metadata(self.context.instance, self.asset, self.partition)

    @property
    def corpus_version(self) -> str | None:
        """Digest of the corpus version (assets.versions) that an unpartitioned asset comes from; None: of none."""
        if self.partition:
            return None
        if "corpus" in self.inputs:
            return digest(self.inputs["corpus"])
        through = next((name for name in CORPUS_THROUGH if name in self.inputs), None)
        return latest_metadata(self.context.instance, through).get(CORPUS_VERSION) if through else None

    @property
    def workdir(self) -> Path:
        return self.lake.work_dir(self.asset, self.key)

    def advance(self, done: int, total: int | None = None, note: str = "") -> None:
        """Show progress in shards or steps."""
        self.progress.advance(self.asset, done, total, note)

    def result(
        self,
        commit: Commit,
        metadata: dict[str, Any] | None = None,
        *,
        schema: pa.Schema | None = None,
        tokens: int | None = None,
    ) -> dg.MaterializeResult:
        """The result to return: version, size, cost, inputs and configuration. Raises UndeclaredRead, TakenDown."""
        self._refuse_undeclared()
        self._refuse_taken_down_since()
        seconds = time.monotonic() - self.started
        entries: dict[str, Any] = (metadata or {}) | {
            "stemma/bytes": commit.bytes,
            "stemma/digest": commit.data_version,
            "stemma/wall_s": round(seconds, 3),
            "stemma/cpu_s": round(cpu_seconds() - self.cpu_before, 3),
            "stemma/gpu_s": 0.0,
            "stemma/inputs": dg.MetadataValue.json(self.inputs),
            "stemma/config": dg.MetadataValue.json(self.config),
            "stemma/config_digest": digest(self.config),
        }
        entries |= {CORPUS_VERSION: named} if (named := self.corpus_version) is not None else {}
        entries |= {"stemma/tokens": tokens} if tokens is not None else {}
        entries |= {"dagster/column_schema": conventions.column_schema(schema)} if schema is not None else {}
        if schema is not None or commit.rows:  # models and cards have no rows, an empty table has 0
            entries["dagster/row_count"] = commit.rows
        page = told.page(self.home.pages_address, self.asset, commit.data_version, self.partition, named)
        return dg.MaterializeResult(metadata=page | entries, data_version=dg.DataVersion(commit.data_version))

    def _refuse_undeclared(self) -> None:
        read = {MADE_BY.get(asset, asset) for asset, _ in self.lake.reads}
        undeclared = sorted(read - set(self.inputs) - {self.asset})
        if undeclared:
            raise UndeclaredRead(f"{self.asset} read {', '.join(undeclared)} without declaring it in its deps")

    def _refuse_taken_down_since(self) -> None:
        """A page that was removed while this was made goes out of it again; what is left is no result to build on."""
        from assets.schemas import TABLES
        from assets.withdrawal import withdraw

        tables = [name for name in TABLES if self.asset in (name, MADE_BY.get(name))]
        if gone := withdraw(self.home.open(), self.asset, tables, self.partition or None):
            said = f"pages were taken down while {self.asset} was made, and {gone} rows or versions went with them"
            raise TakenDown(f"{said}: run it again")


@contextmanager
def making(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    progress: Progress,
    files: list[tuple[str, int]] | None = None,
    follows: list[dict[str, Any]] | None = None,
) -> Iterator[Making]:
    """Opens a materialization: inputs are looked up and guarded, the clock starts, progress is shown.

    files: the crawl's listing, where it is the configuration (crawl_manifest); follows: what subscriptions ask, where
    that is (crawl_fetches).
    """
    with working(lake.path):
        name, policy = recipe.chosen(lake.path), recipe.chosen_policy(lake.path)
        inputs = inputs_of(context, unread(context.asset_key.to_user_string(), policy))
        refuse_unsound(context.instance, inputs)
        refuse_taken_down(lake.path, inputs)
        config = config_of(
            context.asset_key.to_user_string(),
            recipe=name,
            policy=policy,
            files=files,
            evaluation_sets=recipe.evaluation_sets,
            follows=follows,
            judged=judged(context.asset_key.to_user_string(), lake.path),
            heldout_sets=recipe.heldout_sets,
        )
        made = Making(context, lake, lake.open(), progress, inputs, name, policy, config)
        progress.begin(made.asset, made.partition or None)
        yield made
        progress.end(made.asset, time.monotonic() - made.started)


def cpu_seconds() -> float:
    """CPU time of this process and its ended children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
