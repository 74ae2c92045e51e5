"""What is shown of labels and of the classifier that learnt from them: figures, tables, a picture."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import polars as pl

from assets.curves import inline
from assets.judgements.said import LABELS
from assets.judgements.standing import agreements


class AtThreshold(NamedTuple):
    """Of the texts that score as much, held out: the share that is good, and what share of all good ones they are."""

    threshold: float
    precision: float
    recall: float


def at_thresholds(manifest: dict[str, Any]) -> list[AtThreshold]:
    """The cross-validated figures of a classifier, by rising threshold."""
    found = manifest["cross_validation"].items()
    rows = [(float(name[3:]), one["precision"], one["recall"]) for name, one in found if name.startswith("at_")]
    return [AtThreshold(*row) for row in sorted(rows)]


def of_labels(labels: pl.DataFrame) -> tuple[dict[str, int], dict[str, str]]:
    """Figures of the table labels, and markdown by title."""
    counts = dict(labels.group_by("label").len().iter_rows())
    lines = [
        f"| {one} | {other} | {a.n} | {a.observed:.0%} | {kappa_shown(a)} |" for one, other, a in agreements(labels)
    ]
    head = ["| labeller | labeller | texts of both | same label | kappa (95% interval) |", "|---|---|---:|---:|---:|"]
    figures = {label: counts.get(label, 0) for label in LABELS}
    figures |= {name: labels[column].n_unique() for name, column in (("pages", "doc_id"), ("labellers", "labeller"))}
    return figures, {"agreement": "\n".join([*head, *lines]) if lines else "No text has labels of two people."}


def kappa_shown(agreement: Any) -> str:
    """ "0.43 (0.31 to 0.55)"; a dash where kappa is not defined."""
    if agreement.kappa is None:
        return "–"
    return f"{agreement.kappa:.2f} ({agreement.low:.2f} to {agreement.high:.2f})"


def of_classifier(manifest: dict[str, Any], examples: pl.DataFrame) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures of a quality classifier, and markdown by title. examples: what there was to learn from."""
    figures, rows = manifest["cross_validation"], at_thresholds(manifest)
    table = ["| kept from score | precision | recall |", "|---:|---:|---:|"]
    table += [f"| {row.threshold:.2f} | {row.precision:.3f} | {row.recall:.3f} |" for row in rows]
    shown = {
        "trained": manifest["trained"],
        "good_texts": examples.filter(pl.col("label") == 1).height,
        "bad_texts": examples.filter(pl.col("label") == 0).height,
        "trained_on": manifest["trained_on"],
        "auc": figures["auc_mean"],
        "auc_spread": figures["auc_spread"],
        "auc_of_text_length": figures["auc_of_text_length"],
    }
    said = {"precision_and_recall": "\n".join(table), "curves": inline(draw(rows), "precision and recall")}
    return (shown if manifest["trained"] else {**shown, "why": manifest["why"]}), said


def draw(rows: list[AtThreshold]) -> bytes:
    """A PNG of precision and recall by threshold. Same figures, same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    fixed: Any = {"font.family": "DejaVu Sans", "font.size": 9}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(4.5, 2.8), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        for name in ("precision", "recall"):
            axes.plot([row.threshold for row in rows], [getattr(row, name) for row in rows], marker=".", label=name)
        axes.set(xlabel="score from which a page is kept", xlim=(0, 1), ylim=(0, 1.02), title="cross-validated")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
