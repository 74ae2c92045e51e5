"""The configuration of every asset: the part of the recipe, policy or crawl listing that decides its bytes.

An asset is outdated when its configuration differs from the one its materialization recorded, so nothing that leaves
the bytes alone (worker count, paths) belongs here.
"""

import dataclasses
import hashlib
import json
from typing import Any

# which fields of the recipe (models/config.py) each learning stage follows; seed and threads are added to all
RECIPE_FIELDS: dict[str, tuple[str, ...]] = {
    "tokenizer": ("vocab_size",),
    "token_shards": ("heldout_fraction",),
    "base_model": ("model", "pretrain"),
    "synthetic_candidates": ("synthesis",),
    "gradient_features": ("selection",),
    "diverse_candidates": ("selection",),
    "sft_dataset": ("sft",),
    "sft_model": ("sft",),
    "rl_tasks": ("tasks",),
    "rl_model": ("rl",),
    "base_evaluation": ("evaluation",),
    "ablations": ("ablation",),
    "scorecard": ("rl",),
    "released_model": (),
}
# assets whose figures a policy file decides
POLICY_DECIDES = ("decisions", "corpus_card", "annotation_statistics")
# of the policy, only these fields of `dedup`
CUT_FIELDS = {"cut_lines", "cut_paragraphs", "cut_line_characters", "cut_substrings_bytes"}
DEDUP_DECIDES = {
    "duplicate_clusters": {"similarity"},
    "repeated_text": CUT_FIELDS,
    "corpus": CUT_FIELDS,
    "corpus_clusters": {"similarity"},
}

LINE_FILTER_DECIDES = ("signatures", "duplicate_clusters", "corpus", "corpus_clusters")
# assets that read the corpus, and leave out what another snapshot has where the policy says so
SCOPE_DECIDES = ("tokenizer", "token_shards")


def unread(asset: str, policy: str) -> set[str]:
    """Of an asset's declared inputs those that it does not read under this policy: what changes there is no news to it.

    So a label, or a classifier that learnt from it, touches no decision of a policy that does not ask for its score.
    """
    if asset not in ("decisions", "ablations"):
        return set()
    from assets.policy import load, looked_at
    from assets.policy.rules import CURATED

    return set() if CURATED in looked_at(load(policy)) else {"page_quality"}


def recipe_part(asset: str, recipe: str) -> dict[str, Any]:
    """The fields of the named recipe that decide the asset's bytes. Raises models.config.InputError."""
    from models.config import as_dict
    from models.recipes import resolve

    whole = as_dict(resolve({"recipe": recipe}))
    common = {"seed": whole["seed"], "threads": whole["threads"]}
    return common | {name: whole[name] for name in RECIPE_FIELDS[asset] if name in whole}


def config_of(
    asset: str,
    *,
    recipe: str,
    policy: str,
    files: list[tuple[str, int]] | None = None,
    evaluation_sets: str | None = None,
    follows: list[dict[str, Any]] | None = None,
    judged: str | None = None,
    heldout_sets: str | None = None,
) -> dict[str, Any]:
    """The configuration of an asset. `files` (path below the crawl root, bytes) decides crawl_manifest alone, the
    folder `evaluation_sets` (None: the bundled samples) contamination alone, what subscriptions ask of the snapshot
    (`follows`) crawl_fetches alone, the state of what people judged (`judged`) the assets that put it in tables, the
    folder `heldout_sets` ablations alone."""
    if asset in ("labels", "preferences"):
        return {"judged": judged or ""}
    if asset == "quality_classifier":
        from models.config import QualityConfig

        return dataclasses.asdict(QualityConfig())
    if asset == "crawl_fetches":
        return {"follows": follows or []}
    if asset == "crawl_manifest":
        return {"files": [list(file) for file in files or []]}
    if asset == "documents":
        from assets.policy import load

        chosen = load(policy)
        return {"extractor": chosen.extractor} | ({} if chosen.opt_outs == "ignored" else {"opt_outs": chosen.opt_outs})
    if asset == "contamination":
        from assets.steps import evaluation_sets as sets

        return {"sets": sets.load(evaluation_sets).digest}
    if asset == "ablations":
        from assets.policy import load
        from assets.steps import heldout_sets as held

        own = load(policy)
        decided = {"policy": own.id, "rules": own.digest, "sets": held.digest(heldout_sets)}
        return recipe_part(asset, recipe) | decided
    if asset in POLICY_DECIDES:
        from assets.policy import load

        chosen = load(policy)
        return {"policy": chosen.id, "rules": chosen.digest}
    if asset in DEDUP_DECIDES or asset in LINE_FILTER_DECIDES:
        from assets.policy import load

        chosen = load(policy)
        fields = DEDUP_DECIDES.get(asset, set())
        dedup = {"dedup": chosen.dedup.model_dump(mode="json", include=fields)} if fields else {}
        return dedup | ({"line_filter": chosen.line_filter} if asset in LINE_FILTER_DECIDES else {})
    return (recipe_part(asset, recipe) if asset in RECIPE_FIELDS else {}) | _mix(asset, policy)


def _mix(asset: str, policy: str) -> dict[str, Any]:
    """Which documents the policy takes and how often it repeats them, for the assets that do it; nothing by default."""
    if asset not in SCOPE_DECIDES:
        return {}
    from assets.policy import load

    chosen = load(policy)
    scope = {"dedup_scope": chosen.dedup.scope} if chosen.dedup.scope != "snapshot" else {}
    if asset != "token_shards" or not chosen.repetition:
        return scope
    return scope | {"repetition": {str(size): weight for size, weight in chosen.repetition.items()}}


def digest(value: Any) -> str:
    """First 32 hex of the sha256 of the value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
