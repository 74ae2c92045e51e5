"""A takedown while an asset is made, in a real run: its pages go again, the run fails, the next one is whole."""

from pathlib import Path

import dagster as dg
import pytest

from assets import crawl, documents, policy
from assets.lake import Lake
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from assets.takedowns import apply
from tests.assets.conftest import HereEngine
from tests.assets.takedown_crawl import SNAPSHOT, write_crawl

RULES = policy.load("fineweb")


class Interrupted(HereEngine):
    """When the pages are read and not published yet, a host is taken down."""

    def __init__(self, home: Path, host: str) -> None:
        super().__init__()
        self.home, self.host = home, host

    def run(self, step, jobs, on_progress=None):
        records = super().run(step, jobs, on_progress)
        if not Ledger(self.home).entries():
            Ledger(self.home).add(scope("host", self.host), "Ann", "hers")
            apply(Lake(self.home), HereEngine(), RULES)
        return records


@pytest.fixture
def made(tmp_path, bundled_crawl):
    """(pages, home, makes assets of the snapshot in one run with this engine)."""
    home, root = tmp_path / "home", tmp_path / "crawl"
    home.mkdir()
    (pages, _) = write_crawl(root, bundled_crawl)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("snapshot", [SNAPSHOT])

        def make(engine, *assets):
            return dg.materialize(
                [*assets],
                partition_key=SNAPSHOT,
                instance=instance,
                raise_on_error=False,
                resources={
                    "lake": LakeResource(home=str(home)),
                    "crawl": CrawlResource(root=str(root)),
                    "recipe": RecipeResource(name="smoke"),
                    "engine": engine,
                    "progress": Progress(),
                },
            )

        yield pages, home, make


def test_pages_taken_down_while_documents_is_made_are_withdrawn_and_the_next_run_makes_it_without_them(made):
    pages, home, make = made
    host = pages[0].url.split("/")[2]
    whole = [crawl.crawl_fetches, crawl.crawl_manifest, documents.documents]
    failed = make(Interrupted(home, host), *whole)
    (failure,) = [event for event in failed.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert failure.step_key == "documents" and "pages were taken down while documents was made" in str(error)
    assert not failed.asset_materializations_for_node("documents"), "nothing may be built on it"
    rows = Lake(home).scan("documents", snapshot=SNAPSHOT).select("host").collect()["host"]
    assert host not in set(rows) and len(rows) > 0
    checks = [documents.records_are_accounted_for, documents.doc_ids_are_unique]
    again = make(HereEngine(), documents.documents, *checks)
    assert again.success and all(one.passed for one in again.get_asset_check_evaluations())
    assert host not in set(Lake(home).scan("documents").select("host").collect()["host"])
    assert Ledger(home).status(1) == "applied"
