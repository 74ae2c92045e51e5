"""`stemma trace MODEL --step N`: what one step of a training run read, to the document, example or problem."""

from pathlib import Path
from typing import Any

import polars as pl

from assets.descent import MADE_DATA, manifest_of, versions
from assets.lake import Lake, TableMissing
from assets.steps.ledger import Ledger
from orchestration import tracing

SHOWN = ("example_id", "problem_id", "family", "times", "samples", "teacher")


class DataGone(LookupError):
    """The data that a model was trained on are not there any more, so no batch of it can be made again."""


def trace_step(lake: Lake, model: str, step: int) -> dict[str, Any]:
    """The rows of the batch that step `step` (from 1) of a model's training read; documents with their places.

    Raises UnknownModel, DataGone, models.data.batches.NoSuchStep.
    """
    from models.data.batches import batch

    asset, digest = tracing.resolve(lake, model)
    directory = lake.open_dir(asset, digest=digest)
    rows = pl.DataFrame(pl.from_arrow(batch(directory, data_of(lake, directory), step)))
    if asset == "base_model":
        rows = _placed(lake, rows)
    return {"model": model, "asset": asset, "digest": digest, "step": step, "rows": rows.to_dicts()}


def data_of(lake: Lake, directory: Path) -> Path | list[Path]:
    """What a model was trained on: its token shards' directory, or its files of examples or tasks. Raises DataGone."""
    manifest, asset, root = manifest_of(directory), directory.parent.name, lake.artifacts.root
    if asset == "base_model":
        shards = root / "token_shards" / manifest["shards"]
        if not shards.is_dir():
            raise _gone(lake, directory, "token_shards", manifest["shards"])
        return shards
    data, hashes = ("sft_dataset", manifest["data"]) if asset == "sft_model" else ("rl_tasks", manifest["tasks"])
    name = MADE_DATA[data]
    by_hash = {manifest_of(path)["files"][name]["sha256"]: path / name for path in versions(root, data)}
    if missing := [one for one in hashes if one not in by_hash]:
        raise _gone(lake, directory, data, missing[0])
    return [by_hash[one] for one in hashes]


def _gone(lake: Lake, directory: Path, asset: str, version: str) -> DataGone:
    """The error that names what is gone, and the takedown that took it if one did."""
    model = directory.parent.name, "", directory.name
    number = Ledger(lake.local).outdated().get((asset, "", version)) or Ledger(lake.local).outdated().get(model)
    why = f"because of takedown {number}" if number else "since"
    trained = f"{directory.parent.name} {directory.name[:12]} was trained on {asset} {version[:12]}"
    return DataGone(f"{trained}, which was removed {why}: what the whole run read is still named without --step")


def _placed(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the place of each document in the crawl."""
    try:
        places = lake.scan("documents").select("doc_id", *tracing.PLACE).filter(pl.col("doc_id").is_in(rows["doc_id"]))
    except TableMissing:
        return rows
    one = places.collect(engine="streaming").unique("doc_id", keep="first", maintain_order=True)
    return rows.join(one, on="doc_id", how="left", maintain_order="left")


def show(found: dict[str, Any]) -> None:
    """The batch as a table for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{found['model']}[/] is {found['asset']} [cyan]{found['digest']}[/]", highlight=False)
    table = Table(title=f"step {found['step']}: {len(found['rows'])} rows", title_justify="left")
    shown = ("row", "doc_id", "start", "tokens", "place", "url", *SHOWN)
    rows = [{"place": tracing.place(row), **row} if "warc_path" in row else row for row in found["rows"]]
    columns = [name for name in shown if rows and name in rows[0]]
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    console.print(table)
