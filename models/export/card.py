"""The model card: markdown made from recorded metadata alone; a fact that was not recorded is an error, not a blank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.artifacts import digest, read_manifest
from models.config import InputError, TransformerConfig

VERSIONS = ("shards", "data", "tasks", "tokenizer_sha256")  # manifest fields that name an input
SETTINGS = ("recipe", "seed", "threads", "pretrain", "sft", "rl", "reward", "steps", "params")  # that say how
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
    for name in ("name", "digest", "parent", "license", "stage", "training", "data", "limits"):
        if not getattr(facts, name):
            raise InputError(f"the model card misses {name}")
    shape = facts.architecture
    size = f"{shape.n_params:,} parameters, {shape.n_layers} layers, width {shape.d_model}"
    heads = f"{shape.n_heads} query and {shape.n_kv_heads} key-value heads of {shape.head_dim}"
    lines = [
        "---",
        f"license: {facts.license}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [stemma]",
        "---",
        f"# {facts.name}",
        "",
        f"{_stage(facts.stage)} of {size}, context {shape.max_seq_len} tokens, vocabulary {shape.vocab_size}.",
        f"Architecture: Qwen3ForCausalLM, {heads}, SwiGLU {shape.d_ff}, rotary base {shape.rope_theta:g}.",
        "",
        "## Identity",
        *_table(("what", "version"), [("this model", facts.digest), ("parent", facts.parent), *facts.lineage.items()]),
        "",
        "## Data",
        *(f"- {sentence}" for sentence in facts.data),
        "",
        "## Training",
        *_table(("setting", "value"), sorted(_flatten(facts.training).items())),
        "",
        "## Figures",
        *_scores(facts.scores),
        "",
        "## Limits",
        *(f"- {sentence}" for sentence in facts.limits),
        "",
        "## Use",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        'model, tokenizer = (Auto.from_pretrained("PATH") for Auto in (AutoModelForCausalLM, AutoTokenizer))',
        "```",
    ]
    return "\n".join(lines) + "\n"


def card_of_manifest(model_dir: Path, extra: Mapping[str, Any]) -> str:
    """The card of a published model from its own manifest and config.json; `extra` overrides fields of CardFacts.

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
        **given,
    }
    return render_card(CardFacts(digest=digest(model_dir), architecture=architecture, scores=scores, **facts))


def _recorded_scores(manifest: Mapping[str, Any]) -> list[CardScore]:
    if "bpb_heldout" not in manifest:
        return []
    value, documents = manifest["bpb_heldout"], manifest["heldout_documents"]
    names = {"bpb_unigram": "unigram of the training tokens", "bpb_uniform": "uniform over the vocabulary"}
    return [
        CardScore("bits per byte, held-out documents", value, name, manifest[key], documents)
        for key, name in names.items()
    ]


def _scores(scores: Sequence[CardScore]) -> list[str]:
    if not scores:
        return ["No figure was recorded with this model."]
    rows = [
        (
            s.metric,
            f"{s.value:.4g}",
            f"{'undefined' if s.baseline is None else f'{s.baseline:.4g}'} ({s.baseline_name})",
            s.n,
        )
        for s in scores
    ]
    return _table(("metric", "this model", "baseline", "n"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    body = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header), *body]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _stage(stage: str) -> str:
    return STAGES.get(stage, f"A {stage} model")
