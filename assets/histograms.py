"""Histograms of the statistics that a policy looks at, each with the policy's threshold, as one picture."""

import io
import math
from typing import Any

import polars as pl

from assets.policy import Policy

COLUMNS = 4
SHOWN = 32
BARS, LIMIT = "#2f6f8f", "#c05a3c"


def draw(summary: pl.DataFrame, policy: Policy) -> bytes | None:
    """A PNG with a panel for each bounded rule over all pages; None where there is none. Same input, same bytes.

    summary: rows of annotation_statistics. The vertical axis is logarithmic: what a rule drops is rare.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = {row["statistic"]: row for row in summary.filter(pl.col("grouped_by") == "all").to_dicts()}
    shown = [rule for rule in policy.rules if rule.bounds() and rule.statistic in rows][:SHOWN]
    if not shown:
        return None
    fixed: Any = {"font.family": "DejaVu Sans", "font.size": 7}
    with matplotlib.rc_context(fixed):
        height = math.ceil(len(shown) / COLUMNS)
        inches = 1.7 * height
        figure = Figure(figsize=(3 * COLUMNS, inches), dpi=90)
        # fixed places: a layout that looks for room takes two seconds, every night
        figure.subplots_adjust(0.04, 0.25 / inches, 0.99, 1 - 0.25 / inches, wspace=0.22, hspace=0.45)
        for place, rule in enumerate(shown, start=1):
            row = rows[rule.statistic]
            axes = figure.add_subplot(height, COLUMNS, place)
            lower = row["bin_edges"]
            last = max((i for i, n in enumerate(row["histogram"]) if n), default=0)
            axes.stairs([math.log10(1 + n) for n in row["histogram"][: last + 1]], fill=True, color=BARS)
            for _, bound in rule.bounds():
                at = _place(bound, lower)
                if at <= last + 2:
                    axes.axvline(at, color=LIMIT, linewidth=1.2)
            step = max(1, (last + 1) // 4)
            axes.set_xticks(range(0, last + 1, step), [f"{lower[i]:.3g}" for i in range(0, last + 1, step)])
            marks = [0, *(10**power for power in range(0, len(str(max(row["histogram"]))) + 1, 2))]
            axes.set_yticks([math.log10(1 + mark) for mark in marks], [f"{mark:g}" for mark in marks])
            axes.set_title(rule.condition(), fontsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _place(bound: float, lower: list[float]) -> float:
    """Where a value lies on an axis whose unit is the bin."""
    below = max((i for i, edge in enumerate(lower) if edge <= bound), default=0)
    width = (lower[below + 1] if below + 1 < len(lower) else 2 * lower[below] or 1) - lower[below]
    return below + min(1.0, (bound - lower[below]) / width) if bound >= lower[0] else 0.0
