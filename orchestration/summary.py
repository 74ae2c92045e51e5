"""What a home holds, for people and machines: a row per asset, and the four figures that say whether it worked."""

import json
from collections.abc import Mapping
from typing import Any

from assets.lake import Lake
from orchestration.lineage import Node, State

SIZES = {"rows": "dagster/row_count", "tokens": "stemma/tokens", "bytes": "stemma/bytes", "seconds": "stemma/wall_s"}


def table(states: Mapping[Node, State]) -> list[dict[str, Any]]:
    """One row per asset: rows, tokens, bytes and seconds summed over its snapshots; None where it has none."""
    rows: dict[str, dict[str, Any]] = {}
    for node, state in states.items():
        row = rows.setdefault(node.asset, {"asset": node.asset, **dict.fromkeys(SIZES), "status": "current"})
        for name, key in SIZES.items():
            value = (state.metadata or {}).get(key)
            if value is not None:
                row[name] = (row[name] or 0) + value
        if state.status != "current":
            row["status"] = state.status
    for row in rows.values():
        if not row["rows"]:  # a directory, not a table
            row["rows"] = None
    return list(rows.values())


def figures(lake: Lake) -> dict[str, Any]:
    """The four figures with their neighbours. Raises ArtifactMissing before everything was made."""
    from assets.evaluation import ACCURACY, read_scores

    base = json.loads((lake.open_dir("base_model") / "manifest.json").read_text())
    report = json.loads((lake.open_dir("diverse_candidates") / "report.json").read_text())
    scores = read_scores(lake.open_dir("scorecard")).to_dicts()
    accuracy = {row["model"]: row for row in scores if row["metric"] == ACCURACY}
    return {
        "bits_per_byte": {
            "model": base["bpb_heldout"],
            "uniform": base["bpb_uniform"],
            "unigram": base["bpb_unigram"],
        },
        "sft_accuracy": _with_interval(accuracy["sft_model"]),
        "rl_accuracy": _with_interval(accuracy["rl_model"]),
        "g_vendi": {
            "selected": report["g_vendi"],
            "random": report["g_vendi_random_mean"],
            "random_draws": report["g_vendi_random"],
            "ceiling": report["g_vendi_ceiling"],
            "n": report["selected"],
        },
    }


def _with_interval(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("value", "low", "high", "n", "baseline_random")}
