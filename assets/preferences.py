"""The table `preferences`: what people preferred in blind pairs, in the form that a reward model learns from."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import Group, blocking_check, stage
from assets.judgements.votes import Match, Votes
from assets.lake import Lake
from assets.making import making
from assets.resources import LakeResource, Progress, RecipeResource

TABLE = "preferences"


@dg.asset(
    **stage(Group.CURATION, kinds={"deltalake", "polars"}, version="1", schema=schemas.table(TABLE).schema),
    deps=["base_model", "sft_model", "rl_model"],  # who speaks; a row names the very version
)
def preferences(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Votes on blind pairs of answers: prompt, both answers with model and seed, which was chosen; none of models that
    read pages which were taken down since."""
    with making(context, lake, recipe, progress) as made:
        matches = Votes(lake.path).voted()
        refused = withdrawn(lake.open(), matches)
        rows = table_of(one for one in matches if not {one.a.model, one.b.model} & refused)
        commit = made.lake.write(made.asset, rows, replace={})
        counts = {
            verdict: rows.filter(pl.col("verdict") == verdict).height for verdict in ("a", "b", "tie", "both_bad")
        }
        left_out = len(matches) - rows.height
        figures = {**counts, "left_out_because_of_takedowns": left_out}
        return made.result(commit, figures, schema=schemas.table(TABLE).schema)


@blocking_check(preferences, description="Every row compares two models, and its verdict says which text was chosen.")
def verdicts_name_the_chosen_text(lake: LakeResource) -> dg.AssetCheckResult:
    rows = lake.open().scan(TABLE).collect()
    left = (
        (pl.col("verdict") == "a") & (pl.col("chosen") == pl.col("text_a")) & (pl.col("rejected") == pl.col("text_b"))
    )
    right = (
        (pl.col("verdict") == "b") & (pl.col("chosen") == pl.col("text_b")) & (pl.col("rejected") == pl.col("text_a"))
    )
    neither = pl.col("verdict").is_in(["tie", "both_bad"]) & pl.col("chosen").is_null() & pl.col("rejected").is_null()
    sound = (pl.col("model_a") != pl.col("model_b")) & (left | right | neither)
    wrong = rows.filter(~sound.fill_null(False)).height
    return dg.AssetCheckResult(passed=wrong == 0 and not rows["vote_id"].has_nulls(), metadata={"wrong": wrong})


def table_of(matches: Iterable[Match]) -> pl.DataFrame:
    """Rows of the table, sorted by vote: no time, so the same votes give the same bytes whenever they are put in."""
    schema = pl.from_arrow(schemas.table(TABLE).schema.empty_table()).schema  # type: ignore[union-attr]
    rows = sorted((_row(one) for one in matches), key=lambda row: row["vote_id"])
    return pl.DataFrame(rows, schema=schema)


def withdrawn(lake: Lake, matches: Iterable[Match]) -> set[str]:
    """Digests of the models among these that read pages which somebody asked to take down."""
    from assets.takedowns import readers

    return {model for one in matches for model in (one.a.model, one.b.model)} & set(readers(lake))


def exported(rows: pl.DataFrame) -> Iterator[str]:
    """Lines of JSON in the usual form of preference data, one for each row in which one text was chosen.

    prompt: messages; chosen, rejected: messages of one assistant's turn each, as trainers of reward models read them.
    """
    for row in rows.filter(pl.col("chosen").is_not_null()).iter_rows(named=True):
        won, lost = ("a", "b") if row["verdict"] == "a" else ("b", "a")
        line = {
            "id": row["vote_id"],
            "prompt": row["messages"],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
            "chosen_model": row[f"model_{won}"],
            "rejected_model": row[f"model_{lost}"],
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"


def _row(one: Match) -> dict[str, Any]:
    chosen, rejected = {"a": (one.a, one.b), "b": (one.b, one.a)}.get(one.verdict or "", (None, None))
    return {
        "vote_id": one.vote_id,
        "match_id": one.id,
        "voter": one.voter,
        "verdict": one.verdict,
        "messages": one.messages,
        "chosen": chosen.text if chosen else None,
        "rejected": rejected.text if rejected else None,
        "text_a": one.a.text,
        "text_b": one.b.text,
        "model_a": one.a.model,
        "model_b": one.b.model,
        "asset_a": one.a.asset,
        "asset_b": one.b.asset,
        "seed_a": one.a.seed,
        "seed_b": one.b.seed,
        "draw": one.draw,
        **{name: one.sampling[name] for name in ("max_new_tokens", "temperature", "top_k", "top_p", "min_p")},
    }
