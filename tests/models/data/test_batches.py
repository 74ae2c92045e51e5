"""What a model is said to have read is what its trainer read: whole runs and single steps, counted at the loop."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernels.tokens.shards import SplitWriter, write_manifest
from models.config import InputError, TransformerConfig
from models.data import sft as sft_data
from models.data.batches import NoSuchStep, OtherData, batch
from models.data.order import EXAMPLES_CONSUMED, PROBLEMS_CONSUMED
from models.data.provenance import PROVENANCE, Origin, provenance
from models.data.tokenizer import save, tokenizer_sha256, train
from models.nets.transformer import Transformer
from models.tasks.rl_tasks import TASKS
from models.training import pretrain, rl, sft
from models.training.checkpoint import save_final

SEED, STEPS = 5, 9
NET = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32, "max_seq_len": 96}
TEXTS = [f"{a} + {b} = {a + b} Count the ones Answer user assistant" for a in range(30) for b in range(9)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> tuple[Path, int]:
    """(directory, vocabulary size)."""
    root = tmp_path_factory.mktemp("tokenizer")
    made = train(TEXTS, 320)
    save(made, root)
    return root, made.get_vocab_size()


def watched(monkeypatch, stage) -> list:
    """The batches that the stage's loop really took, in order."""
    taken, loop = [], stage.train

    def observing(model, optimizer, batch_at, *rest, **named):
        def at(step):
            taken.append(batch_at(step))
            return taken[-1]

        return loop(model, optimizer, at, *rest, **named)

    monkeypatch.setattr(stage, "train", observing)
    return taken


def config(overrides: dict, **paths) -> dict:
    small = {"threads": 1, "model": NET, **overrides}
    return {"recipe": "smoke", "seed": SEED, "overrides": small, **{name: str(path) for name, path in paths.items()}}


@pytest.mark.parametrize("packing", ["windows", "best_fit"])
def test_base_model_names_exactly_the_documents_that_its_batches_held(tmp_path, tokenizer, monkeypatch, packing):
    """Every document is one token of its own, repeated, so that a batch says by itself whose it is."""
    directory, vocab = tokenizer
    rng, shards = np.random.default_rng(1), tmp_path / "shards"
    shards.mkdir()
    lengths = {f"doc-{token:03d}": int(rng.integers(3, 70)) for token in range(10, 50)}
    splits = {}
    for split in ("train", "heldout"):
        writer = SplitWriter(shards, split, vocab)
        for doc_id, length in lengths.items():
            writer.add(doc_id, np.full(length, int(doc_id[-3:])), length)
        splits[split] = writer.close()
    write_manifest(shards, tokenizer_sha256=tokenizer_sha256(directory), vocab_size=vocab, splits=splits)
    taken = watched(monkeypatch, pretrain)
    sizes = {"steps": STEPS, "batch_size": 3, "seq_len": 24, "packing": packing}
    changes = {"pretrain": sizes | {"eval_every": 99, "sample_every": 99}}
    pretrain.run(config(changes, shards_dir=shards, tokenizer_dir=directory), tmp_path / "out", lambda line: None)
    assert len(taken) == STEPS
    held_at = [
        [row[row >= 10].tolist() for row in one.ids_BT]
        for one in taken  # smaller ids are padding
    ]
    reads = Counter(f"doc-{token:03d}" for rows in held_at for row in rows for token in row)
    consumed = pq.read_table(tmp_path / "out" / "final" / "consumed.parquet").to_pylist()
    assert {row["doc_id"]: row["reads"] for row in consumed} == reads
    whole_rows = sum(reads.values()) == STEPS * 3 * 25
    assert whole_rows is (packing == "windows")
    for step, held in enumerate(held_at, start=1):
        said = batch(tmp_path / "out" / "final", shards, step).to_pylist()
        for row, ids in enumerate(held):
            own = [one for one in said if one["row"] == row]
            assert [int(one["doc_id"][-3:]) for one in own for _ in range(one["tokens"])] == ids
            assert all(one["start"] >= 0 and one["start"] + one["tokens"] <= lengths[one["doc_id"]] for one in own)
    for step in (0, STEPS + 1):
        with pytest.raises(NoSuchStep, match=f"steps 1 to {STEPS}"):
            batch(tmp_path / "out" / "final", shards, step)
    manifest = shards / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"vocab_size"', '"other": 1, "vocab_size"'))
    with pytest.raises(OtherData, match="was not trained on"):
        batch(tmp_path / "out" / "final", shards, 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer) -> Path:
    """A random base model."""
    directory, vocab = tokenizer
    root = tmp_path_factory.mktemp("base")
    net = Transformer(TransformerConfig(vocab_size=vocab, tie_embeddings=True, **NET), seed=2)
    save_final(root / "base", net, directory, {"parent": None}, kind="base_model")
    return root / "base"


