"""Page quality: the score of every document by the classifier that the curators' labels trained; nothing is decided.

A row depends on the document's text and the classifier's weights alone; the rule is in kernels/text/quality_model.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from assets.parts import PartFile
from assets.schemas import table
from assets.steps.jobs import Beat, ShardJob
from kernels.text.quality_model import QualityModel, parse, score


class ClassifierChanged(RuntimeError):
    """The weights are not those that the job was asked to score with."""


def scored(documents: pa.RecordBatch, model: QualityModel) -> pa.Table:
    """Rows of the table page_quality of documents (doc_id, text), in order; without the partition columns."""
    scores = [score(text.as_py(), model) for text in documents.column("text")]
    spec = table("page_quality")
    fields = [field for field in spec.schema if field.name not in spec.partition_by]
    return pa.Table.from_arrays(
        [documents.column("doc_id").cast(pa.string()), pa.array(scores)], schema=pa.schema(fields)
    )


def run(job: ShardJob, beat: Beat) -> tuple[dict[str, list[PartFile]], dict[str, int]]:
    """The worker's step: documents to scores, a batch at a time. Raises ClassifierChanged."""
    content = Path(job.places["classifier"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != job.config["classifier"]:
        raise ClassifierChanged(f"{job.places['classifier']} is not the file that was chosen: run it again")
    model = parse(content)
    with job.writer("page_quality", table("page_quality").schema) as writer:
        for batch in job.batches("documents", ["doc_id", "text"]):
            writer.write(scored(batch, model))
            beat()
    return {"page_quality": [writer.part] if writer.part else []}, {"documents": writer.rows}
