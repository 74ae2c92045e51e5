"""Trains the quality classifier: `python -m models quality-classifier --config F --out DIR`.

config: `labels`, a JSON-lines file (gzip or plain) with `text` and `label` (1: people kept it, 0: not) on every line,
and where wanted `settings` (fields of QualityConfig), `name` (of what it was trained on) and `consumed` (a Parquet file
that names the documents behind the texts, kept beside the weights). DIR/final gets `quality.safetensors`, as
kernels/text/quality_model.py reads it, and in its metadata the cross-validated figures: every text is scored by weights
that were fitted without it and without any text that equals it, over several divisions into folds.
"""

import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from safetensors.numpy import save_file

from kernels.text.quality_model import BITS, features
from models.artifacts import building, publish, seal, sha256_file
from models.config import InputError, QualityConfig, from_dict

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
KIND = "quality-classifier"
MOST_STEPS = 50  # of Newton's method, which takes about ten

Features = tuple[np.ndarray, np.ndarray]  # a text's buckets and values


@dataclass(frozen=True)
class Labelled:
    """A text and whether people kept it."""

    text: str
    label: int


def read_labels(path: Path) -> list[Labelled]:
    """The labelled texts of a JSON-lines file. Raises InputError that names the line."""
    if not path.is_file():
        raise InputError(f"labels file {path} does not exist")
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return list(_parsed(path, file))


def _parsed(path: Path, lines: Any) -> Iterator[Labelled]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            text, label = row["text"], row["label"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}: a JSON object with text and label is wanted") from error
        if not isinstance(text, str) or label not in (0, 1):
            raise InputError(f"{path}, line {number}: text is a string and label 0 or 1")
        yield Labelled(text, int(label))


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `quality-classifier` command; returns the cross-validated figures."""
    if not config.get("labels"):
        raise InputError("quality-classifier needs labels, a JSON-lines file with text and label")
    settings = from_dict(QualityConfig, config.get("settings", {}))
    path = Path(config["labels"])
    labelled = read_labels(path)
    rows = sampled(labelled, settings.most)
    if min(sum(row.label == label for row in rows) for label in (0, 1)) < settings.folds:
        raise InputError(f"{path}: at least {settings.folds} texts of either label are wanted")
    torch.set_num_threads(1)  # sums are added in one order only
    found, y = [features(row.text) for row in rows], np.array([row.label for row in rows], float)
    products = gram(found)
    outside = [held_out(products, y, rows, settings, seed) for seed in range(settings.seeds)]
    slope, offset = platt(np.concatenate(outside), np.tile(y, settings.seeds))
    lengths = np.array([len(row.text) for row in rows], float)
    figures = {"auc_of_text_length": _round(area_under_curve(lengths, y))}
    figures |= cross_validated(outside, y, (slope, offset))
    report(f"{KIND}: {len(rows)} texts, AUC {figures['auc_mean']} ± {figures['auc_spread']}")
    share, bias = fit(products, y, settings.strength)
    identity = {
        "trained": True,
        "texts": len(rows),
        "texts_left_out": len(labelled) - len(rows),
        "good": int(y.sum()),
        "labels_sha256": sha256_file(path),
        "trained_on": config.get("name", path.name),
        "settings": asdict(settings),
        "auc": figures["auc_mean"],
        "cross_validation": figures,
    }
    with building(out / "final") as temporary:
        calibration = np.array([slope, offset + slope * bias], np.float32)
        target = temporary / "quality.safetensors"
        save_file(
            {"weights": weights_of(found, share), "calibration": calibration},
            target,
            {"training": json.dumps(identity, sort_keys=True)},
        )
        if config.get("consumed"):
            shutil.copyfile(config["consumed"], temporary / "consumed.parquet")
        seal(temporary, KIND, identity)
        publish(temporary, out / "final")
    return identity


def sampled(rows: Sequence[Labelled], most: int) -> list[Labelled]:
    """At most so many rows of either label, in their order: those whose text's hash is least."""
    kept: set[int] = set()
    for label in (0, 1):
        ours = [place for place, row in enumerate(rows) if row.label == label]
        ours.sort(key=lambda place: (xxhash.xxh3_64_intdigest(rows[place].text.encode("utf-8", "replace")), place))
        kept.update(ours[:most])
    return [rows[place] for place in sorted(kept)]


def gram(found: Sequence[Features]) -> torch.Tensor:
    """float64[texts, texts]: the inner products of the texts' features, as `features` gives them."""
    dense = torch.zeros(len(found), 2**BITS)
    for row, (buckets, values) in enumerate(found):
        dense[row, torch.from_numpy(buckets.astype(np.int64))] = torch.from_numpy(values)
    return (dense @ dense.T).double()


