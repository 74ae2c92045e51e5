"""Made data as a page shows it: where its rows come from, of which families and lengths, and how diverse they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from assets.descent import MADE_DATA, is_current, manifest_of
from assets.lake import Lake
from orchestration.checkpoints import Checkpoint
from orchestration.pages.model_reading import Share, shares

GENERATORS_SHOWN = 12


class UnknownData(LookupError):
    """No made data of that name or version is here."""


@dataclass(frozen=True)
class MadeData:
    """One version of synthetic_candidates, diverse_candidates, sft_dataset or rl_tasks."""

    asset: str
    digest: str
    current: bool
    rows: int
    manifest: Mapping[str, Any]
    families: tuple[Share, ...]
    splits: tuple[Share, ...]
    teachers: tuple[Share, ...]
    generators: tuple[Share, ...]
    documents: int  # crawl documents whose text went in
    lengths: tuple[int, ...]  # tokens of each example, where they are counted

    @property
    def counts(self) -> list[tuple[str, Any]]:
        """What the manifest counted or measured."""
        return [(key, value) for key, value in sorted(self.manifest.items()) if type(value) in (int, float)]

    def made(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint was trained on it."""
        inputs = checkpoint.record.inputs if checkpoint.record else {}
        return inputs.get(self.asset, {}).get("") == self.digest


def describe(lake: Lake, asset: str, digest: str) -> MadeData:
    """A version of made data; `current` is the one in use. Raises UnknownData, ArtifactMissing."""
    if asset not in MADE_DATA:
        raise UnknownData(f"no made data is called {asset[:64]}: there are {', '.join(MADE_DATA)}")
    directory = _directory(lake, asset, digest)
    file = directory / MADE_DATA[asset]
    columns = pl.read_parquet_schema(file)
    wanted = [name for name in ("family", "split", "teacher", "generator", "doc_ids", "valid") if name in columns]
    rows = pl.read_parquet(file, columns=wanted)
    lengths = pl.read_parquet(file, columns=["input_ids"])["input_ids"].list.len() if "input_ids" in columns else None
    documents = rows["doc_ids"].explode().drop_nulls().n_unique() if "doc_ids" in columns else 0
    return MadeData(
        asset=asset,
        digest=directory.name,
        current=is_current(lake, directory),
        rows=rows.height,
        manifest=manifest_of(directory),
        families=_by(rows, "family"),
        splits=_by(rows, "split"),
        teachers=_by(rows, "teacher"),
        generators=_by(rows, "generator", GENERATORS_SHOWN),
        documents=documents,
        lengths=tuple(lengths.to_list()) if lengths is not None else (),
    )


def _by(rows: pl.DataFrame, column: str, most: int = 40) -> tuple[Share, ...]:
    return shares(rows, column, "tokens", most) if column in rows.columns else ()


def _directory(lake: Lake, asset: str, digest: str) -> Path:
    name = lake.artifacts.version_of(asset) if digest == "current" else digest
    found = {path.parent.name: path.parent for path in (lake.artifacts.root / asset).glob("*/manifest.json")}
    if name not in found:
        raise UnknownData(f"{asset} has no version {name[:64]}: /models/data/{asset}/current is the one in use")
    return found[name]
