"""A difference for people: a markdown report without HTML, and one picture. What strangers wrote is shown as code."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from assets.differences import Count, Difference, Only, Whole
from assets.safe_text import markdown, plot

REPORT, PICTURE, NUMBERS = "README.md", "difference.png", "difference.json"
LANGUAGES = 12
A, B, INK = "#2f6f8f", "#c05a3c", "#333333"


def write(found: Difference, folder: Path) -> None:
    """README.md, difference.png and difference.json into a folder that is there."""
    (folder / NUMBERS).write_text(json.dumps(found.to_json(), indent=1, default=str) + "\n")
    (folder / PICTURE).write_bytes(draw(found))
    (folder / REPORT).write_text(report(found))


def report(found: Difference) -> str:
    """The report in markdown."""
    a, b = found.a, found.b
    texts = f", {found.changed.documents:,} of them with another text" if found.texts_compared else ""
    lines = [
        "# Two corpora compared",
        "",
        *_table(
            ["", "A", "B"],
            [
                ["what", markdown(f"{a.kind} {a.name}"), markdown(f"{b.kind} {b.name}")],
                ["documents", f"{a.count.documents:,}", f"{b.count.documents:,}"],
                ["bytes of text", f"{a.count.bytes:,}", f"{b.count.bytes:,}"],
                ["tokens", _tokens(a), _tokens(b)],
                ["only here", f"{found.only_a.count.documents:,}", f"{found.only_b.count.documents:,}"],
            ],
        ),
        "",
        f"{found.common:,} documents are in both{texts}.",
        "",
        f"![difference]({PICTURE})",
    ]
    for mine, other, only in (("A", "B", found.only_a), ("B", "A", found.only_b)):
        lines += ["", f"## Only in {mine}: why not in {other}", "", *_reasons(only), *_samples(only)]
    funnels = [one.funnel for one in (a, b)]
    if any(funnels):
        lines += ["", "## Funnels", "", *_table(["reason", "A", "B"], _funnels(found))]
    lines += ["", "## Languages", "", *_table(["language", "A", "B"], _pairs(a.languages, b.languages, LANGUAGES))]
    lines += ["", "## Snapshots", "", *_table(["snapshot", "A", "B"], _pairs(a.snapshots, b.snapshots))]
    if found.hosts:
        rows = [[markdown(host), f"{one.documents:,}", f"{two.documents:,}"] for host, one, two in found.hosts]
        said = f"Those of {found.n_hosts:,} hosts that differ most."
        lines += ["", "## Hosts", "", said, "", *_table(["host", "A", "B"], rows)]
    return "\n".join(lines) + "\n"


def report_of_change(found: Difference) -> str:
    """What left (only in A) and what came (only in B), by reason, as one table. No page is named."""
    rows = [[way, *row] for way, only in (("left", found.only_a), ("came", found.only_b)) for row in _rows(only)]
    changed = [["other text", "", f"{found.changed.documents:,}", f"{found.changed.bytes:,}"]]
    table = _table(
        ["", "why not before or now", "documents", "bytes"], rows + (changed if found.texts_compared else [])
    )
    return "\n".join(table)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in [head, marks, *rows]]


def _tokens(whole: Whole) -> str:
    return "not known" if whole.tokens is None else f"{whole.tokens:,}"


def _rows(only: Only) -> list[list[str]]:
    return [[markdown(name), f"{one.documents:,}", f"{one.bytes:,}"] for name, one in only.reasons.items()]


def _reasons(only: Only) -> list[str]:
    rows = _rows(only)
    return _table(["reason", "documents", "bytes"], rows) if rows else ["None."]


def _samples(only: Only) -> list[str]:
    rows = [[markdown(row["doc_id"]), markdown(row["url"] or ""), markdown(because(row))] for row in only.samples]
    return ["", "Such as", "", *_table(["page", "url", "because"], rows)] if rows else []


def because(row: dict[str, Any]) -> str:
    """Why one side does not keep a page of the other, in words."""
    said = str(row["reason"])
    if row["takedown"] is not None and said == "takedown":
        return f"takedown {row['takedown']}"
    if row["duplicate_of"] is not None:
        return f"{said} of {row['duplicate_of']}" + ("" if row["score"] is None else f" ({row['score']:.2f})")
    if row["score"] is not None and row["threshold"] is not None:
        said += f" ({row['score']:.4g}, the limit is {row['threshold']:.4g})"
    return said + (f" of {row['policy']}" if row["policy"] else "")


def _funnels(found: Difference) -> list[list[str]]:
    one, two = found.a.funnel or {}, found.b.funnel or {}
    names = [name for name in dict.fromkeys([*one, *two]) if name != "kept"]
    cell = "{:,}".format
    return [
        [markdown(name), *(cell(side.get(name, 0)) if side else "not known" for side in (one, two))]
        for name in [*names, "kept"]
    ]


def _pairs(one: dict[str, Count], two: dict[str, Count], most: int | None = None) -> list[list[str]]:
    names = sorted(one.keys() | two.keys(), key=lambda name: (-max(_n(one, name), _n(two, name)), name))
    return [[markdown(name), f"{_n(one, name):,}", f"{_n(two, name):,}"] for name in names[:most]]


def _n(counts: dict[str, Count], name: str) -> int:
    return counts.get(name, Count()).documents


def draw(found: Difference) -> bytes:
    """A PNG: why pages are only in one, lengths and languages of both. Same difference, same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    fixed: Any = {"font.family": "DejaVu Sans", "font.size": 8}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(12, 3.6), dpi=100, layout="constrained")
        panels = [figure.add_subplot(1, 3, place) for place in (1, 2, 3)]
        _draw_reasons(panels[0], found)
        sizes = [k for whole in (found.a, found.b) for k in whole.lengths] or [0]
        bits = range(min(sizes) - 1, max(sizes) + 2)
        for whole, colour, label in ((found.a, A, "A"), (found.b, B, "B")):
            panels[1].step(bits, [whole.lengths.get(k, 0) for k in bits], where="mid", color=colour, label=label)
        panels[1].set_ylim(bottom=0)
        panels[1].set_title("documents by bytes of text, powers of 2", fontsize=8)
        panels[1].legend(frameon=False)
        rows = sorted(found.a.languages.keys() | found.b.languages.keys(), key=lambda n: (-_n(found.a.languages, n), n))
        for whole, colour, up in ((found.a, A, -0.2), (found.b, B, 0.2)):
            named = rows[:LANGUAGES]
            counts = [_n(whole.languages, name) for name in named]
            panels[2].barh([i + up for i in range(len(named))], counts, height=0.38, color=colour)
        panels[2].set_yticks(range(len(rows[:LANGUAGES])), [plot(name) for name in rows[:LANGUAGES]])
        panels[2].invert_yaxis()
        panels[2].set_title("documents by language", fontsize=8)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_reasons(axes: Any, found: Difference) -> None:
    """Pages only in A to the left, only in B to the right, by reason."""
    names = list(dict.fromkeys([*found.only_a.reasons, *found.only_b.reasons]))
    axes.barh(range(len(names)), [-_n(found.only_a.reasons, name) for name in names], color=A)
    axes.barh(range(len(names)), [_n(found.only_b.reasons, name) for name in names], color=B)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), [plot(name) for name in names])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.set_title("only in A (left) or B (right), by why not in the other", fontsize=8)
