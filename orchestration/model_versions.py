"""Which corpus version each model was trained on, and the other way round, from what the materializations recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.lake import Lake
from assets.versions import CORPUS, CorpusVersion, UnknownVersion, Versions, digest_of
from orchestration.lineage import WHOLE
from orchestration.tracing import CHAMPION, MODELS, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARDS = "token_shards"
THROUGH = {"base_model": SHARDS, "sft_model": "base_model", "rl_model": "sft_model"}  # by whom a model met the corpus
RECORDED = "stemma/corpus_version"
MOST = 1000  # materializations of an asset that are looked through, newest first


def recorded(instance: dg.DagsterInstance, asset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(data version, metadata) of every materialization of an unpartitioned asset, newest first."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey([asset])), limit=MOST).records
    for record in records:
        event = record.asset_materialization
        if event is not None:
            version = (event.tags or {}).get("dagster/data_version", "")
            yield version, {name: entry.value for name, entry in event.metadata.items()}


def behind(instance: dg.DagsterInstance, asset: str, version: str) -> dict[str, Any]:
    """How that version of token_shards, or of a model, came about: {"corpus": digest, "shards": their data version,
    "tokens": of them, "config": of them}; what is not recorded is absent."""
    for found, metadata in recorded(instance, asset):
        if found != version:
            continue
        inputs: Mapping[str, Any] = metadata.get("stemma/inputs") or {}
        if asset == SHARDS:
            said = metadata.get(RECORDED) or digest_of(inputs.get(CORPUS) or {})
            config, tokens = metadata.get("stemma/config") or {}, metadata.get("stemma/tokens")
            return {"corpus": said, "shards": version, "tokens": tokens, "config": config, "inputs": inputs}
        parent = (inputs.get(THROUGH[asset]) or {}).get(WHOLE, "")
        # the same shards may come of two versions: the model's own record says of which
        own = {"corpus": metadata[RECORDED]} if RECORDED in metadata else {}
        return {**behind(instance, THROUGH[asset], parent), **own}
    return {}


def users(lake: Lake, instance: dg.DagsterInstance) -> dict[str, list[dict[str, Any]]]:
    """By corpus version, the token shards and models made of it, newest first: asset, digest, whether it is the one in
    use, whether its directory is still there, and the tokens of shards."""
    found: dict[str, list[dict[str, Any]]] = {}
    for asset in (SHARDS, *MODELS):
        current = lake.artifacts.version_of(asset) if (lake.artifacts.root / asset / "versions").is_dir() else ""
        seen = set()
        for version, metadata in recorded(instance, asset):
            made_of = behind(instance, asset, version) if RECORDED not in metadata else {"corpus": metadata[RECORDED]}
            if (version, made_of.get("corpus")) in seen or "corpus" not in made_of:
                continue
            seen.add((version, made_of["corpus"]))
            there = (lake.artifacts.root / asset / version / "manifest.json").is_file()
            one = {"asset": asset, "digest": version, "current": version == current, "there": there}
            one |= {"tokens": metadata.get("stemma/tokens")} if asset == SHARDS else {}
            found.setdefault(made_of["corpus"], []).append(one)
    return found


def of_model(known: Versions, instance: dg.DagsterInstance, model: str) -> tuple[CorpusVersion, dict[str, Any]]:
    """The corpus version that a model was trained on, and what `behind` says. Raises UnknownModel, UnknownVersion."""
    asset, digest = resolve(known.lake, model)
    made_of = behind(instance, asset, digest)
    if "corpus" not in made_of:
        raise UnknownVersion(f"no materialization says what {model} ({digest}) was trained on")
    return known.find(made_of["corpus"]), made_of


def is_model(name: str) -> bool:
    """Whether the name is one of a model."""
    return name in (CHAMPION, *MODELS)
