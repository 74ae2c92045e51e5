"""What is outdated is found through any number of steps, on partitions too, and its root cause is named."""

import dagster as dg
import pytest

from assets.chosen import Chosen
from assets.making import InputMissing, failed_check, inputs_of
from orchestration.lineage import Node, outdated, survey, to_json
from orchestration.records import DagsterHistory
from orchestration.settings import config_digests
from orchestration.specs import order, specs_of

SNAPSHOTS = dg.DynamicPartitionsDefinition(name="snapshot")
ALL = dg.AllPartitionMapping()


class World:
    """A four-step graph whose content, code and configuration can be changed from outside."""

    def __init__(self) -> None:
        self.content = {"A": "1", "B": "1"}
        self.code = dict.fromkeys(["crawl", "pages", "corpus", "model"], "1")
        self.config: dict[str, str | None] = {}
        self.passes = True
        self.checks: dict[str, list[str]] = {}

    def definitions(self) -> dg.Definitions:
        def result(context: dg.AssetExecutionContext, version: str) -> dg.MaterializeResult:
            name = context.asset_key.to_user_string()
            metadata = {
                "stemma/inputs": dg.MetadataValue.json(inputs_of(context)),
                "stemma/config_digest": self.config.get(name, ""),
            }
            return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata)

        def inputs(context: dg.AssetExecutionContext) -> str:
            return repr(inputs_of(context))

        @dg.asset(partitions_def=SNAPSHOTS, code_version=self.code["crawl"])
        def crawl(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return result(context, self.content[context.partition_key])

        @dg.asset(partitions_def=SNAPSHOTS, deps=["crawl"], code_version=self.code["pages"])
        def pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return result(context, inputs(context))

        @dg.asset(deps=[dg.AssetDep("pages", partition_mapping=ALL)], code_version=self.code["corpus"])
        def corpus(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return result(context, inputs(context))

        @dg.asset(deps=["corpus"], code_version=self.code["model"])
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return result(context, inputs(context))

        @dg.asset_check(asset=corpus, blocking=True)
        def sound() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.passes)

        return dg.Definitions(
            assets=[crawl, pages, corpus, model], asset_checks=[sound], executor=dg.in_process_executor
        )

    def make(self, instance: dg.DagsterInstance, *assets: str, partition: str | None = None) -> bool:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey([name]) for name in assets]
        made = job.execute_in_process(
            instance=instance, partition_key=partition, asset_selection=keys, raise_on_error=False
        )
        return made.success

    def make_all(self, instance: dg.DagsterInstance) -> None:
        for partition in self.content:
            assert self.make(instance, "crawl", "pages", partition=partition)
        assert self.make(instance, "corpus", "model") == self.passes

    def survey(self, instance: dg.DagsterInstance):
        specs = specs_of(self.definitions().resolve_all_asset_specs(), self.checks)
        history = DagsterHistory(instance.event_log_storage)
        return survey(specs, history, lambda node: self.config.get(node.asset, ""))


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions("snapshot", ["A", "B"])
        yield made


def stale(states) -> set[str]:
    return {str(node) for node, state in states.items() if state.status != "current"}


def because(states, node: Node) -> set[str]:
    return {str(cause.node) for cause in states[node].causes}


def test_everything_is_missing_at_first_and_current_after(instance):
    world = World()
    assert {state.status for state in world.survey(instance).values()} == {"missing"}
    world.make_all(instance)
    assert stale(world.survey(instance)) == set()


def test_changed_partition_reaches_the_model_three_steps_on(instance):
    world = World()
    world.make_all(instance)
    world.content["B"] = "2"
    world.make(instance, "crawl", partition="B")
    states = world.survey(instance)
    assert stale(states) == {"pages[B]", "corpus", "model"}
    assert because(states, Node("model")) == {"crawl[B]"}
    [cause] = states[Node("model")].causes
    assert (cause.what, cause.was, cause.now) == ("data", "1", "2")


def test_input_that_came_into_the_graph_later_holds_nothing_up_where_it_can_no_longer_be_made(instance):
    world = World()
    tags = {"dagster/data_version": "old", "dagster/code_version": "1"}
    for key in world.content:
        metadata = {"stemma/inputs": dg.MetadataValue.json({}), "stemma/config_digest": ""}
        instance.report_runless_asset_event(
            dg.AssetMaterialization("pages", partition=key, metadata=metadata, tags=tags)
        )
    assert world.make(instance, "corpus", "model")
    assert because(world.survey(instance), Node("model")) == {"crawl[A]", "crawl[B]"}
    world.config["crawl"] = None
    states = world.survey(instance)
    assert stale(states) == {"crawl[A]", "crawl[B]"} and not any(state.causes for state in states.values())
    assert outdated(states) == []


