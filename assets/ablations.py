"""`ablations`: small models trained on variants of the corpus, so that a filter earns its place. Made when asked."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import told
from assets.conventions import Group, Pool, experiment
from assets.curves import inline
from assets.making import Making, making
from assets.partitions import every_snapshot
from assets.programs import study
from assets.resources import LakeResource, Progress, RecipeResource
from assets.tracking import TrackingResource

SHOWN = ("variant", "bits_per_byte", "difference", "seeds_low", "seeds_high", "texts_low", "texts_high", "verdict")


@dg.asset(
    **experiment(Group.EXPERIMENTS, kinds={"pytorch", "mlflow", "parquet"}, version="1", pool=Pool.TRAINER),
    deps=[every_snapshot(name) for name in ("documents", "annotations", "contamination", "page_quality")],
)
def ablations(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """Corpora by filter (none, fineweb, its parts, strict, the home's own) ranked by what small models learn of them,
    with intervals: equal tokens, one tokenizer, sources in the same shares, several seeds, held-out texts of six kinds.
    """
    from assets.temporary import owned_folder

    with making(context, lake, recipe, progress) as made:
        with owned_folder(made.lake.local / "work", "scratch") as scratch:
            config, described = inputs(made, recipe.heldout_sets, scratch)
            commit, manifest, links = study(made, tracking, "ablate", config)
        rows = pl.read_parquet(made.lake.open_dir(made.asset) / "ranking.parquet")
        said = {"variants": told.table(described), "sets": dg.MetadataValue.json(manifest["sets"])}
        return made.result(commit, {**said, **tables(rows), **links}, tokens=trained(rows))


def inputs(made: Making, sets: str | None, scratch: Path) -> tuple[dict[str, Any], list[dict[str, str | int]]]:
    """What the program is told, its texts written to the scratch folder; and a row for every variant."""
    from assets import policy
    from assets.steps import decide, heldout_sets, variants
    from models.recipes import resolve

    settings, lake = resolve({"recipe": made.recipe}).ablation, made.lake
    chosen = variants.standard(policy.load(made.policy))
    held = heldout_sets.load(sets)
    columns = {name for one in chosen if one.policy for name in policy.looked_at(one.policy)}
    built = variants.make(
        variants.sampled(lake.scan("documents"), settings.documents),
        decide.annotated(lake, None, columns),
        chosen,
        {one.declared.name: one.texts for one in held},
        scratch,
        heldout_fraction=settings.heldout_fraction,
        heldout_documents=settings.heldout_documents,
        seed=resolve({"recipe": made.recipe}).seed,
    )
    config: dict[str, Any] = {"reference": variants.REFERENCE, "tokenizer_from": variants.REFERENCE}
    for name in ("texts", "members", "heldout"):
        config[name] = str(scratch / f"{name}.parquet")
        getattr(built, name).write_parquet(config[name])
    config |= {"weights": built.weights, "scratch": str(scratch), "sets": [one.described for one in held]}
    counts = dict(built.members.group_by("variant").len().iter_rows())
    rows: list[dict[str, str | int]] = [
        {"variant": one.name, "what": one.says, "policy": one.policy.id if one.policy else "none",
         "documents": counts.get(one.name, 0)}
        for one in chosen
    ]  # fmt: skip
    return config, rows


def tables(rows: pl.DataFrame) -> dict[str, Any]:
    """The ranking as a table for each held-out set, and as one plot."""
    said: dict[str, Any] = {}
    for (name,), some in rows.group_by("heldout", maintain_order=True):
        said[f"ranking/{name}"] = told.table(some.select(SHOWN).to_dicts())
    picture = inline(forest(rows), "bits per byte minus those of no filter")
    return said | {"ranking": dg.MetadataValue.md(picture)}


def trained(rows: pl.DataFrame) -> int:
    """Tokens of all trainings together."""
    once = rows.unique("variant")
    return int((once["tokens_trained"] * once["seeds"]).sum())


def forest(rows: pl.DataFrame) -> bytes:
    """A PNG of each variant's difference to the reference with its wider interval, a panel for each held-out set."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    sets = rows["heldout"].unique(maintain_order=True).to_list()
    names = sorted(rows["variant"].unique().to_list(), reverse=True)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(2.4 * len(sets) + 1, 0.3 * len(names) + 1), dpi=100, layout="constrained")
        for place, name in enumerate(sets, start=1):
            axes = figure.add_subplot(1, len(sets), place)
            for row in rows.filter(pl.col("heldout") == name).to_dicts():
                low, high = min(row["seeds_low"], row["texts_low"]), max(row["seeds_high"], row["texts_high"])
                colour = {"better": "#1b7837", "worse": "#b2182b"}.get(row["verdict"], "#666666")
                at = names.index(row["variant"])
                axes.plot([low, high], [at, at], color=colour, linewidth=1.4)
                axes.plot([row["difference"]], [at], color=colour, marker="o", markersize=4)
            axes.axvline(0, linestyle="--", linewidth=1, color="#888888")
            axes.set_yticks(range(len(names)), names if place == 1 else [""] * len(names))
            axes.set_title(name, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def objections(rows: pl.DataFrame) -> list[str]:
    """Why the ranking may not be believed: a control that came out otherwise than it must; empty when it may."""
    found = []
    for row in rows.to_dicts():
        if row["variant"] == "random_half" and row["verdict"] != "no difference shown":
            found.append(f"on {row['heldout']} a random half of the reference comes out {row['verdict']}")
        if row["variant"] == "shuffled" and row["verdict"] == "better":
            found.append(f"on {row['heldout']} shuffled words come out better than the reference")
    return found


@dg.asset_check(
    asset=dg.AssetKey("ablations"), description="A random half equals the whole, and shuffled words are not better."
)
def controls_come_out_as_they_must(lake: LakeResource) -> dg.AssetCheckResult:
    directory = lake.open().open_dir("ablations")
    found = objections(pl.read_parquet(directory / "ranking.parquet"))
    seeds = json.loads((directory / "manifest.json").read_text())["settings"]["seeds"]
    return dg.AssetCheckResult(passed=not found, metadata={"objections": found, "seeds": seeds})
