"""Which crawl records made a checkpoint, by stage: exact, from what each training run consumed back to WARC offsets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake import Lake
from orchestration import ancestry
from orchestration.lineage import WHOLE, Node

CHAMPION = "champion"
MODELS = ("base_model", "sft_model", "rl_model")
SHOWN = ("place", "tokens", "times", "url", "example_id", "problem_id", "family", "samples", "teacher")
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
    stages += [_teacher_stage(lake, *one, sample) for one in ancestry.teachers_behind(lake, digest)]
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
    data = made.inputs.get(ancestry.LEARNT_FROM.get(made.node.asset, ""), {}).get(WHOLE)
    return stage | _consumed(lake, made.node.asset, made.data_version, data, sample)


def _teacher_stage(lake: Lake, asset: str, digest: str, sample: int | None) -> dict[str, Any]:
    """What a model read that wrote data for the traced one; `as` tells it from the traced model's own parents."""
    stage = {"asset": asset, "digest": digest, "as": ancestry.TEACHER}
    return stage | (_consumed(lake, asset, digest, None, sample) if asset in MODELS else {"count": 0, "records": []})


def _consumed(lake: Lake, asset: str, digest: str, data: str | None, sample: int | None) -> dict[str, Any]:
    """What a model read: crawl records; or examples or tasks, and of all of them together what they were made from."""
    if asset == "base_model":
        rows = records_of_base(lake, digest)
        about = {"tokens": int(rows["tokens"].sum()), "unresolved": int(rows["warc_path"].null_count())}
        return {**about, "count": rows.height, "records": spaced(rows, sample).to_dicts()}
    rows, kind = ancestry.rows_of(lake, asset, digest, data), "examples" if asset == "sft_model" else "tasks"
    made_of = ancestry.summary(lake, rows)
    return {"count": rows.height, "made_of": made_of, kind: spaced(rows, sample).to_dicts()}


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
        title += f" (as the {stage['as']} of data below)" if "as" in stage else ""
        table = Table(title=title, title_justify="left")
        rows = [{"place": place(row), **row} if "warc_path" in row else row for row in stage[kind]]
        columns = [name for name in rows[0] if name in SHOWN] if rows else []
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
        console.print(table)
        if "made_of" in stage:
            console.print(f"[dim]made from {_said(stage['made_of'])}[/]", highlight=False)
        if len(rows) < stage["count"]:
            console.print(f"[dim]{stage['count'] - len(rows):,} more; --json gives all[/]", highlight=False)
    if "verified" in found:
        console.print(f"{found['verified']} records read again, {len(found['wrong'])} differ", highlight=False)
        for line in found["wrong"]:
            console.print(f"  [red]{line}[/]", highlight=False)


def _said(made_of: dict[str, Any]) -> str:
    """What rows were made from, in a line."""
    teachers = [f"{one['teacher']} {one.get('teacher_version') or ''}".strip() for one in made_of["teachers"]]
    choosers = [f"{one['asset']} {one['chosen_with'][:12]}" for one in made_of["chosen_with"]]
    parts = [
        f"{made_of['problems']:,} problems of {len(made_of['generators'])} generators",
        f"solved by {', '.join(teachers)}" if teachers else "",
        f"chosen with {', '.join(choosers)}" if choosers else "",
        f"with the text of {len(made_of['documents']):,} documents",
    ]
    return "; ".join(part for part in parts if part)


def place(record: dict[str, Any]) -> str:
    """Where a record lies, in one word: the file and the span of bytes in it."""
    return f"{record['warc_path']} @ {record['warc_offset']}+{record['warc_length']}"
