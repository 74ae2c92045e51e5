"""How everything stands under the configuration of now: from the same resources that the assets use."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from assets.configs import config_of, digest, unread
from assets.conventions import BLOCKING
from assets.crawl import CrawlAway, CrawlMissing, followed, listing
from assets.judgements.state import judged
from assets.resources import CrawlResource, LakeResource, RecipeResource
from assets.steps.ledger import Ledger
from orchestration.lineage import ConfigDigest, Node, State, order, survey

if TYPE_CHECKING:
    from dagster._core.storage.event_log.base import EventLogStorage


def look(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[Node, State]:
    """How every node stands now, with the resources that the environment describes."""
    return look_at(order(defs), instance.event_log_storage)


def look_at(specs: Iterable[dg.AssetSpec], log: "EventLogStorage") -> dict[Node, State]:
    """The same, of the specs of the assets and the event log alone."""
    lake, recipe = LakeResource(), RecipeResource()
    digests, policy = config_digests(lake, CrawlResource(), recipe), recipe.chosen_policy(lake.path)
    taken = Ledger(lake.path).outdated()
    return survey(specs, log, digests, BLOCKING, taken, lambda asset: unread(asset, policy))


def config_digests(lake: LakeResource, crawl: CrawlResource, recipe: RecipeResource) -> ConfigDigest:
    """A function from a node to the digest of its present configuration; answers are remembered for one survey."""
    name = recipe.chosen(lake.path)
    known: dict[Node, str | None] = {}
    away = False

    @functools.cache
    def files_of(snapshot: str) -> list[tuple[str, int]] | None:
        """None where the folder went away or is out of reach: what was read of it stays what it is."""
        nonlocal away
        try:
            return None if away else listing(crawl.place, snapshot)
        except CrawlAway:  # asked once a survey: a place that does not answer takes its time
            away = True
        except CrawlMissing:
            pass
        return None

    def config_digest(node: Node) -> str | None:
        key = node if node.asset in ("crawl_fetches", "crawl_manifest") else Node(node.asset)
        if key not in known:
            files = files_of(key.partition) if key.asset == "crawl_manifest" else None
            follows = followed(lake.path, key.partition) if key.asset == "crawl_fetches" else None
            chosen = {"policy": recipe.chosen_policy(lake.path), "evaluation_sets": recipe.evaluation_sets}
            chosen["judged"] = judged(key.asset, lake.path)
            gone = key.asset == "crawl_manifest" and files is None
            gone |= follows == [] and files_of(key.partition) is None
            config = None if gone else config_of(key.asset, recipe=name, files=files, follows=follows, **chosen)
            known[key] = None if config is None else digest(config)
        return known[key]

    return config_digest
