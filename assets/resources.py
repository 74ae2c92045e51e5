"""What assets may ask for: the lake, the crawl, the recipe, an engine for shards, and somewhere to show progress.

Empty fields are filled from the environment when an asset runs, never at import. MLflow's resource is in tracking.py.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import dagster as dg

from assets import chosen
from assets.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """The home directory: tables, artifacts and scratch. Tables may live on S3 instead."""

    home: str = ""  # STEMMA_HOME, else ./var
    tables: str = ""  # STEMMA_LAKE: an s3:// URL for the tables; else the home
    pages: str = ""  # STEMMA_PAGES_URL: where people open the pages of this home; else this machine's port 8000

    @property
    def path(self) -> Path:
        """The home directory, absolute."""
        return chosen.home_path(self.home)

    @property
    def pages_address(self) -> str:
        """What links from Dagster to the pages begin with."""
        return self.pages or os.environ.get("STEMMA_PAGES_URL") or "http://127.0.0.1:8000"

    def open(self) -> Lake:
        """A lake of its own for one materialization, so that its recorded reads are that asset's."""
        return Lake(self.tables or os.environ.get("STEMMA_LAKE") or str(self.path), local=self.path)


class CrawlResource(dg.ConfigurableResource):
    """Where WARC files come from: a folder or fsspec URL that holds one folder per snapshot."""

    root: str = ""  # STEMMA_CRAWL, else the crawl that is bundled with the project

    @property
    def place(self) -> str:
        """The crawl root."""
        return chosen.crawl_root(self.root)


class RecipeResource(dg.ConfigurableResource):
    """Which recipe the learning stages follow (models/recipes.py), and what pages are decided by and compared with."""

    name: str = ""  # STEMMA_RECIPE, else what the home was last made with, else demo
    policy: str = ""  # STEMMA_POLICY: a name or a YAML file; else what the home goes by, else fineweb
    sets: str = ""  # STEMMA_EVALUATION_SETS: a folder (assets/steps/evaluation_sets.py); else the bundled samples
    heldout: str = ""  # STEMMA_HELDOUT_SETS: a folder (assets/steps/heldout_sets.py); else pages of the crawl alone

    def chosen(self, home: Path) -> str:
        """The recipe's name for this home."""
        return chosen.recipe_name(home, self.name)

    def chosen_policy(self, home: Path) -> str:
        """The policy's name, or the path of its file, for this home. Raises PolicyError."""
        return chosen.policy_name(home, self.policy)

    @property
    def evaluation_sets(self) -> str | None:
        """The folder of the evaluation sets that pages are compared with; None: the bundled samples."""
        return chosen.evaluation_sets(self.sets)

    @property
    def heldout_sets(self) -> str | None:
        """The folder of texts from elsewhere that corpora are compared on; None: pages of the crawl alone."""
        return chosen.heldout_sets(self.heldout)


class Engine(Protocol):
    """Where shards run. The interface is documented in orchestration/engines/base.py."""

    def run(self, step: str, jobs: Sequence[Any], on_progress: Callable[..., None] | None = None) -> list[Any]:
        """Run one step over all shards; every engine gives the same bytes."""
        ...


class Surveyor(Protocol):
    """Who knows what is outdated, all the way up the graph."""

    def outdated(self, instance: dg.DagsterInstance) -> list[dict[str, Any]]:
        """A row (asset, status, because) for everything that is not current, inputs first."""
        ...


class Progress:
    """Shows how far an asset is. This one shows nothing: for daemons, logs and tests."""

    def begin(self, asset: str, partition: str | None) -> None:
        """An asset starts."""

    def advance(self, asset: str, done: int, total: int | None, note: str) -> None:
        """`done` of `total` units (shards, steps) are finished; `note` is a few words."""

    def end(self, asset: str, seconds: float) -> None:
        """The asset is made."""
