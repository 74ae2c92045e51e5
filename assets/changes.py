"""What came into the corpus and what left it since the version before: metadata of `corpus` and `corpus_card`.

It is history, so no bytes of an asset and no data version hold it: the same pages give the same corpus whatever the one
before was.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from assets import curves
from assets.difference_report import draw, report_of_change
from assets.differences import compare
from assets.lake import Lake
from assets.sides import of_version
from assets.steps.ledger import removals
from assets.versions import CorpusVersion, UnknownVersion, Versions


def of_snapshot(lake: Lake, snapshot: str) -> dict[str, Any]:
    """Metadata of a snapshot's corpus that was just committed: the corpus version that it is in, and what changed."""
    known = Versions(lake)
    now, before = known.of_snapshot(snapshot), known.of_snapshot(snapshot, 1)
    said: dict[str, Any] = {"stemma/corpus_version": known.current.digest}
    if before is not None:
        said["data_version_before"] = before.snapshots[snapshot]
    return said | (_changed(known, before, now) if now is not None else {})


def of_corpus(lake: Lake, before: str | None) -> dict[str, Any]:
    """Metadata of the corpus of all snapshots; before: digest of the version that the last card was made of."""
    known = Versions(lake)
    try:
        earlier = known.find(before) if before else None
    except UnknownVersion:
        return {"corpus_before": f"{before}, of which the tables' log says nothing"}
    return ({"corpus_before": before} if before else {}) | _changed(known, earlier, known.current)


def _changed(known: Versions, before: CorpusVersion | None, now: CorpusVersion) -> dict[str, Any]:
    if before is None:
        return {"documents_added": now.rows, "documents_removed": 0}
    if not before.readable:
        return {"change": dg.MetadataValue.md(before.why_gone())}
    found = compare(of_version(known, before), of_version(known, now), removed=removals(known.lake.local))
    said: dict[str, Any] = {
        "documents_added": found.only_b.count.documents,
        "documents_removed": found.only_a.count.documents,
        "documents_changed": found.changed.documents,
    }
    if found.is_empty:
        return said
    picture = curves.inline(draw(found), "change")
    return said | {"change": dg.MetadataValue.md(f"{report_of_change(found)}\n\n{picture}")}
