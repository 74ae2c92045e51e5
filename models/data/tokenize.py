"""`python -m models tokenize`: token shards of the corpus, split into train and held-out documents.

A document is held out by the hash of its near-duplicate cluster: members of one cluster never straddle the split, and
neither the order of the files nor the other documents matter. Documents lie in the order of their ids.
"""

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from kernels.tokens.shards import SplitWriter, write_manifest
from models.artifacts import building, publish
from models.config import InputError
from models.data.tokenizer import END_OF_TEXT_ID, corpus_rows, load_tokenizer, tokenizer_sha256
from models.recipes import resolve

ENCODE_AT_ONCE = 256  # documents per call of the tokenizer's own thread pool


def is_heldout(cluster_id: str, fraction: float) -> bool:
    """Whether a near-duplicate cluster is held out: the first 8 bytes of sha256(cluster_id) as a number in [0, 1)."""
    head = hashlib.sha256(cluster_id.encode()).digest()[:8]
    return int.from_bytes(head, "big") < fraction * 2.0**64


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `tokenize` command. Config: recipe, corpus_files, tokenizer_dir, optional heldout_fraction.

    corpus_files have columns doc_id, cluster_id, text; doc_id is unique. InputError when a split would be empty.
    """
    if not config.get("corpus_files") or not config.get("tokenizer_dir"):
        raise InputError("tokenize needs corpus_files and tokenizer_dir")
    fraction = config.get("heldout_fraction")
    fraction = resolve(config).heldout_fraction if fraction is None else float(fraction)
    if not 0 < fraction < 1:
        raise InputError(f"heldout_fraction must lie between 0 and 1, got {fraction}")
    tokenizer = load_tokenizer(config["tokenizer_dir"])
    rows = sorted(corpus_rows(config["corpus_files"], ["doc_id", "cluster_id", "text"]), key=lambda row: row["doc_id"])
    for row, following in pairwise(rows):
        if row["doc_id"] == following["doc_id"]:
            raise InputError(f"document {row['doc_id']} occurs twice in the corpus files")
    vocab_size = tokenizer.get_vocab_size()
    with building(out / "final") as temporary:
        writers = {split: SplitWriter(temporary, split, vocab_size) for split in ("train", "heldout")}
        for first in range(0, len(rows), ENCODE_AT_ONCE):
            chunk = rows[first : first + ENCODE_AT_ONCE]
            for row, encoding in zip(chunk, tokenizer.encode_batch([row["text"] for row in chunk]), strict=True):
                split = "heldout" if is_heldout(row["cluster_id"], fraction) else "train"
                ids = [END_OF_TEXT_ID, *encoding.ids]
                writers[split].add(row["doc_id"], ids, text_bytes=len(row["text"].encode()))
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
        )
        publish(temporary, out / "final")
    return {key: value for key, value in manifest.items() if key != "files"}
