"""How everything stands under the configuration of now: from the same resources that the assets use."""

import dagster as dg

from assets.configs import config_of, digest
from assets.conventions import BLOCKING
from assets.crawl import CrawlMissing, followed, listing
from assets.resources import CrawlResource, LakeResource, RecipeResource
from assets.steps.ledger import Ledger
from orchestration.lineage import ConfigDigest, Node, State, survey


def look(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[Node, State]:
    """How every node stands now, with the resources that the environment describes."""
    digests = config_digests(LakeResource(), CrawlResource(), RecipeResource())
    return survey(defs, instance, digests, BLOCKING, Ledger(LakeResource().path).outdated())


def config_digests(lake: LakeResource, crawl: CrawlResource, recipe: RecipeResource) -> ConfigDigest:
    """A function from a node to the digest of its present configuration; answers are remembered for one survey."""
    name = recipe.chosen(lake.path)
    known: dict[Node, str | None] = {}

    def config_digest(node: Node) -> str | None:
        key = node if node.asset in ("crawl_fetches", "crawl_manifest") else Node(node.asset)
        if key not in known:
            known[key] = _config_digest(key, name, lake, crawl, recipe)
        return known[key]

    return config_digest


def _config_digest(
    node: Node, name: str, lake: LakeResource, crawl: CrawlResource, recipe: RecipeResource
) -> str | None:
    """None of a manifest whose folder went away or is out of reach: what was read of it stays what it is."""
    files = None
    follows = followed(lake.path, node.partition) if node.asset == "crawl_fetches" else None
    if node.asset == "crawl_manifest":
        try:
            files = listing(crawl.place, node.partition)
        except CrawlMissing:
            return None
    chosen = {"policy": recipe.chosen_policy, "evaluation_sets": recipe.evaluation_sets}
    return digest(config_of(node.asset, recipe=name, files=files, follows=follows, **chosen))
