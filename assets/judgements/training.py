"""What the quality classifier learns from the labels, and what stands in for it while there are too few of them."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from assets.judgements.standing import majority
from assets.lake import Commit, Lake
from kernels.text.quality_model import PACKAGED
from models.artifacts import seal
from models.config import QualityConfig

ASSET, WEIGHTS, CONSUMED = "quality_classifier", "quality.safetensors", "consumed.parquet"
TEXTS = "texts.jsonl"


def examples(lake: Lake) -> pl.DataFrame:
    """doc_id, content_hash, label (1 good, 0 bad), text: of every judged text on which the labellers are not tied."""
    judged = lake.scan("labelled_texts").select("doc_id", "content_hash", "text")
    decided = majority(lake.scan("labels").collect())
    return decided.join(judged.collect(), on=["doc_id", "content_hash"]).sort("doc_id", "content_hash")


def enough(found: pl.DataFrame, settings: QualityConfig) -> bool:
    """Whether there are as many texts of either side as a classifier is worth training on."""
    return all(found.filter(pl.col("label") == side).height >= settings.least for side in (0, 1))


def write(found: pl.DataFrame, workdir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Writes what the program reads; returns its configuration.

    Which documents it will read is written first: a takedown finds the texts by it, whenever this is killed.
    """
    read = found.select("doc_id").unique().sort("doc_id").with_columns(tokens=pl.lit(0), times=pl.lit(1))
    read.write_parquet(workdir / CONSUMED)
    lines = (json.dumps({"text": row["text"], "label": row["label"]}) for row in found.iter_rows(named=True))
    (workdir / TEXTS).write_text("".join(f"{line}\n" for line in lines))
    paths = {"labels": str(workdir / TEXTS), "consumed": str(workdir / CONSUMED)}
    return {**paths, "name": "the labels of this home", "settings": settings}


def publish_packaged(lake: Lake, settings: QualityConfig) -> tuple[Commit, dict[str, Any]]:
    """Commits the weights that come with the package, and their figures; the manifest says that they are these."""
    content = PACKAGED.read_bytes()
    known = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["training"]
    why = f"fewer than {settings.least} labelled texts of a side, so the packaged weights stand in"
    (lake.local / "work").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=lake.local / "work") as scratch:
        (Path(scratch) / WEIGHTS).write_bytes(content)
        manifest = seal(Path(scratch), "quality-classifier", {**json.loads(known), "trained": False, "why": why})
        return lake.commit_dir(ASSET, Path(scratch)), manifest
