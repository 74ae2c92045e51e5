"""Statistics of every annotation: how its values spread, for all pages of a snapshot, by language and by host.

A streaming query over the annotations for every few statistics. A histogram has BINS bins: of equal width where the
annotation's values have two ends, else by doubling from 1 on (below 1; 1 to 2; 2 to 4; …; the last one is open), from
1/1024 on for what is no whole number.
"""

from __future__ import annotations

import math

import polars as pl

from assets.policy import Column, columns

BINS = 20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SMALLEST = 2.0**-10  # of what is no whole number
LEAST_PAGES_OF_HOST = 10  # fewer say nothing, and a crawl has millions of such hosts
AT_ONCE = 6  # statistics whose values are in memory together, 8 bytes a page and statistic
ALL, LANGUAGE, HOST = "all", "language", "host"


def measured(present: list[str]) -> dict[str, Column]:
    """The numeric columns among those present that a policy may name, with the range of their values."""
    return {name: column for name, column in columns().items() if column.kind == "number" and name in present}


def edges(column: Column) -> list[float]:
    """The lower edges of an annotation's bins."""
    if math.isfinite(column.low) and math.isfinite(column.high):
        width = (column.high - column.low) / BINS
        return [column.low + width * i for i in range(BINS)]
    return [0.0, *((1.0 if column.whole else SMALLEST) * (1 << i) for i in range(BINS - 1))]


def summarise(annotations: pl.LazyFrame, hosts: pl.LazyFrame | None = None) -> pl.DataFrame:
    """One row for each statistic and group: the columns of the table annotation_statistics but snapshot, sorted.

    annotations: rows of that table. hosts: doc_id and host of its pages, for groups by host.
    """
    known = measured(annotations.collect_schema().names())
    language = pl.col(LANGUAGE).fill_null("und").cast(pl.Categorical)
    keys = {ALL: pl.lit(ALL), LANGUAGE: pl.col(LANGUAGE)} | ({HOST: pl.col(HOST)} if hosts is not None else {})
    large = None if hosts is None else _of_large_hosts(hosts)
    names, found = list(known), []
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        wide = annotations.select("doc_id", language, *[pl.col(n).cast(pl.Float64).fill_nan(None) for n in some])
        if large is not None:
            wide = wide.join(large.lazy(), on="doc_id", how="left")
        values = wide.drop("doc_id").collect(engine="streaming")
        for name in some:
            groups = [_of_groups(values, kind, key, name, known[name]) for kind, key in keys.items()]
            order = ["grouped_by", pl.col("n") + pl.col("missing"), "group"]
            found.append(pl.concat(groups).sort(order, descending=[False, True, False]))
    return pl.concat(found)


def _of_large_hosts(hosts: pl.LazyFrame) -> pl.DataFrame:
    """doc_id and host of the pages whose hosts have enough of them."""
    counted = hosts.group_by(HOST).len().filter(pl.col("len") >= LEAST_PAGES_OF_HOST).select(HOST)
    pages = hosts.join(counted, on=HOST, how="semi").select("doc_id", pl.col(HOST).cast(pl.Categorical))
    return pages.collect(engine="streaming")


def _of_groups(values: pl.DataFrame, kind: str, key: pl.Expr, name: str, column: Column) -> pl.DataFrame:
    """The rows of one statistic for all groups of a kind, in no order."""
    value, lower = pl.col("value"), edges(column)
    grouped = (
        values.lazy()
        .select(key.alias("group"), pl.col(name).alias("value"))
        .filter(pl.col("group").is_not_null())
        .with_columns(_bin(column).alias("bin"))
        .group_by("group")
        .agg(
            value.count().cast(pl.Int64).alias("n"),
            value.null_count().cast(pl.Int64).alias("missing"),
            _mean(value).alias("mean"),
            value.min().alias("min"),
            *[value.quantile(q, "lower").alias(quantile_name(q)) for q in QUANTILES],
            value.max().alias("max"),
            pl.concat_list([(pl.col("bin") == i).sum().cast(pl.Int64) for i in range(BINS)]).alias("histogram"),
        )
        .collect()
    )
    named = grouped.select(
        pl.lit(name).alias("statistic"),
        pl.lit(kind).alias("grouped_by"),
        pl.col("group").cast(pl.String),
        pl.exclude("group"),
    )
    return named.with_columns(pl.Series("bin_edges", [lower] * grouped.height, dtype=pl.List(pl.Float64)))


def quantile_name(q: float) -> str:
    """p05 for 0.05."""
    return f"p{round(q * 100):02d}"


def _mean(value: pl.Expr) -> pl.Expr:
    """The mean, each value taken to 2^-32: integers add up alike in the order of any threads, floats do not."""
    whole = value.floor()
    rest = ((value - whole) * 2.0**32).round().cast(pl.Int64)
    total = whole.cast(pl.Int64).sum() + rest.sum() / 2.0**32
    return pl.when(value.count() > 0).then(total / value.count())


def _bin(column: Column) -> pl.Expr:
    """The bin of a row's value; null without a value."""
    value = pl.col("value")
    if math.isfinite(column.low) and math.isfinite(column.high):
        place = ((value - float(column.low)) / float(column.high - column.low) * BINS).floor()
    else:
        first = 1.0 if column.whole else SMALLEST
        place = pl.when(value < first).then(0.0).otherwise((value / first).log(2).floor() + 1)
    return place.clip(0, BINS - 1).cast(pl.Int32)
