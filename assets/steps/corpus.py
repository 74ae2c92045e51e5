"""Corpus rows: the kept survivors, their text cleaned by the policy's line rules and then scrubbed of personal data.

The replacement for a piece of personal data depends on the document and the piece alone, so a row's text does too.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import xxhash

from assets.parts import PartFile
from assets.schemas import table
from assets.steps.jobs import Beat, ShardJob
from assets.steps.signatures import cleaned_text
from kernels.text import pii

CARRIED = (
    "doc_id",
    "warc_path",
    "warc_offset",
    "warc_length",
    "warc_inner_offset",
    "payload_digest",
    "url",
    "host",
    "fetched_at",
)
CLUSTER = ("cluster_id", "cluster_size")
LANGUAGE = ("language", "language_score")
Cuts = dict[str, list[dict[str, int]]]  # doc_id -> spans
Extra = dict[str, dict[str, Any]]  # doc_id -> further columns of its row


def compose(documents: pa.RecordBatch, survivors: Extra, cut: Cuts, line_filter: str = "c4") -> pa.Table:
    """Corpus rows of those documents (CARRIED and text) that are in `survivors`, in order.

    `survivors` gives language, language_score, cluster_id and cluster_size by doc_id; `cut` spans of extracted text to
    leave out, where there are any.
    """
    rows = []
    for document in documents.to_pylist():
        extra = survivors.get(document["doc_id"])
        if extra is not None:
            left = without(document["text"], cut.get(document["doc_id"], []))
            text = final_text(left, document["doc_id"], line_filter)
            encoded = text.encode()
            content = {"text": text, "content_hash": xxhash.xxh3_128_hexdigest(encoded), "text_bytes": len(encoded)}
            rows.append({**{name: document[name] for name in CARRIED}, **extra, **content})
    corpus = table("corpus")
    fields = [field for field in corpus.schema if field.name not in corpus.partition_by]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def final_text(text: str, doc_id: str, line_filter: str = "c4") -> str:
    """A document's text as models learn from it."""
    return pii.scrub(cleaned_text(text, line_filter), doc_id)


def without(text: str, cut: list[dict[str, int]]) -> str:
    """The text without some spans of code points, which are apart and in order."""
    kept, at = [], 0
    for span in cut:
        kept.append(text[at : span["start"]])
        at = span["end"]
    return "".join([*kept, text[at:]])


def run(job: ShardJob, beat: Beat) -> tuple[dict[str, list[PartFile]], dict[str, int]]:
    """The worker's step: documents, annotations and clusters to corpus rows, a batch at a time."""
    survivors, cut = surviving_documents(job), cuts(job)
    with job.writer("corpus", table("corpus").schema) as writer:
        for batch in job.batches("documents", [*CARRIED, "text"]):
            writer.write(compose(batch, survivors, cut, job.config["line_filter"]))
            beat()
    return {"corpus": [writer.part] if writer.part else []}, {"documents": writer.rows}


def cuts(job: ShardJob) -> Cuts:
    """The spans that repeated_text cuts of the shard's documents; none where the job does not read it."""
    if "repeated_text" not in job.inputs:
        return {}
    columns = ["doc_id", "cut"]
    rows = (row for batch in job.batches("repeated_text", columns) for row in batch.to_pylist())
    return {row["doc_id"]: row["cut"] for row in rows if row["cut"]}


def surviving_documents(job: ShardJob) -> Extra:
    """Survivors among the job's documents, with what annotations and clusters say of them."""
    ours = {doc_id for batch in job.batches("documents", ["doc_id"]) for doc_id in batch.column("doc_id").to_pylist()}
    survivors: Extra = {}
    for batch in job.batches("duplicate_clusters", ["doc_id", "survivor", *CLUSTER]):
        for row in batch.to_pylist():
            if row["survivor"] and row["doc_id"] in ours:
                survivors[row["doc_id"]] = {name: row[name] for name in CLUSTER}
    for batch in job.batches("annotations", ["doc_id", *LANGUAGE]):
        for row in batch.to_pylist():
            if row["doc_id"] in survivors:
                survivors[row["doc_id"]].update({name: row[name] for name in LANGUAGE})
    return survivors
