"""Cards for people, made from metadata alone: the corpus card with its funnel, and the released model's card."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl

from assets.lake import Lake

PLOT_WIDTH_IN, ROW_HEIGHT_IN = 8.0, 0.32


def funnel(lake: Lake) -> dict[str, Any]:
    """Counts over all snapshots, from records to corpus rows; every loss has a name.

    Keys: records (by kind), rejects (by reason), documents, dropped (by reason), kept, duplicates, corpus, languages,
    bytes of text.
    """
    counts = lake.scan("record_counts").group_by("kind").agg(pl.col("records").sum()).sort("kind").collect()
    rejects = lake.scan("rejects").group_by("reason").len().sort("reason").collect()
    decisions = lake.scan("decisions").group_by("verdict", "reason").len().sort("reason", nulls_last=True).collect()
    clusters = lake.scan("duplicate_clusters").select(pl.len(), pl.col("survivor").sum()).collect().row(0)
    corpus = lake.scan("corpus").select(pl.len(), pl.col("text_bytes").sum()).collect().row(0)
    languages = lake.scan("annotations").group_by("language").len().sort("len", "language", descending=[True, False])
    dropped = decisions.filter(pl.col("verdict") == "dropped")
    return {
        "records": dict(zip(counts["kind"], counts["records"])),
        "rejects": dict(zip(rejects["reason"], rejects["len"])),
        "documents": int(decisions["len"].sum()),
        "dropped": dict(zip(dropped["reason"], dropped["len"])),
        "kept": int(decisions.filter(pl.col("verdict") == "kept")["len"].sum()),
        "duplicates": int(clusters[0] - clusters[1]),
        "corpus": int(corpus[0]),
        "text_bytes": int(corpus[1] or 0),
        "languages": dict(languages.head(12).collect().rows()),
    }


def funnel_plot(counts: dict[str, Any]) -> bytes:
    """The funnel as a PNG: what is left after each step, longest bar first. The same counts give the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [("pages", counts["documents"])]
    left = counts["documents"]
    for reason, number in sorted(counts["dropped"].items(), key=lambda item: (-item[1], str(item[0]))):
        left -= number
        bars.append((f"− {reason}", left))
    bars += [("− near-duplicates", left - counts["duplicates"]), ("corpus", counts["corpus"])]
    figure, axes = pyplot.subplots(figsize=(PLOT_WIDTH_IN, ROW_HEIGHT_IN * len(bars) + 0.8))
    labels, values = [name for name, _ in bars], [number for _, number in bars]
    axes.barh(labels, values, color="#3b6ea5")
    axes.invert_yaxis()
    axes.bar_label(axes.containers[0], padding=3)
    axes.set_xlabel("pages left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80, metadata={"Software": None})
    pyplot.close(figure)
    return png.getvalue()


def corpus_card(counts: dict[str, Any], snapshots: dict[str, str], policy: str) -> str:
    """The data card in markdown. `snapshots`: data version of the corpus by snapshot."""
    records = sum(counts["records"].values())
    lines = [
        "# Corpus card",
        "",
        f"{counts['corpus']:,} documents, {counts['text_bytes']:,} bytes of text, from {records:,} web archive records",
        f"of {len(snapshots)} snapshots, under the policy `{policy}`. Personal data that the finder finds is replaced",
        "by placeholders; of every near-duplicate cluster one page is kept.",
        "",
        "![funnel](funnel.png)",
        "",
        "| step | pages |",
        "|---|---:|",
        f"| records read | {records:,} |",
        *(f"| · {kind} | {number:,} |" for kind, number in counts["records"].items()),
        f"| pages with a document row | {counts['documents']:,} |",
        *(f"| − {reason} | {number:,} |" for reason, number in counts["dropped"].items()),
        f"| kept by the policy | {counts['kept']:,} |",
        f"| − near-duplicates | {counts['duplicates']:,} |",
        f"| **corpus** | **{counts['corpus']:,}** |",
        "",
        "Unreadable records by reason: "
        + (", ".join(f"{reason} {number}" for reason, number in counts["rejects"].items()) or "none")
        + ".",
        "",
        "Languages of the pages: "
        + ", ".join(f"{language or 'none'} {number}" for language, number in counts["languages"].items())
        + ".",
        "",
        "| snapshot | data version |",
        "|---|---|",
        *(f"| {name} | `{version}` |" for name, version in sorted(snapshots.items())),
    ]
    return "\n".join(lines) + "\n"


def write_corpus_card(directory: Path, counts: dict[str, Any], snapshots: dict[str, str], policy: str) -> str:
    """README.md, funnel.png and funnel.json in a fresh directory; returns the markdown."""
    card = corpus_card(counts, snapshots, policy)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "README.md").write_text(card)
    (directory / "funnel.png").write_bytes(funnel_plot(counts))
    (directory / "funnel.json").write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    return card


def model_card(scores: pl.DataFrame, identity: dict[str, Any], parent: str, corpus: Path) -> str:
    """The released model's card: figures with their baselines, what it was made from, what it may not be used for."""
    counts = json.loads((corpus / "funnel.json").read_text())
    columns = scores.columns
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [stemma]",
        "---",
        "",
        "# A Stemma model",
        "",
        f"Checkpoint `{parent}`, exported for Hugging Face; the largest difference of a logit from the original is",
        f"{identity['largest_logit_difference']:.2g} in fp32. It was pretrained on {counts['corpus']:,} web pages",
        f"({counts['text_bytes']:,} bytes of text), tuned on synthetic instructions chosen for gradient diversity, and",
        "trained with verifiable rewards. `stemma trace champion` names every web record behind it.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(_cell(value) for value in row) + " |" for row in scores.rows()),
        "",
        "It is small and shows how such a model is made. Do not rely on what it says: it knows little, it repeats",
        "what web pages say, and it was not aligned for safety.",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
