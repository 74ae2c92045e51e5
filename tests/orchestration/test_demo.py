"""The whole graph in one command: complete, linked both ways, traceable, idle when nothing changed, safe to kill."""

import json
import os
import shutil
import signal
import time

import dagster as dg
import pytest

from assets.tracking import EXPERIMENT, Mlflow
from orchestration.definitions import defs

TRAINED = ("base_model", "sft_model", "rl_model")


@pytest.fixture
def instance(smoke, monkeypatch):
    for name in ("STEMMA_HOME", "DAGSTER_HOME", "STEMMA_CRAWL"):
        monkeypatch.setenv(name, str(smoke.home))
    monkeypatch.setenv("DAGSTER_HOME", str(smoke.home / "dagster"))
    monkeypatch.setenv("STEMMA_CRAWL", str(smoke.crawl))
    with dg.DagsterInstance.get() as opened:
        yield opened


def test_every_asset_is_made_and_current(smoke):
    assert {row["status"] for row in smoke.report["assets"]} == {"current"}
    records = {"takedown_reports", "refresh_report", "ablations"}  # of nights, or asked for; a demo makes none
    graph = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert {row["asset"] for row in smoke.report["assets"]} == graph - records
    assert all(version for version in smoke.report["versions"].values())
    report = smoke.report
    assert report["bits_per_byte"]["model"] < report["bits_per_byte"]["uniform"]
    assert {"value", "low", "high", "n", "baseline_random"} == set(report["rl_accuracy"])
    assert report["g_vendi"]["selected"] > 0 and report["g_vendi"]["random"] > 0


def test_second_demo_makes_nothing_and_changes_nothing(smoke):
    again = smoke.run()
    assert again["made"] == []
    assert again["versions"] == smoke.report["versions"]


def test_models_and_mlflow_runs_name_each_other(smoke, instance):
    client = Mlflow(f"sqlite:///{smoke.home}/mlflow/mlflow.db").client
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = {run.data.tags["dagster.asset_key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(TRAINED)
    parents = {"sft_model": "base_model", "rl_model": "sft_model"}
    for asset in TRAINED:
        run, tags = runs[asset], runs[asset].data.tags
        event = instance.get_latest_materialization_event(dg.AssetKey([asset]))
        assert event is not None and event.asset_materialization is not None
        metadata, version = event.asset_materialization.metadata, smoke.report["versions"][asset]
        assert run.info.status == "FINISHED"
        assert metadata["mlflow/run_id"].value == run.info.run_id
        assert tags["dagster.run_id"] == event.run_id
        assert tags["stemma.data_version"] == version
        if asset in parents:
            assert tags["stemma.parent"] == smoke.report["versions"][parents[asset]]
            assert tags["stemma.parent_run"] == runs[parents[asset]].info.run_id
        inputs = {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs}
        assert tags["stemma.corpus_version"] == inputs.pop("corpus") == metadata["stemma/corpus_version"].value
        assert inputs and all(smoke.report["versions"][name] == digest for name, digest in inputs.items())
        assert client.get_metric_history(run.info.run_id, "loss")
    champion = Mlflow(f"sqlite:///{smoke.home}/mlflow/mlflow.db").champion()
    assert champion is not None and champion["digest"] == smoke.report["versions"]["rl_model"]


def test_trace_of_the_champion_leads_back_to_pages_that_are_still_there(smoke):
    done = smoke.stemma("trace", "champion", "--json", "--verify")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [stage["asset"] for stage in found["stages"]] == list(TRAINED)
    base, sft, rl = found["stages"]
    assert found["wrong"] == [] and found["verified"] == base["count"] > 10
    assert base["unresolved"] == 0 and base["tokens"] > 0
    assert (sft["parent"], rl["parent"]) == (base["digest"], sft["digest"])
    assert found["digest"] == rl["digest"] == smoke.report["versions"]["rl_model"]
    assert {"asset": "crawl_manifest", "partition": "second"}.items() <= max(
        found["inputs"], key=lambda one: (one["asset"], one["partition"] or "") == ("crawl_manifest", "second")
    ).items()


def test_trace_notices_a_crawl_file_that_changed(smoke, tmp_path):
    crawl = tmp_path / "crawl"
    shutil.copytree(smoke.crawl, crawl)
    for path in crawl.rglob("*.warc.gz"):
        path.write_bytes(path.read_bytes()[::-1])
    done = smoke.elsewhere(crawl=crawl).stemma("trace", "base_model", "--sample", "3", "--json", "--verify")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["wrong"]) == 3


def test_status_names_the_changed_file_as_the_cause_of_everything(smoke, tmp_path):
    crawl = tmp_path / "crawl"
    shutil.copytree(smoke.crawl, crawl)
    with next((crawl / "second").iterdir()).open("ab") as file:
        file.write(b"\n")
    done = smoke.elsewhere(crawl=crawl).stemma("status", "--json")
    nodes = {(node["asset"], node["partition"]): node for node in json.loads(done.stdout)["nodes"]}
    assert nodes[("documents", "web-sample-2024")]["status"] == "current"
    causes = nodes[("released_model", None)]["because"]
    assert {(cause["asset"], cause["partition"], cause["what"]) for cause in causes} == {
        ("crawl_manifest", "second", "config")
    }


def test_champion_exports_whole_and_speaks(smoke, tmp_path):
    out = tmp_path / "hf"
    assert smoke.stemma("export", "champion", str(out), "--format", "hf").returncode == 0
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {p.name for p in out.iterdir()}
    assert smoke.stemma("export", "champion", str(out), "--format", "hf").returncode == 2
    said = smoke.stemma("generate", "champion", "What is 2 + 3?", "--tokens", "4", "--json")
    assert said.returncode == 0 and "text" in json.loads(said.stdout)


def test_second_demo_at_once_is_told_so(smoke):
    from orchestration.home import Home, alone

    with alone(Home(smoke.home)):
        done = smoke.stemma("demo", "--recipe", "smoke", "--json")
    assert done.returncode == 2
    assert "another demo" in done.stderr and len(done.stderr.strip().splitlines()) == 1


KILL_AT = {
    "a page shard is finished": "work/shards/documents/*/record.json",
    "decisions are committed": "lake/decisions/_delta_log/*.json",
    "the base model has a checkpoint": "work/base_model/*/checkpoints/step-*/manifest.json",
    "candidates are being chosen": "work/diverse_candidates/*/command.json",
    "the RL model has a checkpoint": "work/rl_model/*/checkpoints/step-*/manifest.json",
    "the release is being exported": "work/released_model/*/command.json",
}
LONGEST_S = 900


@pytest.mark.slow
def test_demo_killed_at_six_points_ends_with_the_same_digests(smoke, tmp_path, block_list_cache):
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    demo = smoke.elsewhere(home=home)
    killed = [point for point, sign in KILL_AT.items() if kill_when(demo, sign)]
    assert len(killed) >= 3
    assert demo.run()["versions"] == smoke.report["versions"]
    client = Mlflow(f"sqlite:///{home}/mlflow/mlflow.db").client
    experiment = client.get_experiment_by_name(EXPERIMENT)
    ended = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    assert "RUNNING" not in ended and ended.count("FINISHED") == 3


def kill_when(demo, sign: str) -> bool:
    """Starts the demo and kills it as soon as the sign appears; False when it ended before."""
    already = set(demo.home.glob(sign))
    process = demo.start()
    deadline = time.monotonic() + LONGEST_S
    while process.poll() is None and time.monotonic() < deadline and not set(demo.home.glob(sign)) - already:
        time.sleep(0.02)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive
