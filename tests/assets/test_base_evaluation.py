"""The base model's evaluation is in Dagster and on the model's MLflow run, and a figure that is none is refused."""

import json

import dagster as dg
import polars as pl
import pytest

from assets.base_evaluation import FIGURES, annotated, panels, read_figures, sound, tables
from assets.lake import Lake
from assets.resources import LakeResource
from assets.tracking import Mlflow, TrackingResource

NOT_DRAWN = ("in_context_gain", "tokens_continued")  # of other units than their neighbours


@pytest.fixture(scope="module")
def rows(smoke):
    return read_figures(Lake(str(smoke.home), local=smoke.home).open_dir("base_evaluation"))


def test_bits_per_byte_agree_with_the_models_manifest(smoke, rows):
    """Where the recipe's bounds take every held-out token; else they are of a part of them."""
    lake = Lake(str(smoke.home), local=smoke.home)
    manifest = json.loads((lake.open_dir("base_model") / "manifest.json").read_text())
    (row,) = rows.filter(measure="bits_per_byte", group="all").to_dicts()
    assert row["value"] == pytest.approx(manifest["bpb_heldout"], rel=0.1)
    assert row["value"] < row["uniform"] and row["low"] < row["value"] < row["high"]


def test_every_figure_is_sound_and_on_the_models_run(smoke, rows):
    assert all(sound(row) for row in rows.to_dicts())
    client = Mlflow(f"sqlite:///{smoke.home}/mlflow/mlflow.db").client
    experiment = client.get_experiment_by_name("stemma")
    model = smoke.report["versions"]["base_model"]
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`stemma.data_version` = '{model}'")
    told = {name for name in run.data.metrics if name.startswith("base/")}
    assert len(told) == 3 * rows.height
    assert {"grad_norm", "tokens_per_s", "loss"} <= set(run.data.metrics)


def test_the_assets_page_has_a_table_for_each_kind_of_measure(rows):
    said = tables(rows)
    for name in ("bits_per_byte", "context", "memorization", "choices"):
        records = said[name].records
        assert records and {"measure", "group", "value", "low", "high", "n"} <= set(records[0].data)
    assert sum(len(said[name].records) for name in ("bits_per_byte", "context", "memorization", "choices")) == (
        rows.height
    )
    assert said["picture"].value.startswith("![figures with intervals and baselines](data:image/png;base64,")
    drawn = panels(rows)
    assert sum(map(len, drawn.values())) == rows.filter(~pl.col("measure").is_in(NOT_DRAWN)).height
    assert all(drawn.values())


def test_a_figure_that_is_none_is_unsound(rows):
    (row,) = rows.filter(measure="bits_per_byte", group="all").to_dicts()
    for change in ({"value": float("nan")}, {"high": float("inf")}, {"value": row["high"] + 1}):
        assert not sound({**row, **change})
    share = rows.filter(measure="memorized").to_dicts()[0]
    assert not sound({**share, "value": 1.2, "high": 1.3})


def test_without_mlflow_the_figures_wait_in_the_home(smoke, rows, tmp_path):
    (tmp_path / "mlflow").mkdir()
    away = TrackingResource(uri=f"sqlite:///{tmp_path}/gone/mlflow.db")
    said = annotated(LakeResource(home=str(tmp_path)), away, "d" * 32, rows)
    (waits,) = (tmp_path / "mlflow").glob("figures-*.json")
    assert said.startswith("waits for") and len(json.loads(waits.read_text())) == 3 * rows.height


def test_the_asset_reads_what_it_declares():
    from orchestration.definitions import defs

    spec = next(one for one in defs.resolve_all_asset_specs() if one.key == dg.AssetKey("base_evaluation"))
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"base_model", "token_shards", "corpus"}
    assert FIGURES.endswith(".parquet") and isinstance(pl.DataFrame(), pl.DataFrame)
