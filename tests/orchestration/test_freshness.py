"""Dagster's freshness of the night's report and of the tables, by the evaluator that its daemon runs."""

import asyncio
import datetime

import dagster as dg
import pytest
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.test_utils import freeze_time, in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

NOW = datetime.datetime.now(datetime.UTC)


LATER = {  # asset: how long after it was made, and how it stands then
    "refresh_report": {0: "PASS", 25: "PASS", 27: "WARN", 37: "FAIL"},
    "corpus_card": {2 * 24: "PASS", 37 * 24: "PASS", 39 * 24: "WARN", 63 * 24: "FAIL"},
    "tokenizer": {99 * 24: "UNKNOWN"},  # never made
}


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> dict[str, dict[int, str]]:
    """The states of LATER, as the evaluator finds them."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        for name in ("refresh_report", "corpus_card"):
            instance.report_runless_asset_event(dg.AssetMaterialization(name))
        with in_process_test_workspace(instance, LoadableTargetOrigin(module_name="orchestration.definitions")) as made:
            return asyncio.run(found(made))


async def found(workspace) -> dict[str, dict[int, str]]:
    every: dict[str, dict[int, str]] = {}
    for asset, times in LATER.items():
        node = workspace.asset_graph.get(dg.AssetKey([asset]))
        for hours in times:
            with freeze_time(NOW + datetime.timedelta(minutes=5, hours=hours)):
                state = await TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(context=workspace, node=node)
            every.setdefault(asset, {})[hours] = state.value
    return every


def test_report_warns_after_one_missed_night_and_fails_after_half_a_day_more(states):
    assert states["refresh_report"] == LATER["refresh_report"]


def test_table_is_late_when_a_monthly_crawl_is_and_not_after_a_night_with_nothing_new(states):
    assert states["corpus_card"] == LATER["corpus_card"]


def test_what_was_never_made_is_neither_fresh_nor_late(states):
    assert states["tokenizer"] == LATER["tokenizer"]
