"""The model card: markdown made from recorded metadata alone; a fact that was not recorded is an error, not a blank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.artifacts import digest, read_manifest
from models.config import InputError, TransformerConfig
from models.export.card_form import Bullets, Card, Cell, Commands, Prose, Section, Table, markdown, present

VERSIONS = ("shards", "data", "tasks", "tokenizer_sha256")  # manifest fields that name an input
SETTINGS = ("recipe", "seed", "threads", "pretrain", "sft", "rl", "reward", "steps", "params")  # that say how
USE = """from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (Auto.from_pretrained("PATH") for Auto in (AutoModelForCausalLM, AutoTokenizer))"""
STAGES = {"base": "A base model", "sft": "An instruction-tuned model", "rl": "A reinforcement-trained model"}


@dataclass(frozen=True)
class CardScore:
    """One measured figure beside the baseline it must be read against."""

    metric: str
    value: float
    baseline_name: str
    baseline: float | None  # None: this baseline is not defined for the metric
    n: int  # examples or documents measured


@dataclass(frozen=True)
class CardFacts:
    """Everything that a model card says."""

    name: str
    digest: str  # identity of the model
    parent: str  # identity of the model it was trained from, or what it started from
    license: str
    stage: str  # base, instruct, reinforcement …
    architecture: TransformerConfig
    training: Mapping[str, Any]  # recipe values, shown as they are
    data: Sequence[str]  # one sentence per data source, with its version
    scores: Sequence[CardScore]
    limits: Sequence[str]  # what the model is not for
    lineage: Mapping[str, str] = field(default_factory=dict)  # artifact to version


def render_card(facts: CardFacts) -> str:
    """The card in markdown with the YAML header that model hubs read; InputError names a fact that is empty."""
    head = ["---", f"license: {facts.license}", "library_name: transformers", "pipeline_tag: text-generation"]
    return "\n".join([*head, "tags: [stemma]", "---", markdown(model_card(facts))])


def model_card(facts: CardFacts, more: Sequence[Section] = (), figures: Table | None = None) -> Card:
    """The card; `more` sections stand before its last, which says how to load it. InputError names an empty fact.

    figures: to show in place of the scores among the facts.
    """
    for name in ("name", "digest", "parent", "license", "stage", "training", "data", "limits"):
        if not getattr(facts, name):
            raise InputError(f"the model card misses {name}")
    shape = facts.architecture
    size = f"{shape.n_params:,} parameters, {shape.n_layers} layers, width {shape.d_model}"
    heads = f"{shape.n_heads} query and {shape.n_kv_heads} key-value heads of {shape.head_dim}"
    kind = "Qwen3" if shape.qk_norm else "Llama"
    identity = [("this model", facts.digest), ("parent", facts.parent), *facts.lineage.items()]
    settings = [(name, str(value)) for name, value in sorted(_flatten(facts.training).items())]
    return Card(
        facts.name,
        (
            f"{_stage(facts.stage)} of {size}, context {shape.max_seq_len} tokens, vocabulary {shape.vocab_size}.",
            f"Architecture: {kind}ForCausalLM, {heads}, SwiGLU {shape.d_ff}, rotary base {shape.rope_theta:g}.",
        ),
        present(
            [
                Section("Identity", (Table(("what", "version"), tuple(identity)),)),
                Section("Data", (Bullets(tuple(facts.data)),)),
                Section("Training", (Table(("setting", "value"), tuple(settings)),)),
                Section("Figures", (figures or _scores(facts.scores),)),
                Section("Limits", (Bullets(tuple(facts.limits)),)),
                *more,
                Section("Use", (Commands(USE, "python"),)),
            ]
        ),
    )


def card_of_manifest(model_dir: Path, extra: Mapping[str, Any]) -> str:
    """The card of a published model in markdown: see `facts_of_manifest`."""
    return render_card(facts_of_manifest(model_dir, extra))


def facts_of_manifest(model_dir: Path, extra: Mapping[str, Any]) -> CardFacts:
    """What a published model's own manifest and config.json say; `extra` overrides fields of CardFacts.

    Scores come from the manifest's bits per byte when it holds them and `extra` has none.
    """
    manifest = read_manifest(model_dir)
    known = {"name", "license", "stage", "training", "data", "scores", "limits", "lineage", "parent"}
    if unknown := sorted(set(extra) - known):
        raise InputError(f"the model card has no fact {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
    architecture = TransformerConfig.from_json((model_dir / "config.json").read_text())
    kind = str(manifest["kind"]).removesuffix("_model")
    given = dict(extra)
    scores = [CardScore(**score) for score in given.pop("scores", [])] or _recorded_scores(manifest)
    versions = {key: value for key, value in manifest.items() if key in VERSIONS}
    settings = {key: value for key, value in manifest.items() if key in SETTINGS and value is not None}
    facts: dict[str, Any] = {
        "name": f"stemma-{kind}-{digest(model_dir)[:8]}",
        "parent": manifest.get("parent") or "none (trained from random weights)",
        "license": "apache-2.0",
        "stage": kind,
        "training": settings,
        "data": [f"Input artifact `{name}`, version `{version}`." for name, version in versions.items()],
        "limits": [
            f"A small model ({architecture.n_params:,} parameters): it shows how data became a model, not facts.",
            "Trained on web pages; it can repeat their errors and prejudices.",
        ],
        **(_of_elsewhere(manifest) if kind == "imported" else {}),
        **given,
    }
    return CardFacts(digest=digest(model_dir), architecture=architecture, scores=scores, **facts)


def _of_elsewhere(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of a model that Stemma did not train."""
    return {
        "parent": "none known (imported)",
        "license": "other",
        "training": {"imported": f"config and weights, sha256 {manifest['imported']}"},
        "data": ["Not known: the weights were imported, no document of theirs can be named or taken back."],
        "limits": ["Stemma did not train this model and has measured nothing of it."],
    }


def _recorded_scores(manifest: Mapping[str, Any]) -> list[CardScore]:
    if "bpb_heldout" not in manifest:
        return []
    value, documents = manifest["bpb_heldout"], manifest["heldout_documents"]
    names = {"bpb_unigram": "unigram of the training tokens", "bpb_uniform": "uniform over the vocabulary"}
    return [
        CardScore("bits per byte, held-out documents", value, name, manifest[key], documents)
        for key, name in names.items()
    ]


def _scores(scores: Sequence[CardScore]) -> Prose | Table:
    if not scores:
        return Prose("No figure was recorded with this model.")
    rows: list[tuple[Cell, ...]] = []
    for s in scores:
        baseline = f"{'undefined' if s.baseline is None else f'{s.baseline:.4g}'} ({s.baseline_name})"
        rows.append((s.metric, f"{s.value:.4g}", baseline, str(s.n)))
    return Table(("metric", "this model", "baseline", "n"), tuple(rows))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _stage(stage: str) -> str:
    return STAGES.get(stage, f"A {stage} model")