def test_folder_that_is_gone_gives_no_configuration_unless_a_subscription_brings_it_back(tmp_path, monkeypatch):
    monkeypatch.delenv("STEMMA_SUBSCRIPTIONS", raising=False)
    (tmp_path / "crawl" / "here").mkdir(parents=True)
    (tmp_path / "crawl" / "here" / "a.warc").write_bytes(b"")
    chosen = Chosen(tmp_path, str(tmp_path / "crawl"), "demo", "fineweb")
    nodes = [Node(asset, name) for asset in ("crawl_fetches", "crawl_manifest") for name in ("here", "gone")]

    def known() -> list[bool]:
        digest = config_digests(chosen)
        return [digest(node) is not None for node in nodes]

    assert known() == [True, False, True, False]
    followed = "subscriptions:\n  - {name: web, follow: [gone], per_night: {records: 3}}\n"
    (tmp_path / "subscriptions.yaml").write_text(followed)
    assert known() == [True, True, True, False]


def test_unchanged_data_version_leaves_everything_current(instance):
    world = World()
    world.make_all(instance)
    assert world.make(instance, "crawl", partition="A")
    states = world.survey(instance)
    assert {str(cause) for state in states.values() for cause in state.causes} == set()


def test_changed_code_reaches_everything_below_and_nothing_above(instance):
    world = World()
    world.make_all(instance)
    world.code["pages"] = "2"
    states = world.survey(instance)
    assert stale(states) == {"pages[A]", "pages[B]", "corpus", "model"}
    assert because(states, Node("model")) == {"pages[A]", "pages[B]"}


def test_changed_configuration_is_a_cause(instance):
    world = World()
    world.make_all(instance)
    world.config["corpus"] = "stricter"
    states = world.survey(instance)
    assert stale(states) == {"corpus", "model"}
    assert [cause.what for cause in states[Node("model")].causes] == ["config"]


def test_new_snapshot_makes_what_reads_all_snapshots_outdated(instance):
    world = World()
    world.make_all(instance)
    instance.add_dynamic_partitions("snapshot", ["C"])
    states = world.survey(instance)
    assert stale(states) == {"crawl[C]", "pages[C]", "corpus", "model"}
    assert because(states, Node("model")) >= {"crawl[C]", "pages[C]"}


def test_removed_snapshot_is_a_cause(instance):
    world = World()
    world.make_all(instance)
    instance.delete_dynamic_partition("snapshot", "B")
    states = world.survey(instance)
    assert stale(states) == {"corpus", "model"}
    assert because(states, Node("model")) == {"pages[B]"}


def test_check_that_failed_or_never_ran_makes_an_asset_outdated(instance):
    world = World()
    world.checks = {"corpus": ["sound"]}
    world.passes = False
    world.make_all(instance)
    states = world.survey(instance)
    assert stale(states) == {"corpus", "model"}
    assert "failed" in str(states[Node("corpus")].causes[0])
    assert failed_check(instance, dg.AssetCheckKey(dg.AssetKey(["corpus"]), "sound"), "")
    world.passes = True
    world.make(instance, "corpus", "model")
    assert stale(world.survey(instance)) == set()


def test_body_refuses_to_start_without_its_inputs(instance):
    world = World()
    world.make(instance, "crawl", "pages", partition="A")
    assert not world.make(instance, "model")
    with pytest.raises(InputMissing, match="corpus"):
        world.definitions().resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["model"])]
        )


def test_order_puts_inputs_first():
    names = [spec.key.to_user_string() for spec in order(World().definitions())]
    assert names == ["crawl", "pages", "corpus", "model"]


def test_json_names_status_and_causes(instance):
    world = World()
    world.make_all(instance)
    world.content["A"] = "2"
    world.make(instance, "crawl", partition="A")
    rows = {(row["asset"], row["partition"]): row for row in to_json(world.survey(instance))}
    assert rows[("crawl", "A")]["status"] == "current" and rows[("crawl", "A")]["because"] == []
    assert rows[("model", None)]["because"][0]["asset"] == "crawl"
