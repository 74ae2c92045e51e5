"""Which crawl records made a checkpoint, by stage: exact, from what each training run consumed back to WARC offsets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake import Lake
from orchestration.lineage import WHOLE, Node

CHAMPION = "champion"
MODELS = ("base_model", "sft_model", "rl_model")
SHOWN = ("place", "tokens", "times", "url", "example_id", "problem_id", "family", "samples")
PLACE = ("snapshot", "warc_path", "warc_offset", "warc_length", "warc_inner_offset", "payload_digest", "url")


class UnknownModel(LookupError):
    """No such model, or it was not made yet."""


@dataclass(frozen=True)
class Made:
    """One materialization: a node, the data version it got, and the versions it was made from."""

    node: Node
    data_version: str
    inputs: dict[str, dict[str, str]]
    run_id: str
    mlflow_run: str | None


def known(model: str) -> str:
    """The name itself, if it names a model. Raises UnknownModel."""
    if model not in (CHAMPION, *MODELS):
        raise UnknownModel(f"unknown model {model}: choose one of {CHAMPION}, {', '.join(MODELS)}")
    return model


def resolve(lake: Lake, model: str) -> tuple[str, str]:
    """(asset, model digest) of a model's name: champion, base_model, sft_model or rl_model. Raises UnknownModel."""
    from assets.artifacts import ArtifactMissing
    from models.artifacts import read_manifest

    try:
        if known(model) != CHAMPION:
            return model, lake.open_dir(model).name
        return "rl_model", read_manifest(lake.open_dir("released_model"))["parent"]
    except ArtifactMissing as error:
        raise UnknownModel(f"{model} was not made yet: run `stemma demo`") from error


def find(instance: dg.DagsterInstance, node: Node, data_version: str) -> Made:
    """The newest materialization of a node that gave this data version. Raises UnknownModel."""
    wanted = dg.AssetRecordsFilter(
        dg.AssetKey([node.asset]), asset_partitions=[node.partition] if node.partition else None
    )
    for record in instance.fetch_materializations(wanted, limit=1000).records:
        event = record.asset_materialization
        if event is not None and (event.tags or {}).get("dagster/data_version") == data_version:
            metadata = {key: value.value for key, value in event.metadata.items()}
            inputs: Any = metadata.get("stemma/inputs") or {}
            mlflow_run = metadata.get("mlflow/run_id")
            return Made(node, data_version, inputs, record.run_id, str(mlflow_run) if mlflow_run else None)
    raise UnknownModel(f"no materialization of {node} has the data version {data_version}")


def ancestors(instance: dg.DagsterInstance, asset: str, data_version: str) -> Iterator[Made]:
    """The materialization of that version, then everything it was made from, each once, nearest first."""
    waiting, seen = [(Node(asset), data_version)], set()
    while waiting:
        node, version = waiting.pop(0)
        if (node, version) in seen:
            continue
        seen.add((node, version))
        made = find(instance, node, version)
        yield made
        waiting += [
            (Node(name, partition), parent)
            for name, versions in sorted(made.inputs.items())
            for partition, parent in sorted(versions.items())
        ]


def records_of_base(lake: Lake, digest: str) -> pl.DataFrame:
    """The crawl records that a base model consumed: doc_id, tokens, times and the place of each in the crawl.

    A page that left the corpus since is found among the documents; one that is in neither keeps its id alone.
    """
    consumed = pl.read_parquet(lake.open_dir("base_model", digest=digest) / "consumed.parquet")
    places = lake.scan("documents").select("doc_id", *PLACE).unique("doc_id", keep="first", maintain_order=True)
    return consumed.join(places.collect(), on="doc_id", how="left").sort("warc_path", "warc_offset", "doc_id")


def trace(lake: Lake, instance: dg.DagsterInstance, model: str, sample: int | None = None) -> dict[str, Any]:
    """Everything behind a model, stage by stage. `sample`: at most so many rows a stage, evenly spaced."""
    asset, digest = resolve(lake, model)
    history = list(ancestors(instance, asset, digest))
    stages = [stage for made in history if (stage := _stage(lake, made, sample)) is not None]
    return {
        "model": model,
        "asset": asset,
        "digest": digest,
        "stages": stages[::-1],
        "inputs": [
            {"asset": made.node.asset, "partition": made.node.partition or None, "data_version": made.data_version}
            for made in history
        ],
    }


