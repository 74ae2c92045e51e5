"""Cards for people, made from metadata alone: the corpus card with its funnel, the facts of the model card, and the
card of any checkpoint. The whole data card is in data_card.py.

What an asset writes (`write_corpus_card`, `model_facts`) is part of its bytes: a word changed there is a new version.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.lake import Lake
from assets.policy import Policy
from models.export.card_form import Bullets, Card, Cell, Commands, Prose, Table, present, section

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


@dataclass(frozen=True)
class CheckpointFacts:
    """What the home knows of a checkpoint beside its own manifest."""

    asset: str
    directory: Path
    scores: Sequence[Mapping[str, Any]]  # rows of the scorecard, in the order to show them
    data: Sequence[str]  # a sentence for each thing that it and its parents learned from
    lineage: Mapping[str, str]  # what → digest, of parents, data, runs
    recipe: str
    corpus_version: str | None = None
    outdated: Sequence[str] | None = None  # because of what; (): of nothing; None: not known
    replaced_by: str | None = None  # digest of the version in use, where that is another
    takedowns: Sequence[int] = ()  # numbers of those whose pages it has read
    exports: int = 0
    families: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # scores by family of tasks


def checkpoint_card(facts: CheckpointFacts) -> Card:
    """The model card of one checkpoint, whichever it is: what its own manifest says, and what the home knows."""
    from models.export.card import facts_of_manifest, model_card

    said = facts_of_manifest(facts.directory, {"data": list(facts.data), "lineage": dict(facts.lineage)})
    said = replace(said, limits=[*said.limits, *_measured_limits(facts.scores)])
    more = [
        section("Figures by family of tasks", _figures(facts.families)),
        section(
            "Intended use",
            Bullets(
                (
                    "To study what data make of a model: every document that it read can be named, and withdrawn.",
                    "To be compared with models of the same recipe and other data.",
                    "Not for people to rely on: nobody has measured what it says beyond the figures above.",
                )
            ),
        ),
        section("What is outdated", *_standing(facts)),
        section("To make it again", Commands(_remaking(facts), "sh")),
    ]
    return model_card(said, present(more), _figures(facts.scores) if facts.scores else None)


def _measured_limits(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures say that it cannot do."""
    found = {row["metric"]: row for row in scores}
    said = []
    if (bits := found.get("bits_per_byte")) and bits["low"] > bits["baseline_random"]:
        said.append(
            f"It predicts web text worse than token frequencies do: {bits['value']:.3g} bits per byte against "
            f"{bits['baseline_random']:.3g}."
        )
    if (right := found.get("accuracy_greedy")) and right["low"] <= right["baseline_random"]:
        said.append(
            f"On held-out tasks it is not shown to be better than answers drawn at random: {100 * right['value']:.1f}% "
            f"against {100 * right['baseline_random']:.1f}%."
        )
    return said


def _figures(scores: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            row["metric"],
            row["value"],
            f"{row['low']:.4g} to {row['high']:.4g}",
            row["baseline_uniform"],
            row["baseline_random"],
            row["n"],
        )
        for row in scores
    ]
    return Table(("metric", "this model", "95% interval", "uniform", "random", "n"), tuple(rows))


def _standing(facts: CheckpointFacts) -> list[Prose | Bullets]:
    said: list[Prose | Bullets] = []
    if facts.takedowns:
        numbers = ", ".join(map(str, facts.takedowns))
        said.append(Prose(f"It, or a parent of it, has read pages that were withdrawn since: takedown {numbers}."))
    if facts.exports:
        copies = "a copy of it was" if facts.exports == 1 else f"{facts.exports:,} copies of it were"
        said.append(Prose(f"{copies[0].upper()}{copies[1:]} exported."))
    if facts.replaced_by is not None:
        said.append(Prose(f"Another version of {facts.asset} is in use: `{facts.replaced_by}`."))
    elif facts.outdated is not None:
        nothing = "Nothing: the present data, code and settings would give it again."
        said += [Prose("It is, because of:"), Bullets(tuple(facts.outdated))] if facts.outdated else [Prose(nothing)]
    return said


def _remaking(facts: CheckpointFacts) -> str:
    lines = [f"stemma trace {facts.asset} --verify   # the crawl records behind the one in use"]
    if facts.corpus_version is not None:
        lines.append(f"stemma versions get {facts.corpus_version} --out DIR --shards   # the data that it learned from")
    return "\n".join([*lines, f"STEMMA_RECIPE={facts.recipe} stemma demo   # made again from the crawl"])


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "none"
