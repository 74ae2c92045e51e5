"""A look at the specs and the event log alone says what a look with the whole graph and the whole instance says."""

import json
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from assets.conventions import BLOCKING
from orchestration import specs
from orchestration.definitions import defs
from orchestration.home import Home, locate, prepare
from orchestration.lineage import Node, Spec, to_json
from orchestration.reaching import SurveyFailed, surveying
from orchestration.settings import look
from orchestration.specs import GRAPH, built, order, remembered, specs_of
from orchestration.standing import standing

SNAPSHOTS = ["s1", "s2"]
REMADE = ("documents", "corpus", "base_model")  # made again in the first snapshot, in the middle of the graph


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Home]:
    """Two snapshots of which everything was made once, REMADE since then, and no check has run."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("STEMMA_HOME", "DAGSTER_HOME", "STEMMA_SUBSCRIPTIONS", "STEMMA_LAKE", "STEMMA_CRAWL"):
            environment.delenv(name, raising=False)
        made = prepare(tmp_path_factory.mktemp("standing") / "home")
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions("snapshot", SNAPSHOTS)
            for spec in order(defs):
                for partition in SNAPSHOTS if spec.partitions_def else [None]:
                    _make(instance, spec, partition, "1" * 32)
            for spec in order(defs):
                if spec.key.to_user_string() in REMADE:
                    _make(instance, spec, SNAPSHOTS[0] if spec.partitions_def else None, "2" * 32)
        yield made


def _make(instance: dg.DagsterInstance, spec: dg.AssetSpec, partition: str | None, version: str) -> None:
    tags = {"dagster/data_version": version, "dagster/code_version": spec.code_version or ""}
    inputs = {dep.asset_key.to_user_string(): {partition or "": "1" * 32} for dep in spec.deps}
    metadata = {"stemma/inputs": dg.MetadataValue.json(inputs), "stemma/config_digest": ""}
    event = dg.AssetMaterialization(spec.key, metadata=metadata, partition=partition, tags=tags)
    instance.report_runless_asset_event(event)


@pytest.fixture
def located(home, monkeypatch) -> Home:
    for name in ("STEMMA_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # so that what `locate` sets is put back
    return locate(home.root)


def test_specs_are_those_of_the_resolved_graph():
    whole = specs_of(order(defs), BLOCKING)
    assert sorted(built(), key=by_name) == sorted(whole, key=by_name)
    assert {spec.partitions for spec in whole} == {None, "snapshot"} and any(spec.checks for spec in whole)


def by_name(spec: Spec) -> str:
    return spec.asset


def test_a_home_remembers_the_graph_of_the_code_that_runs_and_of_no_other(located, monkeypatch):
    (located.root / GRAPH).unlink(missing_ok=True)
    assert remembered(located) == built()
    with monkeypatch.context() as patched:
        patched.setattr(specs, "built", lambda: pytest.fail("it is remembered"))
        assert remembered(located) == built()
    kept = json.loads((located.root / GRAPH).read_text())
    for damaged in (kept | {"key": "0" * 64, "specs": []}, kept | {"specs": [{"asset": "x"}]}, []):
        (located.root / GRAPH).write_text(json.dumps(damaged))
        assert remembered(located) == built()
    (located.root / GRAPH).write_text("{")
    assert remembered(located) == built()


def test_look_at_the_specs_and_the_event_log_alone_says_what_the_whole_says(located):
    with dg.DagsterInstance.get() as instance:
        whole = look(defs, instance)
    assert standing(located) == whole
    assert {state.status for state in whole.values()} == {"outdated"}
    assert whole[Node("documents", "s1")].data_version == "2" * 32


def test_process_that_reach_starts_says_the_same(located):
    with surveying(located) as states:
        rows = list(states().values())
    assert rows == json.loads(json.dumps(to_json(standing(located))))


def test_dagster_yaml_that_keeps_the_event_log_elsewhere_is_followed(located, tmp_path):
    text = (located.dagster / "dagster.yaml").read_text()
    with_storage = f"{text}\nstorage: {{sqlite: {{base_dir: {{env: STEMMA_TEST_STORE}}}}}}\n"
    elsewhere = Home(tmp_path)
    elsewhere.dagster.mkdir()
    (elsewhere.root / "home.json").write_text((located.root / "home.json").read_text())
    (elsewhere.dagster / "dagster.yaml").write_text(with_storage)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEMMA_TEST_STORE", str(located.dagster))
        found = standing(locate(elsewhere.root))
    locate(located.root)
    assert {node: state.data_version for node, state in found.items()} == {
        node: state.data_version for node, state in standing(located).items()
    }


def test_home_that_cannot_be_looked_at_is_said_in_one_line(tmp_path):
    command = [sys.executable, "-m", "orchestration.standing", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"nothing was made in {tmp_path} yet: run `stemma demo`, or name another --home\n"
    with surveying(Home(tmp_path)) as states, pytest.raises(SurveyFailed, match="nothing was made"):
        states()


def test_look_loads_no_dagster_no_kernels_and_nothing_that_runs_or_fetches(located):
    code = (
        "import sys; from orchestration.standing import main; main(sys.argv[1]); print(); print(*sorted(sys.modules))"
    )
    remembered(located)
    done = subprocess.run([sys.executable, "-c", code, str(located.root)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    unneeded = {"dagster", "torch", "numba", "spacy", "mlflow", "datatrove", "pandas", "typer"}
    unneeded |= {"assets.crawl_index.fetch", "assets.resources"}
    unneeded |= {f"orchestration.{name}" for name in ("definitions", "graph", "records", "nightly", "sensors", "runs")}
    assert "orchestration.lineage" in loaded and loaded & unneeded == set()
