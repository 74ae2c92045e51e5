"""Charts as SVG, each a pure function of its figures: same figures, same text. Colours are classes of stemma.css.

Widths are percentages, so a chart fills a phone as it fills a screen and its letters keep their size. Every chart has a
name for those who cannot see it; the page puts the figures into a table beside it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

HEIGHT, AXIS = 160, 22  # pixels: of the plot, and below it for the numbers
TICKS = 5


@dataclass(frozen=True)
class Mark:
    """A vertical line at a value, with a name: a threshold."""

    value: float
    name: str
    kind: str = "threshold"


@dataclass(frozen=True)
class Interval:
    """A named estimate with its interval."""

    name: str
    low: float
    value: float
    high: float


def bar(share: float, start: float = 0.0, kind: str = "kept") -> Markup:
    """One row's bar: from `start`, `share` wide, both of the whole width (0 to 1)."""
    x, width = (100 * min(max(one, 0.0), 1.0) for one in (start, share))
    return _drawn(
        f'<svg class="bar" aria-hidden="true" focusable="false"><rect class="track" width="100%" height="100%"/>'
        f'<rect class="{escape(kind)}" x="{x:.3f}%" width="{width:.3f}%" height="100%"/></svg>'
    )


def stacked(shares: Sequence[tuple[float, str]]) -> Markup:
    """One row's bar in several parts, each (share of the whole width, CSS class)."""
    parts, start = [], 0.0
    for share, kind in shares:
        parts.append(f'<rect class="{escape(kind)}" x="{100 * start:.3f}%" width="{100 * share:.3f}%" height="100%"/>')
        start += share
    return _drawn(
        '<svg class="bar" aria-hidden="true" focusable="false">'
        f'<rect class="track" width="100%" height="100%"/>{"".join(parts)}</svg>'
    )


def histogram(
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    *,
    name: str,
    marks: Sequence[Mark] = (),
    unit: str = "",
    logarithmic: bool = False,
) -> Markup:
    """Counts by bin, one series over another from the bottom up; `edges` are one more than bins, rising.

    counts: by series; its key is a CSS class as well (kept, dropped, a, b). logarithmic: heights by log(1 + count).
    """
    bins = len(edges) - 1
    height = math.log1p if logarithmic else float
    tops = [height(sum(series[i] for series in counts.values())) for i in range(bins)]
    most = max(tops, default=0.0) or 1.0
    low, high = edges[0], edges[-1]
    parts = []
    for i in range(bins):
        left, right = _x(edges[i], low, high), _x(edges[i + 1], low, high)
        total, below = sum(series[i] for series in counts.values()), 0.0
        for kind, series in counts.items():
            share = tops[i] * series[i] / total / most * HEIGHT if total else 0.0
            if share > 0:
                where = f'x="{left:.3f}%" y="{HEIGHT - below - share:.2f}" width="{max(right - left, 0.05):.3f}%"'
                told = escape(f"{kind}: {series[i]:,} from {_tick(edges[i])} to {_tick(edges[i + 1])}")
                parts.append(f'<rect class="{escape(kind)}" {where} height="{share:.2f}"><title>{told}</title></rect>')
            below += share
    return _framed(parts, low, high, marks, name, unit)


def lines(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    name: str,
    unit: str = "",
    levels: Mapping[str, float] | None = None,
    marks: Sequence[Mark] = (),
) -> Markup:
    """Curves of (x, y) points, x rising, and named levels to compare them with; a legend where there are several."""
    points = [point for curve in curves.values() for point in curve if math.isfinite(point[1])]
    if not points:
        return Markup('<p class="quiet">There are no points to draw.</p>')
    xs, ys = [x for x, _ in points], [y for _, y in points] + list((levels or {}).values())
    low, high, bottom, top = min(xs), max(xs), min(ys), max(ys)
    top = top if top > bottom else bottom + 1.0
    parts = [
        f'<line class="level" x1="0" x2="100%" y1="{_y(value, bottom, top):.2f}" y2="{_y(value, bottom, top):.2f}"/>'
        f'<text class="tick" x="100%" y="{_y(value, bottom, top) - 3:.2f}" text-anchor="end">{escape(told)}</text>'
        for told, value in (levels or {}).items()
    ]
    for i, curve in enumerate(curves.values()):
        drawn = [(_x(x, low, high), _y(y, bottom, top)) for x, y in curve if math.isfinite(y)]
        coordinates = " ".join(f"{10 * x:.2f},{y:.2f}" for x, y in drawn)
        parts.append(
            f'<svg viewBox="0 0 1000 {HEIGHT}" width="100%" height="{HEIGHT}" preserveAspectRatio="none">'
            f'<polyline class="line line-{i}" points="{coordinates}"/></svg>'
        )
        if len(drawn) <= 30:
            parts += [f'<circle class="dot line-{i}" cx="{x:.3f}%" cy="{y:.2f}" r="2.5"/>' for x, y in drawn]
    parts += [
        f'<text class="tick" x="2" y="{_y(value, bottom, top) + below:.2f}">{_tick(value)}</text>'
        for value, below in ((top, 10), (bottom, -3))
    ]
    keys = "".join(
        f'<span class="key"><svg width="12" height="8" aria-hidden="true"><rect class="key-{i}" width="12" height="8"/>'
        f"</svg> {escape(told)}</span>"
        for i, told in enumerate(curves)
    )
    legend = f'<p class="legend">{keys}</p>' if len(curves) > 1 else ""
    return _framed(parts, low, high, marks, name, unit) + _drawn(legend)


def intervals(rows: Sequence[Interval], *, name: str, unit: str = "") -> Markup:
    """Estimates one under another, each a dot with its interval."""
    if not rows:
        return Markup('<p class="quiet">There is nothing to compare yet.</p>')
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    step, parts = 26, []
    for i, row in enumerate(rows):
        y = step * i + 18
        a, v, b = (20 + 0.75 * _x(one, low, high) for one in (row.low, row.value, row.high))
        parts.append(
            f'<text class="tick" x="0" y="{y + 4}">{escape(row.name)}</text>'
            f'<line class="whisker" x1="{a:.3f}%" x2="{b:.3f}%" y1="{y}" y2="{y}"/>'
            f'<circle class="dot line-0" cx="{v:.3f}%" cy="{y}" r="4"><title>'
            f"{escape(row.name)}: {_tick(row.value)} ({_tick(row.low)} to {_tick(row.high)})</title></circle>"
        )
    height = step * len(rows) + 8
    ends = f'<text class="tick" x="20%" y="{height + 12}">{_tick(low)}</text>'
    ends += f'<text class="tick" x="95%" y="{height + 12}" text-anchor="end">{_tick(high)} {escape(unit)}</text>'
    return _drawn(
        f'<svg class="chart" role="img" aria-label="{escape(name)}" width="100%" height="{height + 18}">'
        f"{''.join(parts)}{ends}</svg>"
    )


def _drawn(svg: str) -> Markup:
    """SVG whose every name was escaped where it was put in."""
    return Markup(svg)  # noqa: S704


def _framed(parts: Sequence[str], low: float, high: float, marks: Sequence[Mark], name: str, unit: str) -> Markup:
    ticks = [low + (high - low) * i / (TICKS - 1) for i in range(TICKS)]
    anchors = ["start", *["middle"] * (TICKS - 2), "end"]
    axis = "".join(
        f'<text class="tick" x="{_x(value, low, high):.2f}%" y="{HEIGHT + 14}" text-anchor="{anchor}">'
        f"{_tick(value)}{' ' + escape(unit) if unit and i == TICKS - 1 else ''}</text>"
        for i, (value, anchor) in enumerate(zip(ticks, anchors))
    )
    drawn = "".join(
        f'<line class="{escape(mark.kind)}" x1="{at:.3f}%" x2="{at:.3f}%" y1="0" y2="{HEIGHT}">'
        f"<title>{escape(mark.name)}</title></line>"
        for mark in marks
        if 0 <= (at := _x(mark.value, low, high)) <= 100
    )
    base = f'<line class="axis" x1="0" x2="100%" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    return _drawn(
        f'<svg class="chart" role="img" aria-label="{escape(name)}" width="100%" height="{HEIGHT + AXIS}">'
        f"{''.join(parts)}{base}{drawn}{axis}</svg>"
    )


def _x(value: float, low: float, high: float) -> float:
    return 100 * (value - low) / (high - low) if high > low else 50.0


def _y(value: float, bottom: float, top: float) -> float:
    return HEIGHT - (HEIGHT - 12) * (value - bottom) / (top - bottom) - 4


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def even_edges(values: Sequence[float], bins: int = 40) -> list[float]:
    """`bins` even bins from the least to the greatest value; one wide bin where they are equal or there are none."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    high = high if high > low else low + 1.0
    return [low + (high - low) * i / bins for i in range(bins + 1)]
