"""MLflow and Dagster name each other; nothing is lost while MLflow is away. On a real SQLite store."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.tracking import (
    EXPERIMENT,
    Mlflow,
    NoSuchVersion,
    Record,
    TrackingResource,
    TrackingUnreachable,
    annotate,
    flatten,
    points,
    promote,
    sync,
)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("template") / "mlflow.db"
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{store}"]
    subprocess.run(command, check=True, capture_output=True)
    return store


@pytest.fixture
def home(tmp_path: Path, migrated: Path) -> Path:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "work").mkdir()
    shutil.copy(migrated, tmp_path / "mlflow" / "mlflow.db")
    return tmp_path


def uri(home: Path) -> str:
    return f"sqlite:///{home}/mlflow/mlflow.db"


def workdir(home: Path, asset: str = "base_model", key: str = "k1", steps: int = 3) -> Path:
    path = home / "work" / asset / key
    path.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step, "metrics": {"loss": 5.0 / step, "lr": 0.1}}) for step in range(1, steps + 1)]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return path


def record(asset: str = "base_model", dagster_run: str = "dagster-run-1", parent: str | None = None) -> Record:
    tags = {
        "dagster.run_id": dagster_run,
        "dagster.asset_key": asset,
        "dagster.partition": "",
        "stemma.home": "home-a",
    }
    return Record(
        asset=asset,
        name=f"{asset}-k1",
        params=flatten({"pretrain": {"steps": 3, "schedule": "wsd"}, "seed": 0}),
        tags=tags | ({"stemma.parent": parent} if parent else {}),
        inputs=[{"name": "token_shards", "digest": "a" * 32, "source": "/lake/token_shards"}],
    )


def finish(home: Path, tracking: TrackingResource, made: Record, directory: Path, digest: str):
    with tracking.run(home, made, directory) as run:
        (directory / "final").mkdir(exist_ok=True)
        run.deliver()
        run.finish(digest, directory / "final", {"bpb_heldout": 2.5})
    return run


def test_finished_run_carries_everything_and_links_back(home):
    tracking, directory = TrackingResource(uri=uri(home)), workdir(home)
    run = finish(home, tracking, record(), directory, "d" * 32)
    client = Mlflow(uri(home)).client
    found = client.get_run(run.metadata()["mlflow/run_id"])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"pretrain.steps": "3", "pretrain.schedule": "wsd", "seed": "0"}
    assert found.data.tags["dagster.run_id"] == "dagster-run-1"
    assert found.data.tags["stemma.data_version"] == "d" * 32
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 5.0), (2, 2.5), (3, 5.0 / 3)]
    dataset = found.inputs.dataset_inputs[0]
    assert (dataset.dataset.name, dataset.dataset.digest) == ("token_shards", "a" * 32)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert run.metadata()["mlflow/experiment_id"] == experiment.experiment_id
    assert found.info.run_id in run.metadata()["mlflow/run"].value
    [back] = client.search_runs([experiment.experiment_id], "tags.`dagster.run_id` = 'dagster-run-1'")
    assert back.info.run_id == found.info.run_id


def test_checkpoint_is_logged_once_and_registered_once_per_digest(home):
    tracking = TrackingResource(uri=uri(home))
    finish(home, tracking, record(), workdir(home), "d" * 32)
    finish(home, tracking, record(dagster_run="dagster-run-2"), workdir(home, key="k2"), "d" * 32)
    client = Mlflow(uri(home)).client
    versions = client.search_model_versions("name = 'stemma'")
    assert [version.tags["stemma.data_version"] for version in versions] == ["d" * 32]
    assert versions[0].source.startswith("file://")


def test_child_names_the_run_of_its_parent(home):
    tracking = TrackingResource(uri=uri(home))
    parent = finish(home, tracking, record(), workdir(home), "b" * 32)
    child = finish(home, tracking, record("sft_model", parent="b" * 32), workdir(home, "sft_model"), "c" * 32)
    tags = Mlflow(uri(home)).client.get_run(child.metadata()["mlflow/run_id"]).data.tags
    assert tags["stemma.parent"] == "b" * 32
    assert tags["stemma.parent_run"] == parent.metadata()["mlflow/run_id"]


def test_killed_attempt_is_ended_and_other_homes_are_left_alone(home):
    ours, foreign = record(), record()
    foreign.tags["stemma.home"] = "home-b"
    for key, one in (("k1", ours), ("k2", foreign)):
        Mlflow(uri(home)).deliver(one, workdir(home, key=key))  # opened, never ended: as after SIGKILL
    finish(home, TrackingResource(uri=uri(home)), record(), workdir(home, key="k3"), "d" * 32)
    client = Mlflow(uri(home)).client
    assert client.get_run(ours.run_id).info.status == "KILLED"
    assert client.get_run(foreign.run_id).info.status == "RUNNING"


def test_failed_body_ends_its_run_as_failed(home):
    tracking, directory, made = TrackingResource(uri=uri(home)), workdir(home), record()
    with pytest.raises(ZeroDivisionError), tracking.run(home, made, directory):
        raise ZeroDivisionError
    assert Mlflow(uri(home)).client.get_run(made.run_id).info.status == "FAILED"


def test_finished_work_is_not_tracked_twice(home):
    tracking, directory = TrackingResource(uri=uri(home)), workdir(home)
    first = finish(home, tracking, record(), directory, "d" * 32)
    second = finish(home, tracking, record(dagster_run="dagster-run-2"), directory, "d" * 32)
    assert second.metadata()["mlflow/run_id"] == first.metadata()["mlflow/run_id"]
    client = Mlflow(uri(home)).client
    assert client.get_run(first.metadata()["mlflow/run_id"]).data.tags["dagster.run_id"] == "dagster-run-2"
    assert len(client.search_runs([first.metadata()["mlflow/experiment_id"]])) == 1


def test_unreachable_mlflow_stops_nothing_and_sync_sends_all_of_it_later(home):
    away = TrackingResource(uri="http://127.0.0.1:9")
    directory = workdir(home, steps=1200)
    run = finish(home, away, record(), directory, "d" * 32)
    assert run.metadata()["mlflow/state"].startswith("spooled")
    with pytest.raises(TrackingUnreachable):
        sync(home, "http://127.0.0.1:9")
    [sent] = sync(home, uri(home))
    client = Mlflow(uri(home)).client
    found = client.get_run(sent.run_id)
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(sent.run_id, "loss")) == 1200
    assert sync(home, uri(home)) == []


def test_points_sent_before_an_outage_are_not_sent_again(home):
    directory, made = workdir(home, steps=2), record()
    Mlflow(uri(home)).deliver(made, directory)
    workdir(home, steps=4)
    Mlflow(uri(home)).deliver(made, directory)
    steps = [metric.step for metric in Mlflow(uri(home)).client.get_metric_history(made.run_id, "loss")]
    assert steps == [1, 2, 3, 4]


def test_torn_last_line_waits(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "metrics": {"loss": 2.0}}\n{"step": 2, "metr')
    assert list(points(path)) == [(1, "loss", 2.0)]


def test_champion_moves_to_the_promoted_digest_only(home):
    tracking = TrackingResource(uri=uri(home))
    finish(home, tracking, record(), workdir(home), "d" * 32)
    finish(home, tracking, record(), workdir(home, key="k2"), "e" * 32)
    mlflow = Mlflow(uri(home))
    assert mlflow.champion() is None
    assert "version" in promote(home, uri(home), "e" * 32)
    champion = mlflow.champion()
    assert champion is not None and champion["digest"] == "e" * 32
    with pytest.raises(NoSuchVersion):
        mlflow.promote("f" * 32)
    assert mlflow.champion() == champion


def test_promotion_missed_by_an_absent_mlflow_is_made_up_by_sync(home):
    finish(home, TrackingResource(uri=uri(home)), record(), workdir(home), "d" * 32)
    assert "waits" in promote(home, "http://127.0.0.1:9", "d" * 32)
    sync(home, uri(home))
    champion = Mlflow(uri(home)).champion()
    assert champion is not None and champion["digest"] == "d" * 32


def test_parameters_are_flat_and_keep_every_leaf():
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": "x", "e": None}) == {
        "a.b": "1",
        "a.c": "[1, 2]",
        "d": "x",
        "e": "null",
    }


def test_resource_falls_back_to_the_store_in_the_home(home, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert TrackingResource().address(home) == uri(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker")
    assert TrackingResource().address(home) == "http://tracker"
    assert isinstance(TrackingResource(), dg.ConfigurableResource)


def test_figures_go_to_the_run_that_made_the_checkpoint(home):
    tracking = TrackingResource(uri=uri(home))
    run = finish(home, tracking, record(), workdir(home), "d" * 32)
    said = annotate(home, uri(home), "d" * 32, {"base/bits_per_byte/language eng_Latn": 2.0, "base/recall/1 shot": 0.3})
    run_id = run.metadata()["mlflow/run_id"]
    found = Mlflow(uri(home)).client.get_run(run_id)
    assert said == f"2 figures on the run {run_id}" and found.info.status == "FINISHED"
    assert found.data.metrics["base/bits_per_byte/language eng_Latn"] == 2.0
    assert found.data.metrics["loss"] == 5.0 / 3, "what the training told stays"
    assert not list((home / "mlflow").glob("figures-*"))


def test_figures_wait_for_a_run_that_mlflow_does_not_hold_yet(home):
    said = annotate(home, uri(home), "d" * 32, {"base/recall/1 shot": 0.3})
    assert said.startswith("waits for `stemma status --sync`: no run made the checkpoint")
    run = finish(home, TrackingResource(uri=uri(home)), record(), workdir(home), "d" * 32)
    sync(home, uri(home))
    metrics = Mlflow(uri(home)).client.get_run(run.metadata()["mlflow/run_id"]).data.metrics
    assert metrics["base/recall/1 shot"] == 0.3
    assert not list((home / "mlflow").glob("figures-*"))


def test_a_study_ends_its_run_and_registers_no_model(home):
    tracking, directory = TrackingResource(uri=uri(home)), workdir(home, "ablations")
    with tracking.run(home, record("ablations"), directory) as run:
        run.end()
    client = Mlflow(uri(home)).client
    found = client.get_run(run.metadata()["mlflow/run_id"])
    assert found.info.status == "FINISHED" and found.data.metrics["loss"] == 5.0 / 3
    assert run.metadata()["mlflow/model_id"] == "" and not client.search_registered_models()