def _stage(lake: Lake, made: Made, sample: int | None) -> dict[str, Any] | None:
    if made.node.asset not in MODELS or made.node.partition != WHOLE:
        return None
    parent = {"sft_model": "base_model", "rl_model": "sft_model"}.get(made.node.asset)
    stage: dict[str, Any] = {
        "asset": made.node.asset,
        "digest": made.data_version,
        "parent": made.inputs[parent][WHOLE] if parent else None,
        "dagster_run": made.run_id,
        "mlflow_run": made.mlflow_run,
    }
    if made.node.asset == "base_model":
        rows, kind = records_of_base(lake, made.data_version), "records"
        stage["tokens"] = int(rows["tokens"].sum())
        stage["unresolved"] = int(rows["warc_path"].null_count())
    else:
        rows = pl.read_parquet(lake.open_dir(made.node.asset, digest=made.data_version) / "consumed.parquet")
        kind = "examples" if made.node.asset == "sft_model" else "tasks"
    return {**stage, "count": rows.height, kind: spaced(rows, sample).to_dicts()}


def spaced(rows: pl.DataFrame, sample: int | None) -> pl.DataFrame:
    """At most `sample` rows, evenly spaced from the first to the last; all when it is None."""
    if sample is None or rows.height <= sample:
        return rows
    return rows[[i * rows.height // sample for i in range(sample)]] if sample > 0 else rows.head(0)


def verify(crawl_root: str, records: list[dict[str, Any]]) -> list[str]:
    """Re-reads every record at its place; returns one line per record that is not the page that was consumed."""
    from assets.steps.warc import RecordNotFound, read_record

    wrong = []
    for row in records:
        if row["warc_path"] is None:
            wrong.append(f"{row['doc_id']}: its place is unknown")
            continue
        place = f"{crawl_root.rstrip('/')}/{row['warc_path']}"
        try:
            page = read_record(
                place, row["warc_path"], row["warc_offset"], row["warc_length"], row["warc_inner_offset"]
            )
        except (RecordNotFound, OSError) as error:
            wrong.append(f"{row['doc_id']}: {error}")
            continue
        if (page.doc_id, page.payload_digest) != (row["doc_id"], row["payload_digest"]):
            wrong.append(f"{row['doc_id']}: {place} at {row['warc_offset']} now holds {page.doc_id}")
    return wrong


def model_dir(lake: Lake, model: str) -> Path:
    """The verified checkpoint directory of a model's name. Raises UnknownModel."""
    asset, digest = resolve(lake, model)
    return lake.open_dir(asset, digest=digest)


def show(found: dict[str, Any]) -> None:
    """A trace for people: stage by stage, with the place of every shown record."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{found['model']}[/] is {found['asset']} [cyan]{found['digest']}[/]", highlight=False)
    for stage in found["stages"]:
        kind = next(name for name in ("records", "examples", "tasks") if name in stage)
        title = f"{stage['asset']} {stage['digest'][:12]}: {stage['count']:,} {kind}"
        table = Table(title=title, title_justify="left")
        rows = [{"place": _place(row), **row} if "warc_path" in row else row for row in stage[kind]]
        columns = [name for name in rows[0] if name in SHOWN] if rows else []
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
        console.print(table)
        if len(rows) < stage["count"]:
            console.print(f"[dim]{stage['count'] - len(rows):,} more; --json gives all[/]", highlight=False)
    if "verified" in found:
        console.print(f"{found['verified']} records read again, {len(found['wrong'])} differ", highlight=False)
        for line in found["wrong"]:
            console.print(f"  [red]{line}[/]", highlight=False)


def _place(record: dict[str, Any]) -> str:
    """Where a record lies, in one word: the file and the span of bytes in it."""
    return f"{record['warc_path']} @ {record['warc_offset']}+{record['warc_length']}"
