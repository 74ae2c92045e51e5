"""Schemas: every row table of the lake, with the meaning and unit of each column, its partitioning and its maker.

Column metadata carries `comment` (what the value means) and, where there is one, `unit`; Delta, DuckDB and the control
plane show them. The statistics of `annotations` come from `kernels.text.statistics.STATISTICS`, so a new statistic is
named in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from assets.judgements import schemas as judged

TIMESTAMP = pa.timestamp("us", tz="UTC")
# the child is called as Parquet calls it, so that a file read and written again keeps its bytes
PII_SPANS = pa.list_(
    pa.field("element", pa.struct([("type", pa.string()), ("start", pa.int64()), ("end", pa.int64())]))
)
CUT_SPANS = pa.list_(pa.field("element", pa.struct([("start", pa.int64()), ("end", pa.int64())])))
COUNTED_REASONS = pa.list_(pa.field("element", pa.struct([("reason", pa.string()), ("records", pa.int64())])))
COUNTED, COUNTED_FLOATS = (pa.list_(pa.field("element", kind)) for kind in (pa.int64(), pa.float64()))
SIGNATURE_BYTES = 112 * 8


class UnknownTable(KeyError):
    """No table of that name is described here."""

    def __str__(self) -> str:
        return str(self.args[0])


def field(name: str, kind: pa.DataType, comment: str, unit: str | None = None) -> pa.Field:
    """A column with its meaning and unit in the metadata."""
    metadata = {"comment": comment} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, metadata=metadata)


DOC_ID = field("doc_id", pa.string(), "UUID of the WARC-Record-ID, lower case; uuid5 of the place where absent")
SNAPSHOT = field("snapshot", pa.string(), "crawl snapshot: the folder of the crawl root that the file came from")
SHARD = field("shard", pa.string(), "first 12 hex of the sha256 of warc_path: one WARC file")
WARC_PATH = field("warc_path", pa.string(), "WARC file, relative to the crawl root: <snapshot>/<file>")
WARC_OFFSET = field("warc_offset", pa.int64(), "start of the gzip member (or of the record) in the file", "bytes")
WARC_LENGTH = field("warc_length", pa.int64(), "length of that member (or record) in the file", "bytes")
WARC_INNER = field("warc_inner_offset", pa.int64(), "start of the record inside the inflated member", "bytes")
PAYLOAD_DIGEST = field("payload_digest", pa.string(), "sha1: and base32 of the sha1 of the HTTP body as stored")
URL = field("url", pa.string(), "WARC-Target-URI")
HOST = field("host", pa.string(), "host of the url, lower case")
FETCHED_AT = field("fetched_at", TIMESTAMP, "WARC-Date: when the crawler fetched the page", "UTC")
CONTENT_HASH = field("content_hash", pa.string(), "xxh3-128 of the text in UTF-8, hex")
LANGUAGE = field("language", pa.string(), "ISO 639-3 code and script, as nob_Latn; und: undetermined")
LANGUAGE_SCORE = field("language_score", pa.float64(), "calibrated probability of that language", "0..1")
CONTAMINATED_BY = field("contaminated_by", pa.string(), "evaluation sets that share a passage, by commas; null: none")
CURATED_QUALITY = field("curated_quality", pa.float64(), "probability that our curators would keep the text", "0..1")
CLUSTER_ID = field("cluster_id", pa.string(), "doc_id of the duplicate cluster's survivor")
CLUSTER_SIZE = field("cluster_size", pa.int64(), "documents of the snapshot in the cluster", "documents")
REJECT_REASON = field("reason", pa.string(), "why the bytes are no readable record: a typed name")
PROVENANCE = [WARC_PATH, WARC_OFFSET, WARC_LENGTH, WARC_INNER]


def _crawl_fetches() -> pa.Schema:
    return pa.schema(
        [
            SNAPSHOT,
            field("kind", pa.string(), "given: the files simply lie in the crawl root; records, by a plan; or files"),
            field("fetch", pa.string(), "first 12 hex of the plan's sha256: the folder below fetches/; null: no plan"),
            field("subscription", pa.string(), "name of the subscription; null: fetched by hand, or given"),
            field("source", pa.string(), "where the WARC files came from: URL or folder; null: given"),
            field("selection", pa.string(), "what was asked of the index, JSON; null: whole files, or given"),
            field("planned_records", pa.int64(), "records (of kind files: files) that were planned", "records"),
            field("planned_requests", pa.int64(), "requests that the plan makes", "requests"),
            field("planned_bytes", pa.int64(), "bytes that the plan moves", "bytes"),
            field("price", pa.string(), "line of the price table that the cost is by"),
            field("planned_usd", pa.float64(), "what the plan costs, by the price table", "US dollars"),
            field("fetched_records", pa.int64(), "records (files) that came and were verified", "records"),
            field("fetched_bytes", pa.int64(), "size of the WARC files that hold them", "bytes"),
            field("rejected", COUNTED_REASONS, "records that were planned and did not come, by reason"),
            field("left_out", COUNTED_REASONS, "records that were selected and not planned, by reason"),
            field("is_last", pa.bool_(), "whether the selection has nothing beyond this slice; null: no slice"),
        ]
    )


def _crawl_manifest() -> pa.Schema:
    return pa.schema(
        [
            SNAPSHOT,
            WARC_PATH,
            SHARD,
            field("size_bytes", pa.int64(), "size of the file", "bytes"),
            field("sha256", pa.string(), "sha256 of the file's bytes, hex"),
        ]
    )


def _documents() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            *PROVENANCE,
            URL,
            HOST,
            FETCHED_AT,
            PAYLOAD_DIGEST,
            field("content_type", pa.string(), "media type of the payload, lower case, without parameters"),
            field("charset", pa.string(), "charset that the payload was decoded with"),
            field("payload_bytes", pa.int64(), "size of the HTTP body as stored", "bytes"),
            field("extraction", pa.string(), '"ok", or the limit that the page is over, as page_too_deep'),
            field("text", pa.string(), 'extracted main text; "" where nothing was extracted'),
            CONTENT_HASH,
        ]
    )


def _rejects() -> pa.Schema:
    detail = field("detail", pa.string(), "what the reader found there")
    return pa.schema([SNAPSHOT, SHARD, WARC_PATH, WARC_OFFSET, WARC_LENGTH, REJECT_REASON, detail])


def _record_counts() -> pa.Schema:
    return pa.schema(
        [
            SNAPSHOT,
            SHARD,
            WARC_PATH,
            field("kind", pa.string(), "page, reject, or skipped:<why>"),
            field("records", pa.int64(), "records of that kind", "records"),
        ]
    )


def _annotations() -> pa.Schema:
    from kernels.text.statistics import STATISTICS

    kinds = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}
    statistics = [
        field(name, kinds[statistic.dtype], statistic.meaning, statistic.unit) for name, statistic in STATISTICS.items()
    ]
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            LANGUAGE,
            LANGUAGE_SCORE,
            field("lid176_language", pa.string(), "language code as lid.176 gives it, FineWeb's network; und: blank"),
            field("lid176_score", pa.float64(), "probability of that language by lid.176", "0..1"),
            field("url_flag", pa.string(), "block-list rule that the url falls under; null: none"),
            *statistics,
            field("quality_score", pa.float64(), "probability that people would keep the text (English only)", "0..1"),
            field(
                "pii",
                PII_SPANS,
                "personal data in the text: type (kernels.text.pii.TYPES), start and end in code points",
            ),
            field("pii_count", pa.int64(), "number of those spans", "spans"),
        ]
    )


def _annotation_statistics() -> pa.Schema:
    numbers = {
        "mean": "mean of the values",
        "min": "least value",
        **{f"p{q:02d}": f"value that {q}% of the pages do not exceed" for q in (1, 5, 25, 50, 75, 95, 99)},
        "max": "greatest value",
    }
    return pa.schema(
        [
            SNAPSHOT,
            field("statistic", pa.string(), "numeric column of annotations"),
            field("grouped_by", pa.string(), "all, language (by our tag) or host (of 10 pages or more)"),
            field("group", pa.string(), "that language or host; all"),
            field("n", pa.int64(), "pages with a value", "pages"),
            field("missing", pa.int64(), "pages without one", "pages"),
            *[field(name, pa.float64(), f"{meaning}, in the statistic's unit") for name, meaning in numbers.items()],
            field("bin_edges", COUNTED_FLOATS, "lower edges of the histogram's bins, in the statistic's unit"),
            field("histogram", COUNTED, "pages in each bin; the last one holds all above", "pages"),
        ]
    )


def _contamination() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            field("set", pa.string(), "evaluation set that shares a passage with the text"),
            field("item", pa.string(), "the item of the set: its id there, else its line from 0"),
            field("part", pa.string(), "question or answer of that item"),
            field("n_matches", pa.int64(), "different runs of 13 words that both have", "runs"),
            field("n_ngrams", pa.int64(), "runs that the item's part is looked for by", "runs"),
            field("start", pa.int64(), "where the first of them starts in the extracted text", "code points"),
            field("end", pa.int64(), "where the last of them ends there", "code points"),
        ]
    )


def _decisions() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            field("policy", pa.string(), "policy and its version: name@version"),
            field("verdict", pa.string(), "kept or dropped"),
            field("reason", pa.string(), "first rule of the policy that the page failed; null: kept"),
            field("score", pa.float64(), "the statistic that the rule looked at; null where it is no number"),
            field("threshold", pa.float64(), "what the rule compares it with; null where it is no number"),
        ]
    )


def _signatures() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            field("signature", pa.binary(), "112 MinHash values, little-endian uint64: 14 bands of 8", "896 bytes"),
            field("n_shingles", pa.int64(), "word 5-grams of the cleaned text, with repetitions", "shingles"),
        ]
    )


def _duplicate_clusters() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            CLUSTER_ID,
            CLUSTER_SIZE,
            field("survivor", pa.bool_(), "whether this is the document that is kept of its cluster"),
            field("similarity", pa.float64(), "exact Jaccard of word 5-gram sets with the survivor", "0..1"),
            field("reason", pa.string(), "why it is not kept: exact_duplicate, near_duplicate; null: survivor"),
            field("component_size", pa.int64(), "documents that shared bands connect with it, unverified", "documents"),
            field("unverified", pa.string(), "why it stays though not all candidates were compared; null: they were"),
        ]
    )


def _repeated_text() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            field("lines", pa.int64(), "lines of the extracted text that are not empty", "lines"),
            field("recurring_line_frac", pa.float64(), "share of those lines' characters in recurring lines", "0..1"),
            field("recurring_paragraph_frac", pa.float64(), "the same in recurring paragraphs", "0..1"),
            field("repeated_substring_frac", pa.float64(), "share in exact repeats; null: not looked for", "0..1"),
            field("cut", CUT_SPANS, "what the policy cuts of the extracted text: start and end in code points"),
        ]
    )


def _repeated_lines() -> pa.Schema:
    return pa.schema(
        [
            SNAPSHOT,
            field("kind", pa.string(), "line, or paragraph: two or more lines without an empty one between"),
            field("hash", pa.string(), "xxh3-64 of the line without the white space around it, hex"),
            field("documents", pa.int64(), "surviving documents that have it, 3 or more", "documents"),
            field("hosts", pa.int64(), "hosts of those documents", "hosts"),
            field("occurrences", pa.int64(), "how often it occurs in them", "lines"),
            field("doc_id", pa.string(), "document of its first occurrence, in the order of survival"),
            field("start", pa.int64(), "where it begins in that document's extracted text", "code points"),
            field("end", pa.int64(), "where it ends there, with its newline", "code points"),
        ]
    )


def _corpus() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            SHARD,
            *PROVENANCE,
            PAYLOAD_DIGEST,
            URL,
            HOST,
            FETCHED_AT,
            LANGUAGE,
            LANGUAGE_SCORE,
            field("text", pa.string(), "text after C4's line rules, personal data replaced by placeholders"),
            CONTENT_HASH,
            CLUSTER_ID,
            CLUSTER_SIZE,
            field("text_bytes", pa.int64(), "size of the text in UTF-8", "bytes"),
        ]
    )


def _corpus_clusters() -> pa.Schema:
    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            LANGUAGE,
            field("cluster_id", pa.string(), "doc_id of the survivor among the corpora of all snapshots"),
            field("cluster_size", pa.int64(), "documents of all snapshots that the cluster stands for", "documents"),
            field("survivor", pa.bool_(), "whether this is the row that is kept of its cluster"),
            field("similarity", pa.float64(), "exact Jaccard of word 5-gram sets with the survivor", "0..1"),
            field("reason", pa.string(), "why it is not kept: exact_duplicate, near_duplicate; null: survivor"),
        ]
    )


def _page_quality() -> pa.Schema:
    return pa.schema([DOC_ID, SNAPSHOT, SHARD, CURATED_QUALITY])


@dataclass(frozen=True)
class Table:
    """A row table: its name, partition columns, what makes it, and (built on first use) its schema."""

    name: str
    partition_by: tuple[str, ...]
    made_by: str
    build: Callable[[], pa.Schema]

    @property
    def schema(self) -> pa.Schema:
        return _schema(self.build)


@cache
def _schema(build: Callable[[], pa.Schema]) -> pa.Schema:
    return build()


BY_SHARD = ("snapshot", "shard")
TABLES: dict[str, Table] = {
    table.name: table
    for table in [
        Table("crawl_fetches", ("snapshot",), "the asset crawl_fetches", _crawl_fetches),
        Table("crawl_manifest", ("snapshot",), "the asset crawl_manifest", _crawl_manifest),
        Table("documents", BY_SHARD, "the asset documents", _documents),
        Table("rejects", BY_SHARD, "the asset documents", _rejects),
        Table("record_counts", BY_SHARD, "the asset documents", _record_counts),
        Table("annotations", BY_SHARD, "the asset annotations", _annotations),
        Table("annotation_statistics", ("snapshot",), "the asset annotation_statistics", _annotation_statistics),
        Table("contamination", BY_SHARD, "the asset contamination", _contamination),
        Table("page_quality", BY_SHARD, "the asset page_quality", _page_quality),
        Table("decisions", BY_SHARD, "the asset decisions", _decisions),
        Table("signatures", BY_SHARD, "the asset signatures", _signatures),
        Table("duplicate_clusters", BY_SHARD, "the asset duplicate_clusters", _duplicate_clusters),
        Table("repeated_text", BY_SHARD, "the asset repeated_text", _repeated_text),
        Table("repeated_lines", ("snapshot",), "the asset repeated_text", _repeated_lines),
        Table("corpus", BY_SHARD, "the asset corpus", _corpus),
        Table("corpus_clusters", ("snapshot",), "the asset corpus_clusters", _corpus_clusters),
        Table("labels", ("snapshot",), "the asset labels", judged.labels),
        Table("labelled_texts", ("snapshot",), "the asset labels", judged.labelled_texts),
        Table("preferences", (), "the asset preferences", judged.preferences),
    ]
}


def table(name: str) -> Table:
    """The table of that name. Raises UnknownTable."""
    if name not in TABLES:
        raise UnknownTable(f"no table is called {name!r}; the tables are {', '.join(TABLES)}")
    return TABLES[name]
