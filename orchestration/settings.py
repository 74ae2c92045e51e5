"""How everything stands under the configuration of now: what the home and the environment choose (assets/chosen.py)."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from assets.chosen import Chosen
from assets.configs import config_of, digest, unread
from assets.crawl_roots import CrawlAway, CrawlMissing, followed, listing
from assets.judgements.state import judged
from assets.steps.ledger import Ledger
from orchestration.history import History
from orchestration.lineage import ConfigDigest, Node, Spec, State, survey

if TYPE_CHECKING:
    import dagster as dg


def look(defs: "dg.Definitions", instance: "dg.DagsterInstance") -> dict[Node, State]:
    """How every node of a graph stands now."""
    from assets.conventions import BLOCKING
    from orchestration.records import DagsterHistory
    from orchestration.specs import specs_of

    return look_at(specs_of(defs.resolve_all_asset_specs(), BLOCKING), DagsterHistory(instance.event_log_storage))


def look_at(specs: Iterable[Spec], history: History) -> dict[Node, State]:
    """The same, of the specs of the assets and their history alone."""
    chosen = Chosen.now()
    taken = Ledger(chosen.home).outdated()
    return survey(specs, history, config_digests(chosen), taken, lambda asset: unread(asset, chosen.policy))


def config_digests(chosen: Chosen) -> ConfigDigest:
    """A function from a node to the digest of its present configuration; answers are remembered for one survey."""
    known: dict[Node, str | None] = {}
    away = False

    @functools.cache
    def files_of(snapshot: str) -> list[tuple[str, int]] | None:
        """None where the folder went away or is out of reach: what was read of it stays what it is."""
        nonlocal away
        try:
            return None if away else listing(chosen.crawl, snapshot)
        except CrawlAway:  # asked once a survey: a place that does not answer takes its time
            away = True
        except CrawlMissing:
            pass
        return None

    def config_digest(node: Node) -> str | None:
        key = node if node.asset in ("crawl_fetches", "crawl_manifest") else Node(node.asset)
        if key not in known:
            files = files_of(key.partition) if key.asset == "crawl_manifest" else None
            follows = followed(chosen.home, key.partition) if key.asset == "crawl_fetches" else None
            gone = key.asset == "crawl_manifest" and files is None
            gone |= follows == [] and files_of(key.partition) is None
            config = config_of(
                key.asset,
                recipe=chosen.recipe,
                policy=chosen.policy,
                files=files,
                evaluation_sets=chosen.evaluation_sets,
                follows=follows,
                judged=judged(key.asset, chosen.home),
            )
            known[key] = None if gone else digest(config)
        return known[key]

    return config_digest
