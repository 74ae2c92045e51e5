"""Which documents of the corpus are learned from, where one stays of a cluster over all snapshots.

The files of corpus_clusters say of each document of a snapshot whether it survives, and of which cluster of what size
it is. Without them every document of the corpus is taken, with the cluster that its own snapshot gives it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa

from models.config import InputError

COLUMNS = ("doc_id", "survivor", "cluster_id", "cluster_size")
Survivors = Mapping[str, tuple[str, int]]  # doc_id of a document that stays -> its cluster, documents in it


def survivors_of(config: dict[str, Any]) -> list[Survivors | None]:
    """For each of the config's corpus_files the documents of its snapshot that stay; None: all do.

    Config: corpus_files; clusters, the files of corpus_clusters by snapshot, and corpus_snapshots, the snapshot of each
    corpus file. Raises InputError where these do not fit together or a file is bad.
    """
    files, clusters = config["corpus_files"], config.get("clusters")
    if clusters is None:
        return [None] * len(files)
    snapshots = config.get("corpus_snapshots") or []
    if len(snapshots) != len(files) or (unknown := sorted(set(snapshots) - set(clusters))):
        what = f"no file of {', '.join(unknown)}" if len(snapshots) == len(files) else "corpus_snapshots of other files"
        raise InputError(f"clusters: {what}: materialize corpus_clusters again")
    return [_read(tuple(clusters[snapshot])) for snapshot in snapshots]


@cache
def _read(files: tuple[str, ...]) -> Survivors:
    from models.data.tokenizer import corpus_parquet

    found: dict[str, tuple[str, int]] = {}
    for parquet in corpus_parquet(files, list(COLUMNS)):
        for batch in parquet.iter_batches(columns=list(COLUMNS)):
            rows = pa.Table.from_batches([batch]).filter(batch.column("survivor"))
            ids, clusters, sizes = (rows.column(name).to_pylist() for name in ("doc_id", "cluster_id", "cluster_size"))
            found.update(zip(ids, zip(clusters, sizes), strict=True))
    return found
