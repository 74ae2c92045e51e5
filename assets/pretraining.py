"""The `base_model`: a small transformer trained on the token shards."""

import math

import dagster as dg

from assets import told
from assets.conventions import Group, Pool, blocking_check, stage
from assets.making import making
from assets.programs import train
from assets.resources import LakeResource, Progress, RecipeResource
from assets.tokens import manifest_of
from assets.tracking import TrackingResource, points
from models.architecture import TransformerConfig
from models.nets.flops import training_flops


@dg.asset(
    **stage(Group.PRETRAINING, kinds={"pytorch", "mlflow"}, version="1", pool=Pool.TRAINER, trains=True),
    deps=["token_shards", "tokenizer"],
)
def base_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """The `plain` transformer after pretraining; beside the weights, which documents it consumed and how often."""
    from assets import curves

    with making(context, lake, recipe, progress) as made:
        sources = {name: made.lake.open_dir(name) for name in ("token_shards", "tokenizer")}
        config = {"shards_dir": str(sources["token_shards"]), "tokenizer_dir": str(sources["tokenizer"])}
        commit, manifest, links = train(made, tracking, "pretrain", config, parent=None, sources=sources)
        figures = {name: manifest[name] for name in ("bpb_heldout", "bpb_uniform", "bpb_unigram")}
        baselines = {"unigram": manifest["bpb_unigram"], "uniform": manifest["bpb_uniform"]}
        shown: dict[str, dg.MetadataValue] = {
            "figures": told.beside([("bits per held-out byte", manifest["bpb_heldout"], baselines)])
        }
        each = manifest["tokens_trained"] / manifest["steps"]
        net = TransformerConfig.from_json((made.workdir / "final" / "config.json").read_text())
        of_token = training_flops(net, net.max_seq_len) / net.max_seq_len
        if picture := curves.against_compute(points(made.workdir / "metrics.jsonl"), of_token, each):
            shown["learning_against_compute"] = dg.MetadataValue.md(curves.inline(picture, "learning against compute"))
        return made.result(commit, {**figures, **shown, **links}, tokens=manifest["tokens_trained"])


@blocking_check(base_model, description="Held-out bits per byte are finite and below the uniform baseline.")
def base_model_beats_uniform(lake: LakeResource) -> dg.AssetCheckResult:
    manifest = manifest_of(lake, "base_model")
    bits, uniform = manifest["bpb_heldout"], manifest["bpb_uniform"]
    return dg.AssetCheckResult(
        passed=math.isfinite(bits) and bits < uniform, metadata={"bpb_heldout": bits, "bpb_uniform": uniform}
    )
