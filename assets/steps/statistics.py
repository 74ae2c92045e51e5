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
AT_ONCE = 6  # statistics: quantiles need every value of each group in memory, 24 bytes a page and statistic
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
    if hosts is not None:
        counted = hosts.with_columns(pl.len().over(HOST).alias("__pages"))
        large = counted.filter(pl.col("__pages") >= LEAST_PAGES_OF_HOST).select("doc_id", HOST)
        hosts = large.collect(engine="streaming").lazy()
    names = list(known)
    some = [{name: known[name] for name in names[at : at + AT_ONCE]} for at in range(0, len(names), AT_ONCE)]
    return pl.concat([_summary(annotations, hosts, part) for part in some])


def _summary(annotations: pl.LazyFrame, hosts: pl.LazyFrame | None, known: dict[str, Column]) -> pl.DataFrame:
    """The rows of some statistics, in their order. hosts: doc_id and host of pages whose hosts are looked at."""
    names = list(known)
    wide = annotations.select("doc_id", pl.col(LANGUAGE).fill_null("und"), *[pl.col(n).cast(pl.Float64) for n in names])
    keys = {ALL: pl.lit(ALL), LANGUAGE: pl.col(LANGUAGE)}
    if hosts is not None:
        wide, keys = wide.join(hosts, on="doc_id", how="left"), keys | {HOST: pl.col(HOST)}
    long = pl.concat(
        [
            wide.select(pl.lit(kind).alias("grouped_by"), key.alias("group"), *names).filter(
                pl.col("group").is_not_null()
            )
            for kind, key in keys.items()
        ]
    ).unpivot(names, index=["grouped_by", "group"], variable_name="statistic", value_name="value")
    value = pl.col("value").fill_nan(None)
    summary = (
        long.with_columns(value, _bin(known).alias("bin"))
        .group_by("statistic", "grouped_by", "group")
        .agg(
            pl.col("value").count().cast(pl.Int64).alias("n"),
            pl.col("value").null_count().cast(pl.Int64).alias("missing"),
            _mean(pl.col("value")).alias("mean"),
            pl.col("value").min().alias("min"),
            *[pl.col("value").quantile(q, "lower").alias(quantile_name(q)) for q in QUANTILES],
            pl.col("value").max().alias("max"),
            pl.concat_list([(pl.col("bin") == i).sum().cast(pl.Int64) for i in range(BINS)]).alias("histogram"),
        )
        .collect(engine="streaming")
    )
    bins = pl.DataFrame({"statistic": names, "bin_edges": [edges(known[name]) for name in names]})
    order = pl.DataFrame({"statistic": names}).with_row_index("__order")
    joined = summary.join(bins, on="statistic").join(order, on="statistic")
    return joined.sort(
        "__order", "grouped_by", pl.col("n") + pl.col("missing"), "group", descending=[False, False, True, False]
    ).drop("__order")


def quantile_name(q: float) -> str:
    """p05 for 0.05."""
    return f"p{round(q * 100):02d}"


def _mean(value: pl.Expr) -> pl.Expr:
    """The mean, each value taken to 2^-32: integers add up alike in the order of any threads, floats do not."""
    whole = value.floor()
    rest = ((value - whole) * 2.0**32).round().cast(pl.Int64)
    total = whole.cast(pl.Int64).sum() + rest.sum() / 2.0**32
    return pl.when(value.count() > 0).then(total / value.count())


def _bin(known: dict[str, Column]) -> pl.Expr:
    """The bin of a row's value, by its statistic; null without a value."""
    bounded = {name: c for name, c in known.items() if math.isfinite(c.low) and math.isfinite(c.high)}
    name, value = pl.col("statistic"), pl.col("value").fill_nan(None)
    lows, spans = ([float(c.low) for c in bounded.values()], [float(c.high - c.low) for c in bounded.values()])
    low = name.replace_strict(list(bounded), lows, default=None, return_dtype=pl.Float64)
    width = name.replace_strict(list(bounded), spans, default=None, return_dtype=pl.Float64)
    equal = ((value - low) / width * BINS).floor()
    first = pl.when(name.is_in([n for n, c in known.items() if c.whole])).then(1.0).otherwise(SMALLEST)
    doubling = pl.when(value < first).then(0.0).otherwise((value / first).log(2).floor() + 1)
    return pl.coalesce(equal, doubling).clip(0, BINS - 1).cast(pl.Int32)
