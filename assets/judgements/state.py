"""The state of what people judged, by the asset that puts it into a table: another state, and the asset is outdated."""

from __future__ import annotations

from pathlib import Path


def judged(asset: str, home: Path) -> str | None:
    """What changes whenever somebody judges something that the asset reads; None for every other asset."""
    if asset == "preferences":
        from assets.judgements.votes import Votes

        return Votes(home).digest()
    if asset == "labels":
        from assets.judgements.store import Judgements

        return Judgements(home).state()
    return None
