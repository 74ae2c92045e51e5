"""How what holds a page stands: as its own asset says, or as the asset says that makes it beside its own."""

import pytest

from assets.descent import Holding
from orchestration.reaching import state_of

VERSION, OTHER = "0" * 32, "1" * 32


def states(*rows: tuple[str, str, str]) -> dict:
    """Rows of `stemma status --json` by asset and partition, all of the same version."""
    return {
        (asset, partition): {"asset": asset, "partition": partition, "status": status, "data_version": VERSION}
        for asset, partition, status in rows
    }


@pytest.mark.parametrize(
    ("asset", "version", "current", "said"),
    [
        ("documents", VERSION, True, "outdated"),
        ("documents", OTHER, True, "superseded"),  # the asset has been made again since
        ("documents", VERSION, False, "superseded"),
        ("repeated_lines", OTHER, True, "current"),  # a table that repeated_text makes beside its own
        ("corpus_clusters", OTHER, True, "outdated"),  # one asset, whose table lies by snapshot
        ("corpus", VERSION, True, "unknown"),
    ],
)
def test_state_is_that_of_the_asset_or_of_what_makes_the_table(asset, version, current, said):
    rows = (("documents", "A", "outdated"), ("repeated_text", "A", "current"), ("corpus_clusters", "", "outdated"))
    assert state_of(Holding(asset, "A", version, "rows", 1, current=current), states(*rows)) == said
