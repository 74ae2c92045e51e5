"""`python -m models tokenize`: token shards of the corpus, split into train and held-out documents.

A document is held out by the hash of its near-duplicate cluster: members of one cluster never straddle the split, and
neither the order of the files nor the other documents matter. Documents lie in the order of their ids. Threads share
the row groups of the files out; how many there are changes no byte. The tokens of the corpus are held in memory (about
half of its text's bytes), the texts only a batch at a time.

Where the policy repeats documents by the size of their cluster (models/data/mixing.py), the training split holds all
documents once, then those that are due a second time, and so on: copies of a text never lie side by side. Held-out
documents count once. Where it takes one document of a cluster over all snapshots (models/data/survivors.py), the others
are left out, and the cluster and its size are those over all snapshots.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kernels.tokens.shards import DTYPES, SplitWriter, dtype_for, write_manifest
from models.artifacts import building, publish
from models.config import InputError
from models.data.encoder import Encoder, load_encoder
from models.data.mixing import repetitions
from models.data.survivors import Survivors, survivors_of
from models.data.tokenizer import END_OF_TEXT_ID, corpus_parquet, load_tokenizer, tokenizer_sha256
from models.recipes import resolve

COLUMNS = ["doc_id", "cluster_id", "text"]
CLUSTER_SIZE = "cluster_size"  # read only where documents are repeated by it
ENCODE_AT_ONCE = 512  # documents


@dataclass(frozen=True, order=True)
class Document:
    """A document's tokens, its begin token first; documents sort by id."""

    doc_id: str
    cluster_id: str = field(compare=False)
    tokens: np.ndarray = field(compare=False)
    text_bytes: int = field(compare=False)
    cluster_size: int = field(compare=False)


def is_heldout(cluster_id: str, fraction: float) -> bool:
    """Whether a near-duplicate cluster is held out: the first 8 bytes of sha256(cluster_id) as a number in [0, 1)."""
    head = hashlib.sha256(cluster_id.encode()).digest()[:8]
    return int.from_bytes(head, "big") < fraction * 2.0**64


def tokens_of(
    files: Sequence[str | Path],
    encoder: Encoder,
    vocab_size: int,
    workers: int | None = None,
    sized: bool = False,
    stay: Sequence[Survivors | None] | None = None,
) -> Iterator[Document]:
    """The documents of the corpus files, in their order; sized: with the sizes of their clusters, else 1.

    workers: threads (default: the CPUs). stay: for each file the documents that are taken (None: all). Raises
    InputError.
    """
    columns = [*COLUMNS, CLUSTER_SIZE] if sized else COLUMNS
    opened = zip(files, corpus_parquet(files, columns), stay or [None] * len(files), strict=True)
    groups = [(file, k, taken) for file, parquet, taken in opened for k in range(parquet.num_row_groups)]
    dtype = DTYPES[dtype_for(vocab_size)]

    def of_group(group: tuple[str | Path, int, Survivors | None]) -> list[Document]:
        file, k, taken = group
        return list(encoded(file, k, columns, encoder, dtype, taken))

    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as threads:
        for documents in threads.map(of_group, groups):
            yield from documents


def encoded(
    file: str | Path,
    row_group: int,
    columns: list[str],
    encoder: Encoder,
    dtype: np.dtype,
    taken: Survivors | None = None,
) -> Iterator[Document]:
    """The documents of one row group of a corpus file, those of `taken` alone if it is given, with its clusters.

    Raises InputError for a document without id, cluster or text.
    """
    for batch in pq.ParquetFile(file).iter_batches(ENCODE_AT_ONCE, row_groups=[row_group], columns=columns):
        if any(batch.column(name).null_count for name in columns):
            raise InputError(f"corpus file {file} has a document without {', '.join(columns)}")
        if taken is not None:
            batch = batch.filter(pa.array([one in taken for one in batch.column("doc_id").to_pylist()], pa.bool_()))
            if not batch.num_rows:
                continue
        texts = batch.column("text").cast(pa.large_string())
        ids, ends = encoder.encode(texts)
        starts = ends - np.diff(ends, prepend=0)
        tokens = np.split(np.insert(ids, starts, END_OF_TEXT_ID).astype(dtype), starts[1:] + np.arange(1, len(starts)))
        sizes = pc.call_function("binary_length", [texts]).to_pylist()
        ids_of, clusters_of = (batch.column(name).to_pylist() for name in ("doc_id", "cluster_id"))
        cluster_sizes = batch.column(CLUSTER_SIZE).to_pylist() if CLUSTER_SIZE in columns else [1] * len(tokens)
        if taken is not None:
            clusters_of, cluster_sizes = zip(*(taken[one] for one in ids_of), strict=True)
        yield from map(Document, ids_of, clusters_of, tokens, sizes, cluster_sizes)


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `tokenize` command. Config: recipe, corpus_files, tokenizer_dir; heldout_fraction, workers, repetition.

    corpus_files have columns doc_id, cluster_id, text; doc_id is unique. workers: threads (default: the CPUs).
    repetition: copies by least cluster size, as the policy says; corpus_files have cluster_size too then.
    clusters, corpus_snapshots: as `models.data.survivors` says, where not every document is taken.
    InputError when a split would be empty.
    """
    if not config.get("corpus_files") or not config.get("tokenizer_dir"):
        raise InputError("tokenize needs corpus_files and tokenizer_dir")
    fraction = config.get("heldout_fraction")
    fraction = resolve(config).heldout_fraction if fraction is None else float(fraction)
    if not 0 < fraction < 1:
        raise InputError(f"heldout_fraction must lie between 0 and 1, got {fraction}")
    encoder, vocab_size = (
        load_encoder(config["tokenizer_dir"]),
        load_tokenizer(config["tokenizer_dir"]).get_vocab_size(),
    )
    weights = {int(size): int(weight) for size, weight in (config.get("repetition") or {}).items()}
    stay = survivors_of(config)
    documents = sorted(
        tokens_of(config["corpus_files"], encoder, vocab_size, config.get("workers"), sized=bool(weights), stay=stay)
    )
    for document, following in pairwise(documents):
        if document.doc_id == following.doc_id:
            raise InputError(f"document {document.doc_id} occurs twice in the corpus files")
    with building(out / "final") as temporary:
        writers = {split: SplitWriter(temporary, split, vocab_size) for split in ("train", "heldout")}
        for turn in range(max([1, *weights.values()])):
            for document in documents:
                split = "heldout" if is_heldout(document.cluster_id, fraction) else "train"
                if turn < (repetitions(document.cluster_size, weights) if split == "train" else 1):
                    writers[split].add(document.doc_id, document.tokens, document.text_bytes)
        counts = {split: writer.close() for split, writer in writers.items()}
        for split, count in counts.items():
            if not count.documents:
                raise InputError(
                    f"no document fell into {split} at heldout_fraction {fraction}: add pages or change it"
                )
            report(
                f"tokenize: {split} {count.documents} documents, {count.tokens:,} tokens, {count.text_bytes:,} bytes"
            )
        manifest = write_manifest(
            temporary,
            tokenizer_sha256=tokenizer_sha256(config["tokenizer_dir"]),
            vocab_size=vocab_size,
            splits=counts,
            heldout_fraction=fraction,
            **({"repetition": {str(size): weights[size] for size in sorted(weights)}} if weights else {}),
            **({"dedup_scope": "corpus"} if config.get("clusters") is not None else {}),
        )
        publish(temporary, out / "final")
    return {key: value for key, value in manifest.items() if key != "files"}
