"""The evaluation of a base model says what the model's own record says, and nothing without its neighbour."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernels.tokens.shards import SplitReader
from models.artifacts import digest, verify
from models.config import InputError
from models.evaluation.base import FIGURES, run
from models.evaluation.memorization import HELDOUT

OVERRIDES = {
    "threads": 1,
    "evaluation": {
        "documents": 30,
        "group_documents": 2,
        "windows": 99,
        "prompts": 6,
        "prompt_tokens": 8,
        "continuation_tokens": 4,
        "questions": 8,
        "probes": 8,
        "shots": [1, 2],
    },
}


@pytest.fixture(scope="module")
def config(tmp_path_factory, base_model_dir, trained, corpus_documents):
    """The corpus in two snapshots, with a host of 30 documents, hosts of one, two languages and two cluster sizes."""
    root = tmp_path_factory.mktemp("corpus")
    files = []
    for snapshot, half in (("A", corpus_documents[:30]), ("B", corpus_documents[30:])):
        rows = [
            {"doc_id": doc_id, "text": text, "host": "big.example" if snapshot == "A" else f"{doc_id}.example",
             "language": ("eng_Latn", "deu_Latn")[int(doc_id[-3:]) % 2], "cluster_size": 1 + int(doc_id[-3:]) % 2}
            for doc_id, _, text in half
        ]  # fmt: skip
        files.append(root / f"{snapshot}.parquet")
        pq.write_table(pa.Table.from_pylist(rows), files[-1])
    return {
        "recipe": "smoke",
        "seed": 3,
        "overrides": OVERRIDES,
        "model_dir": str(base_model_dir),
        "shards_dir": str(trained["shards_dir"]),
        "corpus_files": [str(file) for file in files],
        "corpus_snapshots": ["A", "B"],
    }


@pytest.fixture(scope="module")
def published(config, tmp_path_factory, silent):
    out = tmp_path_factory.mktemp("evaluation")
    run(config, out, silent)
    return out / "final"


@pytest.fixture(scope="module")
def rows(published):
    return {(row["measure"], row["group"]): row for row in pq.read_table(published / "figures.parquet").to_pylist()}


def test_every_figure_has_an_interval_and_a_neighbour(rows, published):
    assert pq.read_table(published / "figures.parquet").schema.names == FIGURES.names
    for (measure, group), row in rows.items():
        assert math.isfinite(row["value"]) and row["low"] <= row["value"] <= row["high"] and row["n"] > 0
        beside = [name for name in ("uniform", "unigram", "chance") if row[name] is not None]
        assert beside or (measure, HELDOUT) in rows, (measure, group)


def test_bits_per_byte_are_those_of_the_models_own_record(rows, base_model_dir):
    manifest, row = json.loads((base_model_dir / "manifest.json").read_text()), rows["bits_per_byte", "all"]
    assert row["value"] == pytest.approx(manifest["bpb_heldout"], rel=1e-4)
    assert row["uniform"] == pytest.approx(manifest["bpb_uniform"])
    assert row["unigram"] == pytest.approx(manifest["bpb_unigram"])
    assert row["n"] == manifest["heldout_documents"]


def test_groups_by_snapshot_language_and_host_each_hold_every_document(rows, trained):
    whole = len(SplitReader(trained["shards_dir"], "heldout").doc_ids)
    counts = {group: row["n"] for (measure, group), row in rows.items() if measure == "bits_per_byte"}
    for kind in ("snapshot ", "language ", "host "):
        assert sum(n for group, n in counts.items() if group.startswith(kind)) == whole
    assert all(n >= OVERRIDES["evaluation"]["group_documents"] for n in counts.values())
    assert {group for m, group in rows if m == "bits_per_byte" and group.startswith("host")} == {
        "host with 1 document", "host with 10 or more"
    }  # fmt: skip


def test_no_host_and_no_document_is_named(published, corpus_documents):
    content = b"".join(path.read_bytes() for path in published.iterdir())
    assert b"example" not in content and b"doc-0" not in content


def test_memorization_counts_are_bounded_and_beside_held_out_documents(rows):
    memory = {group: row for (measure, group), row in rows.items() if measure == "memorized"}
    assert HELDOUT in memory and any(group.startswith("read") for group in memory)
    assert all(row["n"] <= OVERRIDES["evaluation"]["prompts"] for row in memory.values())


def test_a_group_of_few_documents_has_no_figure(config, tmp_path, silent, rows):
    fewer = min(row["n"] for (measure, _), row in rows.items() if measure == "bits_per_byte")
    bounds = {**OVERRIDES["evaluation"], "group_documents": fewer + 1}
    run({**config, "overrides": {**OVERRIDES, "evaluation": bounds}}, tmp_path, silent)
    shown = {row["group"] for row in pq.read_table(tmp_path / "final" / "figures.parquet").to_pylist()}
    gone = {group for _, group in rows} - shown
    assert gone and all(rows["bits_per_byte", group]["n"] == fewer for group in gone)


def test_the_same_model_gives_the_same_bytes(config, published, tmp_path, silent):
    run(config, tmp_path, silent)
    assert digest(tmp_path / "final") == digest(published)
    assert [one["set"] for one in verify(published)["sets"]] == ["spelling@1", "counting@1", "comparing@1"]


def test_a_model_of_another_tokenizer_is_refused(config, tmp_path, silent, trained):
    other = tmp_path / "model"
    other.mkdir()
    text = (trained["tokenizer_dir"] / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text + "\n")
    with pytest.raises(InputError, match="another tokenizer"):
        run({**config, "model_dir": str(other)}, tmp_path / "out", silent)


def test_bounds_that_cannot_be_are_refused(config, tmp_path, silent):
    with pytest.raises(InputError, match=r"evaluation\.prompts must be at least 1"):
        run({**config, "overrides": {"evaluation": {"prompts": 0}}}, tmp_path, silent)
