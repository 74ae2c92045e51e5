"""`stemma ablate`: corpora compared by small models trained on them, in a Dagster run. Minutes, only when asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.options import HomeOption, Json

Recipe = Annotated[str | None, typer.Option(help="Recipe whose ablation is made (default: the home's).")]
Sets = Annotated[Path | None, typer.Option(help="Folder of held-out texts (default: $STEMMA_HELDOUT_SETS, else none).")]


def ablate(recipe: Recipe = None, sets: Sets = None, home: HomeOption = None, as_json: Json = False) -> None:
    """Rank corpora (no filter, fineweb, strict, the home's policy …) by what small models learn of them."""
    from orchestration import display

    with display.live_progress(as_json) as progress:
        rows = run(home, recipe, sets, progress)
    if as_json:
        display.emit({"ranking": rows})
    else:
        show(rows)


def run(root: Path | None, recipe: str | None, sets: Path | None, progress: Any) -> list[dict[str, Any]]:
    """Makes the asset `ablations`; the rows of its ranking. Raises HomeMissing, HomeBusy, RunFailed, InputError,
    PolicyError, HeldoutSetError."""
    import dagster as dg
    import polars as pl

    from assets.resources import LakeResource
    from assets.steps import heldout_sets
    from models.recipes import resolve
    from orchestration import graph
    from orchestration.home import alone, locate, require
    from orchestration.runs import end_killed_runs, execute

    home = require(locate(root))
    if recipe is not None:
        resolve({"recipe": recipe})
        os.environ["STEMMA_RECIPE"] = recipe
    if sets is not None:
        os.environ["STEMMA_HELDOUT_SETS"] = str(sets.absolute())
    heldout_sets.load(os.environ.get("STEMMA_HELDOUT_SETS") or None)
    with alone(home, "ablate"):
        defs = graph.build(progress)
        with dg.DagsterInstance.get() as instance:
            end_killed_runs(instance)
            execute(defs, instance, graph.ABLATIONS_JOB, ["ablations"], by="ablate")
    return pl.read_parquet(LakeResource().open().open_dir("ablations") / "ranking.parquet").to_dicts()


def show(rows: list[dict[str, Any]]) -> None:
    """A table for each held-out set, the best corpus first."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name in dict.fromkeys(row["heldout"] for row in rows):
        some = [row for row in rows if row["heldout"] == name]
        table = Table(title=f"{name}: bits per byte on {some[0]['texts']} texts, {some[0]['seeds']} seeds")
        for column in ("corpus", "bits/byte", "minus none", "95% by seed", "95% by text", "so"):
            table.add_column(column, justify="left" if column in ("corpus", "so") else "right", no_wrap=True)
        for row in some:
            table.add_row(
                row["variant"],
                f"{row['bits_per_byte']:.3f}",
                f"{row['difference']:+.3f}",
                f"{row['seeds_low']:+.3f} {row['seeds_high']:+.3f}",
                f"{row['texts_low']:+.3f} {row['texts_high']:+.3f}",
                row["verdict"] if row["verdict"] in ("better", "worse") else "",
            )
        console.print(table)
