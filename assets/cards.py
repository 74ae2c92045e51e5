"""Cards for people, made from metadata alone: the corpus card with its funnel, and the facts of the model card."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.lake import Lake
from assets.policy import Policy

if TYPE_CHECKING:
    from assets.steps.funnel import Funnel

HEADLINES = ("bits_per_byte", "accuracy_greedy", "accuracy_sampled", "response_tokens")
LANGUAGES_SHOWN = 12


def write_corpus_card(directory: Path, lake: Lake, policy: Policy, snapshots: dict[str, str]) -> str:
    """README.md, funnel.png and funnel.json into a directory; returns the markdown.

    snapshots: data version of the corpus by snapshot. Raises AccountingError when two tables disagree.
    """
    from assets.steps.counted import count
    from assets.steps.funnel import draw

    funnel, found = count(lake, policy)
    languages = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:LANGUAGES_SHOWN]
    directory.mkdir(parents=True, exist_ok=True)
    card = corpus_card(funnel, dict(languages), snapshots)
    (directory / "README.md").write_text(card)
    (directory / "funnel.png").write_bytes(draw(funnel, "png"))
    (directory / "funnel.json").write_text(json.dumps(funnel.to_json(), indent=1, sort_keys=True) + "\n")
    return card


def corpus_card(funnel: "Funnel", languages: dict[str, int], snapshots: dict[str, str]) -> str:
    """The data card in markdown."""
    from assets.steps.funnel import rows

    lines = [
        "# Corpus card",
        "",
        f"{funnel.kept:,} documents, {funnel.kept_bytes:,} bytes of text, from {funnel.records:,} web archive records",
        f"in {funnel.files} files of {len(snapshots)} snapshots, under the policy `{funnel.policy}`. Personal data",
        "that the finder finds is replaced by placeholders; of every near-duplicate cluster one page is kept.",
        "",
        "![funnel](funnel.png)",
        "",
        "| step | pages |",
        "|---|---:|",
        *(f"| {what} | {pages:,} |" for what, pages in rows(funnel)),
        "",
        f"Records that are no page, by reason: {_listed(funnel.skipped)}.",
        "",
        f"Unreadable records, by reason: {_listed(funnel.rejects)}.",
        "",
        f"Languages of all pages: {_listed(languages)}.",
        "",
        "| snapshot | data version |",
        "|---|---|",
        *(f"| {name} | `{version}` |" for name, version in sorted(snapshots.items())),
    ]
    return "\n".join(lines) + "\n"


def model_facts(scores: pl.DataFrame, model: str, corpus: Path) -> dict[str, Any]:
    """What the released model's card says beside the checkpoint's own manifest: scores with baselines, and the data.

    corpus: directory of the corpus card.
    """
    funnel = json.loads((corpus / "funnel.json").read_text())
    headlines = scores.filter((pl.col("model") == model) & pl.col("metric").is_in(HEADLINES)).to_dicts()
    return {
        "scores": [
            {
                "metric": row["metric"],
                "value": row["value"],
                "baseline_name": name.removeprefix("baseline_"),
                "baseline": row[name],
                "n": row["n"],
            }
            for row in headlines
            for name in ("baseline_uniform", "baseline_random")
        ],
        "data": [
            f"{funnel['kept']:,} web pages, {funnel['kept_bytes']:,} bytes of text after filters, dedup, scrubbing.",
            "Synthetic instructions, answers checked by majority vote, chosen for the diversity of their gradients.",
            "Procedural tasks with exact answers, rewarded by verification.",
        ],
        "lineage": {"corpus card": corpus.name},
    }


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "none"
