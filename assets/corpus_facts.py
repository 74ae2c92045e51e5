"""What can be said of a corpus version without showing a text: counts over its rows and over what decided about them.

Every figure is of the rows that the version had, also when the tables moved on since: its corpus rows, and the
decisions and clusters that it was made from. Only personal data, contamination and cuts are counted in the present
tables, for they do not depend on the policy; a page that left these since is missing in them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from assets.history import rows_of
from assets.lake import Lake
from assets.policy import Policy, PolicyError, load
from assets.safe_text import shown
from assets.steps.clusters import REASONS
from assets.steps.funnel import in_order
from assets.steps.ledger import FOUND, Ledger
from assets.versions import CLUSTERS, CORPUS, DECISIONS, DOCUMENTS, CorpusVersion, Versions

READ_TABLES = (
    CORPUS, DECISIONS, CLUSTERS, DOCUMENTS, "annotations", "contamination", "repeated_text", "crawl_fetches",
    "crawl_manifest", "record_counts", "rejects",
)  # fmt: skip
HOSTS_SHOWN, LANGUAGES_SHOWN = 15, 15
HOST_LENGTH = 60  # characters shown of a host
SIZES = (0.05, 0.5, 0.95)  # quantiles of documents' sizes
OPT_OUT = "opt_out"


@dataclass(frozen=True)
class Counted:
    """A host or language: documents, bytes of their text, and the share of all documents."""

    name: str
    documents: int
    bytes: int
    share: float


@dataclass(frozen=True)
class Source:
    """One snapshot: its data version in the corpus, files and records of the crawl, pages read, documents kept."""

    snapshot: str
    data_version: str
    files: int
    records: int
    pages: int
    kept: int
    fetched: tuple[str, str]  # first and last day that a kept page was fetched
    origin: str  # how the files came
    files_version: str  # of crawl_manifest, which names them by their sha256; "" for versions of earlier


@dataclass(frozen=True)
class CorpusFacts:
    """Everything that a data card says of one version, or of one snapshot of it."""

    version: CorpusVersion
    snapshot: str | None
    policy: Policy | None  # None: it cannot be read any more
    documents: int = 0
    text_bytes: int = 0
    sizes: tuple[int, ...] = ()  # bytes of a document at SIZES
    sources: tuple[Source, ...] = ()
    languages: tuple[Counted, ...] = ()
    all_languages: int = 0
    hosts: tuple[Counted, ...] = ()
    all_hosts: int = 0
    pages: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by reason, in the policy's order, duplicates last
    skipped: dict[str, int] = field(default_factory=dict)  # records that are no page, by reason
    rejects: dict[str, int] = field(default_factory=dict)
    clusters: int = 0  # of two documents or more
    largest_cluster: int = 0
    documents_cut: int = 0  # kept documents of which something that recurs was cut
    personal_data: dict[str, int] = field(default_factory=dict)  # spans found in the kept documents, by type
    documents_with_personal_data: int = 0
    contamination: dict[str, int] | None = None  # kept documents by evaluation set; None: it was not looked for
    contaminated_dropped: int = 0
    left_out: dict[str, int] = field(default_factory=dict)  # records that were never fetched, by reason
    taken_down: int = 0  # pages of these snapshots that requests removed
    tokens: int | None = None  # of the token shards made of it, where there are any

    @property
    def opt_outs(self) -> dict[str, int]:
        """Pages that were not taken because they refuse it, at selection or when they were read."""
        found = Counter({name: n for name, n in self.left_out.items() if OPT_OUT in name})
        found.update({name: n for name, n in self.skipped.items() if OPT_OUT in name})
        return dict(sorted(found.items()))


def gather(
    known: Versions, version: CorpusVersion, snapshot: str | None = None, going_by: str | None = None
) -> CorpusFacts:
    """Counts a version, or one snapshot of it. Of one whose bytes are gone only its name and size are known.

    going_by: name or file of the policy that the home goes by, which may be the version's where no name leads to it.
    """
    lake, policy = known.lake, policy_of(known.lake, version, going_by)
    if not version.readable:
        return CorpusFacts(version, snapshot, policy)
    names = [snapshot] if snapshot is not None else sorted(version.snapshots)
    rows = rows_of(lake, [one for one in known.rows(version) if one.snapshot in names], CORPUS)
    corpus = rows.select("doc_id", "snapshot", "host", "language", "fetched_at", "text_bytes").collect()
    behind = {
        table: [one for one in held if one.snapshot in names] for table, held in known.decided_from(version).items()
    }
    decided = rows_of(lake, behind[DECISIONS], DECISIONS).select("verdict", "reason").collect()
    clustered = (
        rows_of(lake, behind[CLUSTERS], CLUSTERS).select("doc_id", "reason", "cluster_size", "survivor").collect()
    )
    read = rows_of(lake, behind[DOCUMENTS], DOCUMENTS).group_by("snapshot").len().collect()
    dropped = _by(decided.filter(pl.col("verdict") == "dropped"), "reason")
    dropped |= _by(clustered.filter(pl.col("reason").is_in(list(REASONS))), "reason")
    groups = clustered.filter(pl.col("survivor") & (pl.col("cluster_size") > 1))["cluster_size"]
    kept, records = corpus.select("doc_id"), _records(lake, names)
    return CorpusFacts(
        version=version,
        snapshot=snapshot,
        policy=policy,
        documents=corpus.height,
        text_bytes=int(corpus["text_bytes"].sum()),
        sizes=tuple(int(corpus["text_bytes"].quantile(q) or 0) for q in SIZES) if corpus.height else (),
        sources=_sources(lake, version, names, corpus, dict(read.iter_rows()), records),
        languages=_counted(corpus, "language", LANGUAGES_SHOWN),
        all_languages=corpus["language"].n_unique(),
        hosts=_counted(corpus, "host", HOSTS_SHOWN),
        all_hosts=corpus["host"].n_unique(),
        pages=decided.height,
        dropped=in_order(dropped, policy) if policy else dict(sorted(dropped.items())),
        skipped=_skipped(records),
        rejects=_table_by(lake, "rejects", names, "reason"),
        clusters=groups.len(),
        largest_cluster=int(groups.max() or 0),  # type: ignore[arg-type]
        left_out=_left_out(lake, names),
        taken_down=_taken_down(lake, names),
        **_of_present_tables(lake, names, kept),
    )


def policy_of(lake: Lake, version: CorpusVersion, going_by: str | None) -> Policy | None:
    """The policy that decided about a version, if it was one and can still be read as it was."""
    if len(version.policies) != 1:
        return None
    for given in (version.policies[0], going_by):
        with suppress(PolicyError):
            if given is not None and (found := load(given, lake.local)).id == version.policies[0]:
                return found
    return None


def _of_present_tables(lake: Lake, names: list[str], kept: pl.DataFrame) -> dict[str, Any]:
    """What is counted in tables that no policy decides."""
    found: dict[str, Any] = {}
    chosen = pl.col("snapshot").is_in(names)
    if lake.exists("annotations"):
        spans = lake.scan("annotations").filter(chosen & (pl.col("pii_count") > 0)).select("doc_id", "pii").collect()
        spans = spans.join(kept, on="doc_id", how="semi")
        kinds = spans["pii"].explode().drop_nulls().struct.field("type").value_counts().sort("type")
        found["personal_data"] = dict(kinds.iter_rows())
        found["documents_with_personal_data"] = spans.height
    if lake.exists("contamination"):
        shared = lake.scan("contamination").filter(chosen).select("doc_id", "set").unique().collect()
        found["contamination"] = _by(shared.join(kept, on="doc_id", how="semi"), "set")
        found["contaminated_dropped"] = shared.join(kept, on="doc_id", how="anti")["doc_id"].n_unique()
    if lake.exists("repeated_text"):
        cut = lake.scan("repeated_text").filter(chosen & (pl.col("cut").list.len() > 0)).select("doc_id").collect()
        found["documents_cut"] = cut.join(kept, on="doc_id", how="semi").height
    return found


def _sources(
    lake: Lake,
    version: CorpusVersion,
    names: list[str],
    corpus: pl.DataFrame,
    pages: dict[str, int],
    records: pl.DataFrame,
) -> tuple[Source, ...]:
    files = _table_by(lake, "crawl_manifest", names, "snapshot")
    counted = dict(records.group_by("snapshot").agg(pl.col("records").sum()).iter_rows())
    days = corpus.group_by("snapshot").agg(
        pl.len(),
        pl.col("fetched_at").min().dt.date().alias("first"),
        pl.col("fetched_at").max().dt.date().alias("last"),
    )
    kept = {row["snapshot"]: row for row in days.to_dicts()}
    return tuple(
        Source(
            name,
            version.snapshots[name],
            files.get(name, 0),
            int(counted.get(name, 0)),
            pages.get(name, 0),
            kept[name]["len"] if name in kept else 0,
            (str(kept[name]["first"]), str(kept[name]["last"])) if name in kept else ("", ""),
            _origin(lake, name),
            lake.version_of("crawl_manifest", snapshot=name) if version.current and name in files else "",
        )
        for name in names
    )


def _origin(lake: Lake, snapshot: str) -> str:
    """How the files of a snapshot came, in words."""
    if not lake.exists("crawl_fetches", snapshot=snapshot):
        return "files that lay in the crawl folder"
    rows = lake.scan("crawl_fetches", snapshot=snapshot).select("kind", "source").unique().collect().sort("kind")
    said = {
        "given": "files that lay in the crawl folder",
        "records": "records chosen by an index",
        "files": "whole files",
    }
    parts: list[str] = [
        f"{said.get(kind, kind)} from {shown(source, 120)}" if source else str(said.get(kind, kind))
        for kind, source in rows.iter_rows()
    ]
    return "; ".join(sorted(set(parts)))


def _records(lake: Lake, names: list[str]) -> pl.DataFrame:
    if not lake.exists("record_counts"):
        return pl.DataFrame(schema={"snapshot": pl.String, "kind": pl.String, "records": pl.Int64})
    rows = lake.scan("record_counts").filter(pl.col("snapshot").is_in(names))
    return rows.select("snapshot", "kind", "records").collect()


def _skipped(records: pl.DataFrame) -> dict[str, int]:
    counts = dict(records.group_by("kind").agg(pl.col("records").sum()).sort("kind").iter_rows())
    return {kind.removeprefix("skipped:"): int(n) for kind, n in counts.items() if kind.startswith("skipped:")}


def _left_out(lake: Lake, names: list[str]) -> dict[str, int]:
    if not lake.exists("crawl_fetches"):
        return {}
    rows = lake.scan("crawl_fetches").filter(pl.col("snapshot").is_in(names)).select("left_out").collect()
    counts: Counter[str] = Counter()
    for reasons in rows["left_out"].to_list():
        counts.update({one["reason"]: one["records"] for one in reasons or []})
    return dict(sorted(counts.items()))


def _taken_down(lake: Lake, names: list[str]) -> int:
    """Pages of these snapshots that applied requests removed; who asked, and for what, is nobody else's business."""
    ledger = Ledger(lake.local)
    found = [ledger.read(entry.number, FOUND) or {"pages": []} for entry in ledger.entries()]
    return len({page["doc_id"] for one in found for page in one["pages"] if page["snapshot"] in names})


def _counted(corpus: pl.DataFrame, column: str, most: int) -> tuple[Counted, ...]:
    found = corpus.group_by(pl.col(column).fill_null("none")).agg(pl.len(), pl.col("text_bytes").sum())
    found = found.sort(["len", column], descending=[True, False]).head(most)
    return tuple(
        Counted(shown(name, HOST_LENGTH), n, int(size), n / corpus.height) for name, n, size in found.iter_rows()
    )


def _table_by(lake: Lake, table: str, names: list[str], column: str) -> dict[str, int]:
    if not lake.exists(table):
        return {}
    return _by(lake.scan(table).filter(pl.col("snapshot").is_in(names)).select(column).collect(), column)


def _by(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return {name: int(n) for name, n in frame.group_by(column).len().sort(column).iter_rows()}