def fit(products: torch.Tensor, y: np.ndarray, strength: float) -> tuple[torch.Tensor, float]:
    """The penalised logistic regression: how much of each text its weights are, float64[texts], and its bias.

    The optimum lies in the span of the texts, so Newton's method (iteratively reweighted least squares; Rasmussen and
    Williams 2006, algorithm 3.1, with a free bias) solves for as many unknowns as there are texts, not buckets.
    """
    target = torch.from_numpy(y.astype(np.float64))
    share, bias = torch.zeros_like(target), 0.0

    def objective(share: torch.Tensor, bias: float) -> float:
        logits = products @ share
        errors = torch.nn.functional.binary_cross_entropy_with_logits(logits + bias, target, reduction="sum")
        return float(strength * errors + 0.5 * share @ logits)

    value = objective(share, bias)
    for _ in range(MOST_STEPS):
        logits = products @ share + bias
        kept = torch.sigmoid(logits)
        root = (strength * kept * (1 - kept)).clamp_min(1e-12).sqrt()
        system = root[:, None] * products * root
        system.diagonal().add_(1.0)
        sides = torch.stack([root * logits + strength * (target - kept) / root, root], 1)
        solved = root[:, None] * torch.cholesky_solve(sides, torch.linalg.cholesky(system))
        aim_bias = float(solved[:, 0].sum() / solved[:, 1].sum())
        aim = solved[:, 0] - aim_bias * solved[:, 1]
        for step in (1.0, 0.5, 0.25, 0.125, 0.0625):
            next_share, next_bias = share + step * (aim - share), bias + step * (aim_bias - bias)
            if (next_value := objective(next_share, next_bias)) < value:
                break
        else:
            break  # no way is down: this is the optimum, as exactly as numbers tell
        gained, share, bias, value = value - next_value, next_share, next_bias, next_value
        if gained < 1e-10 * value:
            break
    return share, bias


def weights_of(found: Sequence[Features], share: torch.Tensor) -> np.ndarray:
    """float32[2**BITS]: the sum of the texts' features, each so much."""
    weights = np.zeros(2**BITS)
    for (buckets, values), much in zip(found, share.tolist(), strict=True):
        weights[buckets] += much * values
    return weights.astype(np.float32)


def held_out(
    products: torch.Tensor, y: np.ndarray, rows: Sequence[Labelled], settings: QualityConfig, seed: int
) -> np.ndarray:
    """Every text's sum by weights fitted on the other folds; equal texts share a fold, which their hash chooses."""
    hashes = [xxhash.xxh64_intdigest(row.text.encode("utf-8", "replace"), seed=seed) for row in rows]
    fold = np.array([one % settings.folds for one in hashes])
    sums = np.zeros(len(rows))
    for number in range(settings.folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        share, bias = fit(products[inside][:, inside], y[inside], settings.strength)
        sums[outside] = (products[outside][:, inside] @ share).numpy() + bias
    return sums


def platt(sums: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic regression of labels on sums."""
    from models.text.language import logistic

    offset, slope = logistic(np.stack([np.ones_like(sums), sums], 1), y)
    return float(slope), float(offset)


def cross_validated(outside: Sequence[np.ndarray], y: np.ndarray, calibration: tuple[float, float]) -> dict[str, Any]:
    """AUC with its spread over divisions; precision and recall by threshold of the calibrated score, their means."""
    slope, offset = calibration
    scores = [1 / (1 + np.exp(-(slope * sums + offset))) for sums in outside]
    areas = [area_under_curve(one, y) for one in scores]
    figures: dict[str, Any] = {"auc_mean": _round(np.mean(areas)), "auc_spread": _round(np.std(areas))}
    figures["majority_accuracy"] = _round(max(y.mean(), 1 - y.mean()))
    figures["accuracy"] = _round(np.mean([((one > 0.5) == y).mean() for one in scores]))
    for threshold in THRESHOLDS:
        kept = [one >= threshold for one in scores]
        precision = np.mean([y[k].mean() if k.any() else 1.0 for k in kept])
        recall = np.mean([k[y == 1].mean() for k in kept])
        figures[f"at_{threshold}"] = {"precision": _round(precision), "recall": _round(recall)}
    return figures


def area_under_curve(scores: np.ndarray, y: np.ndarray) -> float:
    """The chance that a kept text scores above one that was not; ties count half."""
    kept, others = np.sort(scores[y == 1]), np.sort(scores[y == 0])
    below = np.searchsorted(others, kept, "left") + np.searchsorted(others, kept, "right")
    return float(below.mean() / (2 * others.size))


def _round(value: Any) -> float:
    return round(float(value), 4)
