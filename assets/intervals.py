"""A PNG of figures with their intervals, a panel for each kind, each figure beside what it must be read against."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

# columns of what stands beside a figure, and how it is drawn
BESIDE = {"unigram": ("|", "#b35806"), "uniform": ("|", "#888888"), "chance": ("|", "#888888")}


def draw(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Rows of label, value, low, high and, where there is one, unigram, uniform and chance; from top to bottom.

    Panels without rows are left out. Same rows, same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    shown = {title: rows for title, rows in panels.items() if rows}
    tallest = max((len(rows) for rows in shown.values()), default=1)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 7}):
        figure = Figure(figsize=(4.4 * max(len(shown), 1), 0.2 * tallest + 0.9), dpi=100, layout="constrained")
        for place, (title, rows) in enumerate(shown.items(), start=1):
            _panel(figure.add_subplot(1, len(shown), place), title, rows)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Any, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    places = range(len(rows))
    values, lows, highs = ([row[name] for row in rows] for name in ("value", "low", "high"))
    axes.hlines(places, lows, highs, color="#2166ac", linewidth=1.2)
    axes.plot(values, places, linestyle="", marker="o", markersize=3, color="#2166ac")
    for name, (marker, colour) in BESIDE.items():
        drawn = [(row[name], place) for place, row in enumerate(rows) if row.get(name) is not None]
        if drawn:
            axes.plot(*zip(*drawn, strict=True), linestyle="", marker=marker, markersize=7, color=colour, label=name)
            axes.legend(fontsize=6, frameon=False)
    axes.set_yticks(places, [row["label"] for row in rows])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
