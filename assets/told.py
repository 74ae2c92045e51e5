"""What a materialization says of itself to people in Dagster: its page here, tables and plots. Never a text of a page.

It is metadata alone: no bytes of an asset and no data version depend on it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg

from assets.curves import inline
from assets.descent import MADE_DATA, MODELS

PAGE = "stemma/page"  # the metadata entry that links to the pages
FUNNEL = "/?snapshot={partition}"
PATHS = {
    "annotations": "/filter?snapshot={partition}",
    "annotation_statistics": "/filter?snapshot={partition}",
    "corpus": "/cards/corpus?snapshot={partition}",
    "corpus_card": "/cards/corpus?version={corpus}",
    "corpus_clusters": "/cards/corpus?version={corpus}",
    "tokenizer": "/probe",
    "token_shards": "/cards/corpus?version={corpus}",
    "search_index": "/search?snapshot={partition}",
    "preferences": "/arena",
    "labels": "/labels",
    "quality_classifier": "/labels/classifier",
    "page_quality": "/labels/classifier",
    "gradient_features": "/models/data/diverse_candidates/current",
    "scorecard": "/models",
    "base_evaluation": "/models",
    **dict.fromkeys(MADE_DATA, "/models/data/{asset}/{digest}"),
    **dict.fromkeys(MODELS, "/models/{digest}"),
}
BINS = 30


def page(address: str, asset: str, digest: str, partition: str, corpus: str | None) -> dict[str, Any]:
    """The link to the page that shows this version: of a snapshot's table the funnel, where there is no other.

    corpus: digest of the corpus version that it comes from; None: of none, or of one that is not known.
    """
    path = PATHS.get(asset, FUNNEL if partition else None)
    if path is None:
        return {}
    where = path.format(asset=quote(asset), digest=digest, partition=quote(partition, safe=""), corpus=corpus or "")
    return {PAGE: dg.MetadataValue.url(address.rstrip("/") + where)}


def table(rows: Iterable[Mapping[str, str | int | float]]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Rows as Dagster shows tables, four digits of a fraction; they all have the same columns."""
    records = [
        dg.TableRecord({name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in row.items()})
        for row in rows
    ]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("none")


def shares(what: str, counts: Mapping[str, int]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Counts by name, the greatest first, with their shares of all."""
    whole = max(sum(counts.values()), 1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return table({what: name, "rows": n, "share": f"{n / whole:.1%}"} for name, n in ordered)


def funnel(counts: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """The funnel of a corpus card as tables: its steps, rules in their order; records that are no page, by reason."""
    pages, dropped = max(counts["in"], 1), counts["dropped"]
    reasons = [name for name in order if name in dropped]
    reasons += [name for name in dropped if name not in reasons]
    steps = [("pages", counts["in"]), *((name, -dropped[name]) for name in reasons)]
    steps.append(("kept", counts["kept"]))
    rows = ({"step": name, "pages": n, "share": f"{abs(n) / pages:.1%}"} for name, n in steps)
    return {"funnel_steps": table(rows), "no_pages": shares("reason", {**counts["skipped"], **counts["rejects"]})}


def beside(rows: Sequence[tuple[str, float, Mapping[str, float]]]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Figures (measure, value, baselines by name), each beside what it must be read against."""
    return table({"measure": name, "value": value, **baselines} for name, value, baselines in rows)


def accuracies(manifest: Mapping[str, Any]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Held-out accuracy of a model, over all tasks and by family, as its manifest recorded it."""
    families = sorted(key.partition("/")[2] for key in manifest if key.startswith("accuracy_greedy/"))
    return table(
        {
            "tasks": family or "all",
            "greedy": float(manifest[f"accuracy_greedy{'/' * bool(family)}{family}"]),
            "sampled": float(manifest[f"accuracy_sampled{'/' * bool(family)}{family}"]),
        }
        for family in ["", *families]
    )


def examples(path: Path) -> dict[str, Any]:
    """Tables of an instruct data set's families, teachers and splits, and a plot of its examples' lengths."""
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["family", "teacher", "split", "input_ids"])
    columns = {name: [value or "none" for value in rows[name].to_pylist()] for name in ("family", "teacher", "split")}
    lengths: dict[str, list[int]] = {}
    for split, ids in zip(columns["split"], rows["input_ids"].to_pylist(), strict=True):
        lengths.setdefault(split, []).append(len(ids))
    said = {f"by_{name}": shares(name, Counter(values)) for name, values in columns.items()}
    picture = histogram(lengths, "examples by length", "tokens")
    return said | {"lengths": dg.MetadataValue.md(inline(picture, "examples by length"))}


def problems(path: Path, *columns: str) -> dict[str, Any]:
    """Tables of made data by these columns, "none" where a row has nothing there."""
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=list(columns))
    return {
        f"by_{name}": shares(name, Counter(str(value) if value else "none" for value in rows[name].to_pylist()))
        for name in columns
    }


def diversity(report: Mapping[str, Any]) -> dict[str, Any]:
    """G-Vendi of the chosen rows, round by round, as a plot beside random choices of the same size."""
    rounds = [one for one in report.get("rounds", []) if one.get("g_vendi") is not None]
    rows = [("chosen", report["g_vendi"]), ("random, mean", report["g_vendi_random_mean"])]
    rows += [("all that were offered", report["g_vendi_all"]), ("the most there can be", report["g_vendi_ceiling"])]
    said: dict[str, Any] = {"diversity": table({"rows": name, "g_vendi": float(value)} for name, value in rows)}
    if rounds:
        curve = [(int(one["number"]), float(one["g_vendi"])) for one in rounds]
        picture = line(curve, "G-Vendi by round of choosing", "round", {"random": float(report["g_vendi_random_mean"])})
        said["diversity_by_round"] = dg.MetadataValue.md(inline(picture, "G-Vendi by round"))
    return said


def histogram(values: Mapping[str, Sequence[int]], title: str, unit: str) -> bytes:
    """A PNG of counts by size, a colour for each name. Same values, same bytes."""
    everything = [value for one in values.values() for value in one] or [0]
    low, high = min(everything), max(everything) + 1
    bins = [low + (high - low) * i / min(BINS, high - low) for i in range(min(BINS, high - low) + 1)]

    def drawn(axes: Any) -> None:
        axes.hist(list(values.values()), bins=bins, stacked=True, label=list(values))
        axes.set_xlabel(unit)
        if len(values) > 1:
            axes.legend(fontsize=7, frameon=False)

    return _figure(drawn, title)


def line(points: Sequence[tuple[int, float]], title: str, unit: str, levels: Mapping[str, float]) -> bytes:
    """A PNG of one curve with levels to compare it with. Same points, same bytes."""

    def drawn(axes: Any) -> None:
        axes.plot([x for x, _ in points], [y for _, y in points], linewidth=1.4, marker="o", markersize=3)
        for name, value in levels.items():
            axes.axhline(value, linestyle="--", linewidth=1, color="#888888")
            axes.annotate(name, (points[0][0], value), fontsize=7, va="bottom", color="#666666")
        axes.set_xlabel(unit)

    return _figure(drawn, title)


def _figure(draw: Any, title: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(5.5, 2.8), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
