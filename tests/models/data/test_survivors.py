"""One document of a cluster over all snapshots is learned from, and counts by that cluster; by default all of them."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernels.tokens.shards import SplitReader
from models.artifacts import digest, read_manifest
from models.config import InputError
from models.data import tokenize, tokenizer
from models.data.mixing import FINEWEB_2, repetitions
from models.data.survivors import survivors_of


@pytest.fixture
def snapshots(corpus_documents, tmp_path):
    """The corpus as two snapshots that share every third document, the clusters of both, and who survives in which."""
    rows, clusters, stay = {"a": [], "b": []}, {"a": [], "b": []}, {}
    for number, (doc_id, _, text) in enumerate(corpus_documents):
        first, again = ("a", "b") if number % 2 else ("b", "a")
        size = 1 + number % 6
        stay[doc_id] = (first, size)
        for name in (first, again) if number % 3 == 0 else (first,):
            rows[name].append({"doc_id": doc_id, "cluster_id": f"own-{doc_id}", "cluster_size": 1, "text": text})
            one = {"doc_id": doc_id, "cluster_id": f"all-{doc_id}", "cluster_size": size, "survivor": name == first}
            clusters[name].append(one)
    for name in rows:
        pq.write_table(pa.Table.from_pylist(rows[name]), tmp_path / f"{name}.parquet", row_group_size=5)
        half = len(clusters[name]) // 2  # a file a language
        pq.write_table(pa.Table.from_pylist(clusters[name][:half]), tmp_path / f"{name}-1.parquet")
        pq.write_table(pa.Table.from_pylist(clusters[name][half:]), tmp_path / f"{name}-2.parquet")
    config = {
        "recipe": "smoke",
        "corpus_files": [str(tmp_path / f"{name}.parquet") for name in rows],
        "corpus_snapshots": list(rows),
        "clusters": {name: [str(tmp_path / f"{name}-{k}.parquet") for k in (1, 2)] for name in rows},
    }
    return config, stay


def test_survivors_alone_are_tokenized_and_count_by_the_cluster_over_all_snapshots(
    trained, snapshots, tmp_path, silent
):
    config, stay = snapshots
    config |= {"tokenizer_dir": str(trained["tokenizer_dir"]), "heldout_fraction": 0.2}
    tokenize.run({**config, "repetition": {str(k): v for k, v in FINEWEB_2.items()}}, tmp_path / "out", silent)
    train, heldout = (SplitReader(tmp_path / "out" / "final", split).doc_ids for split in ("train", "heldout"))
    assert set(train) | set(heldout) == set(stay) and not set(train) & set(heldout)
    assert Counter(train) == {doc_id: repetitions(stay[doc_id][1], FINEWEB_2) for doc_id in set(train)}
    assert set(heldout) == {doc_id for doc_id in stay if tokenize.is_heldout(f"all-{doc_id}", 0.2)}
    assert read_manifest(tmp_path / "out" / "final")["dedup_scope"] == "corpus"


def test_the_tokenizer_is_that_of_the_survivors_texts(snapshots, corpus_documents, tmp_path, silent):
    config, stay = snapshots
    made = tokenizer.run(config, tmp_path / "some", silent)
    alone = pa.table({"text": [text for doc_id, _, text in corpus_documents if doc_id in stay]})
    pq.write_table(alone, tmp_path / "alone.parquet")
    files = {"recipe": "smoke", "corpus_files": [str(tmp_path / "alone.parquet")]}
    assert made == tokenizer.run(files, tmp_path / "all", silent)


def test_without_clusters_every_document_is_taken_as_before(trained, snapshots, tmp_path, silent):
    config, _ = snapshots
    plain = {name: value for name, value in config.items() if name not in ("clusters", "corpus_snapshots")}
    assert survivors_of(plain) == [None, None]
    one = {**plain, "tokenizer_dir": str(trained["tokenizer_dir"]), "heldout_fraction": 0.2}
    tokenize.run({**one, "corpus_files": config["corpus_files"][:1]}, tmp_path / "one", silent)
    tokenize.run({**one, "corpus_files": config["corpus_files"][:1], "clusters": None}, tmp_path / "two", silent)
    assert digest(tmp_path / "one" / "final") == digest(tmp_path / "two" / "final")
    assert "dedup_scope" not in read_manifest(tmp_path / "one" / "final")


@pytest.mark.parametrize("broken", [{"corpus_snapshots": ["a"]}, {"corpus_snapshots": ["a", "c"]}])
def test_clusters_of_other_snapshots_are_refused(snapshots, broken):
    with pytest.raises(InputError, match="materialize corpus_clusters again"):
        survivors_of(snapshots[0] | broken)
