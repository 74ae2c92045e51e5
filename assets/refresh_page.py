"""A night for people: one page of markdown, and the corpus by night as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

NIGHTS_DRAWN = 90
CAUSES_SHOWN, OUTDATED_SHOWN = 3, 40
KEPT, WENT, INK = "#2f6f8f", "#c05a3c", "#333333"


def markdown(report: Mapping[str, Any], cost: Mapping[str, Any]) -> str:
    """The page: what came, what went, what it cost, what is outdated and what was noticed."""
    came, went, corpus = report["came"], report["went"], report["corpus"]
    lines = [
        f"# Night {report['night']}",
        "",
        headline(report),
        "",
        f"Corpus: {corpus['kept']:,} documents, {corpus['kept_bytes']:,} bytes of text, of {corpus['pages']:,} pages",
        f"in {corpus['records']:,} records, {corpus['files']:,} files, {corpus['snapshots']} snapshots.",
        "",
        "| | came | went |",
        "|---|---:|---:|",
        f"| snapshots | {len(came['snapshots'])} | {len(went['snapshots'])} |",
        *(
            f"| {name.replace('_', ' ')} | {came[name]:,} | {went[name]:,} |"
            for name in ("files", "crawl_bytes", "records", "pages", "kept", "kept_bytes")
        ),
        *(
            f"| dropped: {reason} | {came['dropped'].get(reason, 0):,} | {went['dropped'].get(reason, 0):,} |"
            for reason in sorted({*came["dropped"], *went["dropped"]})
        ),
        "",
        *_takedowns(went["takedowns"]),
        *_noticed(report["noticed"]),
        *_outdated(report["outdated"]),
        *_cost(cost),
    ]
    return "\n".join(lines) + "\n"


def headline(report: Mapping[str, Any]) -> str:
    """One sentence."""
    came, went = report["came"], report["went"]
    parts = [f"{came['records']:,} records and {came['kept']:,} documents came"] if came["records"] else []
    if len(went["takedowns"]):
        parts.append(f"{len(went['takedowns'])} takedowns were applied")
    if not parts and report["made"]:
        parts.append("no record came, and what was outdated was made again")
    if went["kept"]:
        parts.append(f"{went['kept']:,} documents went")
    said = "; ".join(parts) or "Nothing new"
    if report["outdated"]:
        said += f"; {len(report['outdated'])} assets are outdated"
    return f"{said}; {len(report['noticed'])} things to look at." if report["noticed"] else f"{said}."


def plot(history: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG: documents in the corpus after each night, and how many came and went. Same nights, same bytes."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = history[-NIGHTS_DRAWN:]
    nights = [one["night"] for one in shown]
    fixed: Any = {"font.family": "DejaVu Sans", "font.size": 9}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(8, 2.8), dpi=100, layout="constrained")
        size, flow = figure.subplots(1, 2)
        size.plot(nights, [one["kept"] for one in shown], color=KEPT, marker="o" if len(shown) < 30 else None)
        size.set_title("documents in the corpus, by night", fontsize=9)
        size.set_ylim(bottom=0)
        flow.bar(nights, [one["came"] for one in shown], color=KEPT, label="came")
        flow.bar(nights, [-one["went"] for one in shown], color=WENT, label="went")
        flow.axhline(0, color=INK, linewidth=0.8)
        flow.set_title("documents that came and went", fontsize=9)
        flow.legend(fontsize=7, frameon=False)
        for axes in (size, flow):
            axes.set_xlabel("night")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _takedowns(applied: Sequence[Mapping[str, Any]]) -> list[str]:
    if not applied:
        return []
    rows = [
        f"| {one['number']} | {one['pages']:,} | {one['rows']:,} | {one['rewritten']} | {', '.join(one['models'])} |"
        for one in applied
    ]
    return [
        "| takedown | pages | rows deleted | tables and shards rewritten | models that had seen it |",
        "|---:|---:|---:|---:|---|",
        *rows,
        "",
    ]


def _noticed(noticed: Sequence[str]) -> list[str]:
    return ["To look at:", "", *(f"- {one}" for one in noticed), ""] if noticed else []


def _outdated(outdated: Sequence[Mapping[str, Any]]) -> list[str]:
    if not outdated:
        return ["Nothing is outdated.", ""]
    rows = [
        f"| {one['asset']} | {one['status']} | {'; '.join(one['because'][:CAUSES_SHOWN])} |"
        for one in outdated[:OUTDATED_SHOWN]
    ]
    more = len(outdated) - len(rows)
    return [
        "| not current | | because of |",
        "|---|---|---|",
        *rows,
        *([f"| and {more} more | | |"] if more else []),
        "",
    ]


def _cost(cost: Mapping[str, Any]) -> list[str]:
    whole = cost["total"]
    rows = [
        f"| {one['asset']} | {one['made']} | {one['cpu_s']:.1f} | {one['wall_s']:.1f} | {one['written_bytes']:,} "
        f"| {one['moved_bytes']:,} | {one['usd']:.4f} |"
        for one in [*cost["by_stage"], {"asset": "**all**", **whole}]
    ]
    night = cost["night"]
    return [
        "| stage | made | CPU s | wall s | bytes written | bytes moved | USD |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"The night itself until this report: {night['cpu_s']:.1f} CPU s, {night['wall_s']:.1f} s. Dollars are those",
        "of moving bytes (assets/crawl_index/prices.yaml).",
    ]
