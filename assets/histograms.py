"""Histograms of the statistics that a policy looks at, each with the policy's threshold, as one picture."""

import io
import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.policy import Policy

COLUMNS = 4
WIDTH = 3 * COLUMNS  # inches
TICK = 0.035  # inches
SHOWN = 32
BARS, LIMIT = "#2f6f8f", "#c05a3c"


def draw(summary: pl.DataFrame, policy: Policy) -> bytes | None:
    """A PNG with a panel for each bounded rule over all pages; None where there is none. Same input, same bytes.

    summary: rows of annotation_statistics. The vertical axis is logarithmic: what a rule drops is rare.
    """
    import matplotlib
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.figure import Figure

    rows = {row["statistic"]: row for row in summary.filter(pl.col("grouped_by") == "all").to_dicts()}
    shown = [rule for rule in policy.rules if rule.bounds() and rule.statistic in rows][:SHOWN]
    if not shown:
        return None
    fixed: Any = {"font.family": "DejaVu Sans", "font.size": 7}
    with matplotlib.rc_context(fixed):
        height = math.ceil(len(shown) / COLUMNS)
        inches = 1.7 * height
        figure = Figure(figsize=(WIDTH, inches), dpi=90)
        # one pair of axes for all panels: thirty of their own take a second, every night
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        panels = [_panel(place, height, inches) for place in range(len(shown))]
        bars: list[Any] = []
        limits, edges = [], []
        for panel, rule in zip(panels, shown, strict=True):
            row = rows[rule.statistic]
            lower, counts = row["bin_edges"], row["histogram"]
            last = max((i for i, n in enumerate(counts) if n), default=0)
            bounds = [at for at in (_place(bound, lower) for _, bound in rule.bounds()) if at <= last + 2]
            wide, high = 1.05 * max(last + 1, *bounds, 1), 1.05 * math.log10(1 + max(counts)) or 1
            across = [i / wide + 0.03 for i in range(last + 1)]
            bars += [panel.box(x, 0, 1 / wide, math.log10(1 + n) / high) for x, n in zip(across, counts) if n]
            limits += [[panel.at(at / wide + 0.03, y) for y in (0, 1)] for at in bounds]
            edges.append([panel.at(0, 1), panel.at(0, 0), panel.at(1, 0)])
            step = -(-(last + 1) // 5)  # five labels at most, so that long ones stay apart
            for i in range(0, last + 1, step):
                x, y = panel.at(across[i], 0)
                edges.append([(x, y), (x, y - TICK / inches)])
                axes.text(x, y - 2 * TICK / inches, f"{lower[i]:.3g}", ha="center", va="top", parse_math=False)
            for mark in [0, *(10**power for power in range(0, len(str(max(counts))) + 1, 2))]:
                if math.log10(1 + mark) <= high:
                    x, y = panel.at(0, math.log10(1 + mark) / high)
                    edges.append([(x - TICK / WIDTH, y), (x, y)])
                    axes.text(x - 2 * TICK / WIDTH, y, f"{mark:g}", ha="right", va="center", parse_math=False)
            x, y = panel.at(0.5, 1)
            axes.text(x, y + 2 * TICK / inches, rule.condition(), ha="center", va="bottom", parse_math=False)
        axes.add_collection(PatchCollection(bars, color=BARS, linewidth=0))
        axes.add_collection(LineCollection(edges, colors="black", linewidths=0.8))
        axes.add_collection(LineCollection(limits, colors=LIMIT, linewidths=1.2))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class Panel:
    """A panel's place in the picture, in parts of it."""

    x: float
    y: float
    width: float
    height: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place in the picture of one in the panel, both from 0 to 1 from below on the left."""
        return self.x + x * self.width, self.y + y * self.height

    def box(self, x: float, y: float, width: float, height: float) -> Any:
        """A rectangle in the panel."""
        from matplotlib.patches import Rectangle

        return Rectangle(self.at(x, y), width * self.width, height * self.height)


def _panel(place: int, rows: int, inches: float) -> Panel:
    """The place of a panel, counted along the rows from the top; margins in inches are the same for any number."""
    width, height = 0.95 / (COLUMNS + 0.22 * (COLUMNS - 1)), (1 - 0.5 / inches) / (rows + 0.45 * (rows - 1))
    row, column = divmod(place, COLUMNS)
    return Panel(0.04 + column * 1.22 * width, 1 - 0.25 / inches - height - row * 1.45 * height, width, height)


def _place(bound: float, lower: list[float]) -> float:
    """Where a value lies on an axis whose unit is the bin."""
    below = max((i for i, edge in enumerate(lower) if edge <= bound), default=0)
    width = (lower[below + 1] if below + 1 < len(lower) else 2 * lower[below] or 1) - lower[below]
    return below + min(1.0, (bound - lower[below]) / width) if bound >= lower[0] else 0.0