def candidate(index: int) -> dict:
    documents = {"doc_ids": [f"doc-{index % 3}"], "teacher_model": "m" * 32}
    return {
        "candidate_id": f"{index:016x}-00000000",
        "problem_id": f"{index:016x}",
        "family": "count_bits",
        "level": 1,
        "question": f"Count the ones: {index:b}",
        "solution": f"Answer: {index.bit_count()}",
        "gold_answer": str(index.bit_count()),
        "valid": True,
        **provenance(Origin("counting 1", 7, index), teacher="someone"),
        **documents,
    }


def test_sft_model_names_exactly_the_examples_of_its_batches_and_their_documents(
    tmp_path, tokenizer, base, monkeypatch
):
    pq.write_table(pa.Table.from_pylist([candidate(i) for i in range(40)]), tmp_path / "selected.parquet")
    changes = {"sft": {"steps": STEPS, "batch_size": 4, "eval_every": 99, "eval_problems": 2, "heldout_fraction": 0.25}}
    asked = config(changes, tokenizer_dir=tokenizer[0], model_dir=base)
    sft_data.run(asked | {"selected_files": [str(tmp_path / "selected.parquet")]}, tmp_path / "data", lambda line: None)
    examples = tmp_path / "data" / "final" / "sft.parquet"
    rows = {row["example_id"]: row for row in pq.read_table(examples).to_pylist()}
    for row in rows.values():
        assert row["parents"] == [row["candidate_id"]] and row["doc_ids"] == [f"doc-{int(row['problem_id'], 16) % 3}"]
        assert (row["generator"], row["problem_seed"]) == ("counting 1", 7)
        assert row["problem_index"] == int(row["problem_id"], 16)
    by_ids = {tuple(row["input_ids"]): key for key, row in rows.items()}
    taken = watched(monkeypatch, sft)
    sft.run(asked | {"sft_files": [str(examples)]}, tmp_path / "out", lambda line: None)
    counted: Counter[str] = Counter()
    for step, pieces in enumerate(taken, start=1):
        lengths = {len(ids) for ids in by_ids}
        padded = [ids for piece in pieces for ids in piece.ids_BT.tolist()]
        held = Counter(next(by_ids[tuple(ids[:n])] for n in lengths if tuple(ids[:n]) in by_ids) for ids in padded)
        counted += held
        said = batch(tmp_path / "out" / "final", [examples], step)
        assert said.schema.equals(EXAMPLES_CONSUMED)
        assert {row["example_id"]: row["times"] for row in said.to_pylist()} == held
    consumed = pq.read_table(tmp_path / "out" / "final" / "consumed.parquet").to_pylist()
    assert {row["example_id"]: row["times"] for row in consumed} == counted and counted.total() == STEPS * 4
    assert all(row["doc_ids"] == rows[row["example_id"]]["doc_ids"] for row in consumed)
    assert {(row["teacher"], row["teacher_model"]) for row in consumed} == {("someone", "m" * 32)}


def test_rl_model_names_exactly_the_problems_that_its_updates_learnt_from(tmp_path, base, monkeypatch):
    texts = [
        {"task_id": f"t{i:02d}", "family": "say", "question": f"Say {i}", "answer": str(i), "level": 1,
         "split": "train" if i < 7 else "heldout", **provenance(Origin("saying 1", 3, i)), "doc_ids": [f"doc-{i}"]}
        for i in range(10)
    ]  # fmt: skip
    tasks = tmp_path / "tasks.parquet"
    pq.write_table(pa.Table.from_pylist(texts, schema=TASKS), tasks)
    changes = {
        "rl": {
            "steps": 6, "prompts_per_step": 4, "group_size": 2, "updates_per_draw": 2, "max_new_tokens": 3,
            "eval_every": 99, "eval_problems": 2, "checkpoint_every": 2,
        }
    }  # fmt: skip
    taken = watched(monkeypatch, rl)
    rl.run(config(changes, model_dir=base) | {"tasks_files": [str(tasks)]}, tmp_path / "out", lambda line: None)
    answers: dict[str, int] = defaultdict(int)
    for step, (_, scored) in enumerate(taken, start=1):
        learnt = Counter(rollout.problem.problem_id for rollout in scored.rollouts)
        said = batch(tmp_path / "out" / "final", [tasks], step)
        assert said.schema.equals(PROBLEMS_CONSUMED)
        assert {row["problem_id"]: row["samples"] for row in said.to_pylist()} == learnt
        for problem, n in learnt.items():
            answers[problem] += n
    consumed = pq.read_table(tmp_path / "out" / "final" / "consumed.parquet").to_pylist()
    assert {row["problem_id"]: row["samples"] for row in consumed} == answers
    assert all(row["doc_ids"] == [f"doc-{int(row['problem_id'][1:])}"] for row in consumed)


def test_every_shared_column_says_what_it_means():
    assert all(field.metadata[b"meaning"] for field in PROVENANCE)


def test_what_was_not_trained_has_no_batches(tmp_path, tokenizer):
    with pytest.raises(InputError, match="sealed directory"):
        batch(tokenizer[0], [], 1)
