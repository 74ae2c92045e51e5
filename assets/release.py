"""The `released_model`: what other engines load, with a card made from metadata; it alone moves the alias `champion`."""

import math
import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from assets.cards import model_card
from assets.conventions import Group, blocking_check, stage
from assets.evaluation import read_scores, score
from assets.making import Making, making
from assets.programs import run_program
from assets.resources import LakeResource, Progress, RecipeResource
from assets.tokens import manifest_of
from assets.tracking import TrackingResource, promote

RELEASED_FROM = "rl_model"
LARGEST_LOGIT_DIFFERENCE = 1e-4  # fp32, ours against transformers


class GateRefused(RuntimeError):
    """The model may not become the champion; the message says which condition it missed."""


@dg.asset(
    **stage(Group.RELEASE, kinds={"huggingface", "safetensors", "mlflow"}, version="1"),
    deps=[RELEASED_FROM, "scorecard", "corpus_card"],
)
def released_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """The champion as a Hugging Face directory whose logits equal ours, with its model card. Passing the gate is a must."""
    with making(context, lake, recipe, progress) as made:
        model_dir = made.lake.open_dir(RELEASED_FROM)
        gate(read_scores(made.lake.open_dir("scorecard")))
        exported = run_program(made, "export", {"model_dir": str(model_dir), "format": "hf"})
        directory, manifest = _assemble(made, exported, model_dir.name)
        commit = made.lake.commit_dir(made.asset, directory)
        state = promote(lake.path, tracking.address(lake.path), model_dir.name)
        card = (directory / "README.md").read_text()
        difference = manifest["largest_logit_difference"]
        return made.result(
            commit, {"card": dg.MetadataValue.md(card), "champion": state, "largest_logit_difference": difference}
        )


@blocking_check(
    released_model, description="Exported logits equal ours to 1e-4 and the champion is the present RL model."
)
def release_equals_our_model(lake: LakeResource) -> dg.AssetCheckResult:
    manifest, parent = manifest_of(lake, "released_model"), lake.open().open_dir(RELEASED_FROM).name
    difference = manifest["largest_logit_difference"]
    passed = difference <= LARGEST_LOGIT_DIFFERENCE and manifest["parent"] == parent
    return dg.AssetCheckResult(passed=passed, metadata={"largest_logit_difference": difference, "parent": parent})


def gate(scores: Any) -> None:
    """Raises GateRefused unless every figure is finite and the RL model is at least as accurate as the SFT model."""
    unsound = [f"{row['model']}.{row['metric']}" for row in scores.to_dicts() if not math.isfinite(row["value"])]
    if unsound:
        raise GateRefused(f"not finite: {', '.join(unsound)}")
    sft, rl = (score(scores, name, "accuracy") for name in ("sft_model", "rl_model"))
    if rl < sft:
        raise GateRefused(f"the RL model answers {rl:.1%} of the held-out tasks, the SFT model {sft:.1%}")


def _assemble(made: Making, exported: Path, parent: str) -> tuple[Path, dict[str, Any]]:
    """The exported directory with its card, sealed anew."""
    from models.artifacts import MANIFEST, read_manifest, seal

    identity = {key: value for key, value in read_manifest(exported).items() if key not in ("files", "kind")}
    directory = made.workdir / "released"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(exported, directory, ignore=shutil.ignore_patterns(MANIFEST))
    scores = read_scores(made.lake.open_dir("scorecard"))
    card = model_card(scores, identity, parent, made.lake.open_dir("corpus_card"))
    (directory / "README.md").write_text(card)
    return directory, seal(directory, "released_model", {**identity, "parent": parent})
