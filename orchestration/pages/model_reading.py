"""What a checkpoint read, counted for a page: hosts, languages and repeats of its documents, or families of its rows.

A base model's documents are looked up among the rows on the shelf; those that left the tables since are counted apart.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

HOSTS_SHOWN, LANGUAGES_SHOWN, SAMPLE = 15, 12, 10
KNOWN = ("doc_id", "snapshot", "url", "host", "language")


@dataclass(frozen=True)
class Share:
    """A host, language, family or number of repeats: its rows, their tokens (None: not counted), their share."""

    name: str
    rows: int
    tokens: int | None
    share: float


@dataclass(frozen=True)
class Reading:
    """Counts over a consumed.parquet. `gone`: documents of it that no table has any more."""

    kind: str  # documents, examples, problems
    rows: int
    hosts: tuple[Share, ...] = ()
    all_hosts: int = 0
    languages: tuple[Share, ...] = ()
    repeats: tuple[Share, ...] = ()
    families: tuple[Share, ...] = ()
    teachers: tuple[Share, ...] = ()
    sample: tuple[dict[str, Any], ...] = ()
    gone: int = 0


def of_documents(consumed: Path, shelf: pl.DataFrame) -> Reading:
    """What a base model read, by host and language, how often, and documents evenly spaced as a sample."""
    rows = pl.read_parquet(consumed)
    known = shelf.select(KNOWN).unique("doc_id", keep="first", maintain_order=True)
    joined = rows.join(known, on="doc_id", how="left").sort("doc_id")
    there = joined.filter(pl.col("url").is_not_null())
    chosen = there[sorted({i * there.height // SAMPLE for i in range(SAMPLE)})] if there.height else there
    return Reading(
        kind="documents",
        rows=rows.height,
        hosts=shares(there, "host", "tokens", HOSTS_SHOWN),
        all_hosts=there["host"].n_unique(),
        languages=shares(there, "language", "tokens", LANGUAGES_SHOWN),
        repeats=_repeats(joined),
        sample=tuple(chosen.to_dicts()),
        gone=rows.height - there.height,
    )


def of_rows(consumed: Path, data: Path | None) -> Reading:
    """What an instruct or RL model read. data: the file its rows came from, for the families of examples."""
    rows = pl.read_parquet(consumed)
    kind = "examples" if "example_id" in rows.columns else "problems"
    if "family" not in rows.columns and data is not None and data.is_file():
        families = pl.read_parquet(data, columns=["example_id", "family"]).unique("example_id")
        rows = rows.join(families, on="example_id", how="left")
    return Reading(
        kind=kind,
        rows=rows.height,
        repeats=_repeats(rows),
        families=shares(rows, "family", "tokens", 40) if "family" in rows.columns else (),
        teachers=shares(rows, "teacher", "tokens", 10) if "teacher" in rows.columns else (),
    )


def shares(rows: pl.DataFrame, column: str, tokens: str, most: int) -> tuple[Share, ...]:
    """The values with most rows, each with its share of all rows; null is called "none"."""
    counted = pl.col(tokens).sum() if tokens in rows.columns else pl.lit(None, pl.Int64)
    found = rows.group_by(pl.col(column).fill_null("none").alias("name")).agg(pl.len(), counted.alias("tokens"))
    found = found.sort(["len", "name"], descending=[True, False]).head(most)
    return tuple(
        Share(name, n, None if sum_ is None else int(sum_), n / max(rows.height, 1))
        for name, n, sum_ in found.iter_rows()
    )


def _repeats(rows: pl.DataFrame) -> tuple[Share, ...]:
    """How many rows were read once, twice, and so on."""
    if "times" not in rows.columns:
        return ()
    found = rows.group_by("times").agg(pl.len()).sort("times")
    return tuple(Share(str(times), n, None, n / max(rows.height, 1)) for times, n in found.iter_rows())
