"""What a home is made with now, by its own files and the environment: for assets, and for commands that only ask.

Each function takes what somebody gave by name (a resource's field); where that is empty, the environment decides, and
without it the home or a default. Nothing is looked up at import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

BUNDLED_CRAWL = Path(__file__).resolve().parents[1] / "tests" / "data" / "crawl"


def home_path(given: str = "") -> Path:
    """The home directory, absolute: STEMMA_HOME, else ./var."""
    return Path(given or os.environ.get("STEMMA_HOME") or "var").absolute()


def crawl_root(given: str = "") -> str:
    """Where WARC files come from: STEMMA_CRAWL, else the crawl that is bundled with the project."""
    return given or os.environ.get("STEMMA_CRAWL") or str(BUNDLED_CRAWL)


def recipe_name(home: Path, given: str = "") -> str:
    """The recipe's name: STEMMA_RECIPE, else what the home was last made with, else demo."""
    if given or os.environ.get("STEMMA_RECIPE"):
        return given or os.environ["STEMMA_RECIPE"]
    remembered = home / "recipe"
    return remembered.read_text().strip() if remembered.is_file() else "demo"


def policy_name(home: Path, given: str = "") -> str:
    """The policy's name, or the path of its file: STEMMA_POLICY, else what the home goes by, else fineweb.
    Raises PolicyError."""
    from assets.policy.own import chosen, located  # light, but the package around it is not

    return located(given or os.environ.get("STEMMA_POLICY") or chosen(home), home)


def evaluation_sets(given: str = "") -> str | None:
    """The folder of the evaluation sets that pages are compared with: STEMMA_EVALUATION_SETS; None: the bundled
    samples."""
    return given or os.environ.get("STEMMA_EVALUATION_SETS") or None


def heldout_sets(given: str = "") -> str | None:
    """The folder of texts from elsewhere that corpora are compared on: STEMMA_HELDOUT_SETS; None: pages of the crawl
    alone."""
    return given or os.environ.get("STEMMA_HELDOUT_SETS") or None


@dataclass(frozen=True)
class Chosen:
    """What decides the configuration of every asset of a home."""

    home: Path
    crawl: str
    recipe: str
    policy: str
    evaluation_sets: str | None = None

    @staticmethod
    def now() -> Chosen:
        """As the environment and the home's files say. Raises PolicyError."""
        home = home_path()
        return Chosen(home, crawl_root(), recipe_name(home), policy_name(home), evaluation_sets())
