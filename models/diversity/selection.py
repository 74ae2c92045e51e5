"""`python -m models select`: the candidates that make the most varied instruction data, and the proof beside them.

The report holds the G-Vendi of the selection next to that of random subsets of the same size, of a selection by
shuffled features (which must be no better than random), and the finite-sample ceiling.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.artifacts import building, digest, publish, read_manifest, seal, write_json
from models.config import InputError, SelectionRecipe
from models.diversity.features import load_features
from models.diversity.prismatic import Selection, random_subset, select
from models.diversity.vendi import ceiling, g_vendi
from models.recipes import resolve
from models.seeds import derive
from models.tasks.candidates import CANDIDATES, read_candidates
from models.training.loop import deterministic

SELECTED = CANDIDATES.append(pa.field("round", pa.int32(), nullable=False))  # 0: the random start, else who let it in


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `select` command. Config: recipe (its selection), candidates_files, features_dir.

    Publishes selected.parquet (SELECTED, sorted by candidate_id; chosen_with is the model of the features) and
    report.json.
    """
    if not config.get("candidates_files") or not config.get("features_dir"):
        raise InputError("select needs candidates_files and features_dir")
    recipe = resolve(config)
    deterministic(recipe.threads, recipe.seed)
    rows = {row["candidate_id"]: row for row in read_candidates(config["candidates_files"])}
    ids, features = load_features(Path(config["features_dir"]))
    if unknown := sorted(set(ids) - set(rows)):
        raise InputError(f"{len(unknown)} candidates have features but are not in candidates_files: {unknown[0]} …")
    chosen = choose(ids, features, recipe.selection, recipe.seed)
    entered = {identity: number for identity, number in zip(chosen.ids, _rounds(chosen), strict=True)}
    figures = compare(ids, features, chosen, recipe.selection, recipe.seed)
    details = {
        **figures,
        "rounds": [dataclasses.asdict(entry) for entry in chosen.rounds],
        "families_offered": dict(sorted(Counter(rows[identity]["family"] for identity in ids).items())),
        "families_selected": dict(sorted(Counter(rows[identity]["family"] for identity in entered).items())),
        "selection": dataclasses.asdict(recipe.selection),
    }
    with building(out / "final") as temporary:
        proxy = {"chosen_with": read_manifest(Path(config["features_dir"]))["parent"]}
        table = [{**rows[identity], **proxy, "round": entered[identity]} for identity in sorted(entered)]
        pq.write_table(pa.Table.from_pylist(table, schema=SELECTED), temporary / "selected.parquet")
        write_json(temporary / "report.json", details)
        parent = digest(Path(config["features_dir"]))
        summary = {name: value for name, value in figures.items() if not isinstance(value, list)}
        manifest = seal(temporary, "selection", {**summary, "parent": parent, "seed": recipe.seed})
        publish(temporary, out / "final")
    report(
        f"select: {figures['selected']} of {figures['offered']} candidates, G-Vendi {figures['g_vendi']:.2f},"
        f" random {figures['g_vendi_random_mean']:.2f}, ceiling {figures['g_vendi_ceiling']:.1f}"
    )
    return {key: value for key, value in manifest.items() if key != "files"}


def choose(ids: Sequence[str], features_nk: np.ndarray, settings: SelectionRecipe, seed: int) -> Selection:
    """Prismatic selection with a recipe's settings."""
    return select(
        ids,
        features_nk,
        start=round(settings.start_fraction * len(ids)),
        rounds=settings.rounds,
        k_fraction=settings.k_fraction,
        keep_fraction=settings.keep_fraction,
        target=settings.target,
        seed=seed,
    )


def compare(
    ids: Sequence[str], features_nk: np.ndarray, chosen: Selection, settings: SelectionRecipe, seed: int
) -> dict[str, Any]:
    """G-Vendi (rounded to 1e-6) of the selection and of its two controls, each judged at its own size.

    Random: `random_draws` subsets of the selection's size. Shuffled: the same selection with features dealt to other
    candidates, judged by its own features, beside random subsets of its own size.
    """
    row_of = {identity: row for row, identity in enumerate(ids)}

    def diversity(members: Sequence[str]) -> float:
        return round(g_vendi(features_nk[[row_of[identity] for identity in members]]), 6)

    def random(size: int) -> list[float]:
        seeds = [derive(seed, "random subset", draw) for draw in range(settings.random_draws)]
        return [diversity(random_subset(ids, size, subset_seed)) for subset_seed in seeds]

    dealt = np.random.default_rng(derive(seed, "shuffled features")).permutation(len(ids))
    in_order = sorted(range(len(ids)), key=ids.__getitem__)  # dealt by id, not by position
    shuffled_features = np.empty_like(features_nk)
    shuffled_features[in_order] = features_nk[in_order][dealt]
    shuffled = choose(ids, shuffled_features, settings, seed).ids
    own, baseline, shuffled_baseline = diversity(chosen.ids), random(len(chosen.ids)), random(len(shuffled))
    return {
        "offered": len(ids),
        "selected": len(chosen.ids),
        "g_vendi": own,
        "g_vendi_random": baseline,
        "g_vendi_random_mean": round(float(np.mean(baseline)), 6),
        "g_vendi_random_sd": round(float(np.std(baseline, ddof=1)), 6),
        "wins_over_random": sum(own > value for value in baseline),
        "shuffled_selected": len(shuffled),
        "g_vendi_shuffled": diversity(shuffled),
        "g_vendi_shuffled_random_mean": round(float(np.mean(shuffled_baseline)), 6),
        "g_vendi_all": diversity(list(ids)),
        "g_vendi_ceiling": round(ceiling(len(chosen.ids), features_nk.shape[1]), 6),
    }


def _rounds(chosen: Selection) -> list[int]:
    numbers = [0] * chosen.start
    for entry in chosen.rounds:
        numbers += [entry.number] * entry.accepted
    return numbers
