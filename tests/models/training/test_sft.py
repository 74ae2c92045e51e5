"""Instruction tuning: the mask, the loss by hand, the order of examples, and a whole run killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.artifacts import digest, verify
from models.config import InputError, TransformerConfig
from models.data.order import step_rows
from models.data.sft import EXAMPLES, NEEDED, examples, split_of
from models.data.sft import run as make_data
from models.data.tokenizer import IM_END_ID, IM_START_ID, load_tokenizer, save, train
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final
from models.training.recorder import read_metrics
from models.training.sft import chunked_loss, collate, masked_loss, pieces, run

TEXTS = ["Sort ascending: 3 1 2", "Answer: 1 2 3", "user assistant system", "Count the ones: 1011"] * 4
SMALL = {
    "threads": 1,
    "sft": {"steps": 12, "batch_size": 4, "eval_every": 4, "eval_problems": 4, "checkpoint_every": 2, "log_every": 1},
}


def candidate(index: int, question: str, solution: str, answer: str, *, valid: bool = True) -> dict:
    return {
        "candidate_id": f"{index:016x}-00000000",
        "problem_id": f"{index:016x}",
        "family": "count_bits" if index % 2 else "number_sorting",
        "level": 1,
        "question": question,
        "solution": solution,
        "gold_answer": answer,
        "valid": valid,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A tokenizer, a small random base model and forty candidates."""
    root = tmp_path_factory.mktemp("sft")
    (root / "tokenizer").mkdir()
    tokenizer = train(TEXTS, 300)
    save(tokenizer, root / "tokenizer")
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=64,
        max_seq_len=128, tie_embeddings=True,
    )  # fmt: skip
    save_final(root / "base", Transformer(config, seed=1), root / "tokenizer", {"parent": None}, kind="base_model")
    rows = [candidate(i, f"Count the ones: {i:b}", f"Answer: {i.bit_count()}", str(i.bit_count())) for i in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), root / "selected.parquet")
    make_data(
        {
            "recipe": "smoke",
            "selected_files": [str(root / "selected.parquet")],
            "tokenizer_dir": str(root / "tokenizer"),
            "overrides": {"sft": {"heldout_fraction": 0.25}},
        },
        root / "data",
        lambda line: None,
    )
    return root


def config_of(home: Path) -> dict:
    return {
        "recipe": "smoke",
        "overrides": SMALL,
        "model_dir": str(home / "base"),
        "sft_files": [str(home / "data" / "final" / "sft.parquet")],
    }


def test_mask_of_a_hand_written_example(home):
    """Exactly the assistant's text and its end token are targets: not its header, not the line break after it."""
    tokenizer = load_tokenizer(home / "tokenizer")
    (row,), dropped = examples(
        [candidate(5, "2+2?", "4", "4")], tokenizer, heldout_fraction=0.0, max_tokens=99
    )  # fmt: skip

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text).ids

    user = [IM_START_ID, *ids("user\n"), *ids("2+2?"), IM_END_ID, *ids("\n")]
    header = [IM_START_ID, *ids("assistant\n")]
    assert row["input_ids"] == [*user, *header, *ids("4"), IM_END_ID, *ids("\n")]
    assert row["loss_mask"] == [False] * (len(user) + len(header)) + [True] * (len(ids("4")) + 1) + [False]
    assert [i for i, m in zip(row["input_ids"], row["loss_mask"], strict=True) if m] == [*ids("4"), IM_END_ID]
    assert dropped == {"invalid": 0, "too_long": 0}


def test_every_candidate_is_an_example_or_a_counted_drop(home):
    rows = [candidate(1, "q", "a", "a"), candidate(2, "q", "b", "a", valid=False), candidate(3, "q" * 500, "a", "a")]
    made, dropped = examples(rows, load_tokenizer(home / "tokenizer"), heldout_fraction=0.5, max_tokens=64)
    assert [row["problem_id"] for row in made] == ["0000000000000001"]
    assert dropped == {"invalid": 1, "too_long": 1}


def test_split_depends_on_the_problem_alone_and_has_the_asked_share():
    splits = [split_of(f"{i:016x}", 0.2) for i in range(4000)]
    assert splits.count("heldout") / 4000 == pytest.approx(0.2, abs=0.02)
    assert all(split_of(f"{i:016x}", 0.4) == "heldout" for i in range(500) if splits[i] == "heldout")


def test_published_data_has_the_schema_and_verifies(home):
    verify(home / "data" / "final")
    table = pq.read_table(home / "data" / "final" / "sft.parquet")
    assert table.schema.names == EXAMPLES.names
    assert {row["split"] for row in table.to_pylist()} == {"train", "heldout"}
    assert len(set(table["example_id"].to_pylist())) == 40


def test_every_pass_reads_each_example_once_in_a_new_order():
    rows = np.concatenate([step_rows(10, 4, seed=3, step=step) for step in range(5)])
    first, second = rows[:10].tolist(), rows[10:].tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def rendered(lengths: list[int]) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {"input_ids": rng.integers(4, 60, n).tolist(), "loss_mask": [i >= n - 3 for i in range(n)]} for n in lengths
    ]


def model() -> Transformer:
    return Transformer(TransformerConfig(64, 16, 1, 2, 2, 8, 32, 64))


def test_loss_is_the_mean_over_targets_whatever_the_padding():
    net, rows = model(), rendered([5, 9, 20, 12])
    by_hand = []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        logprobs_TV = net(ids)[0].log_softmax(-1)
        by_hand += [-logprobs_TV[t - 1, ids[0, t]].item() for t, target in enumerate(row["loss_mask"]) if target]
    assert len(by_hand) == 12
    for batches in (pieces(rows), [collate(rows)]):
        for loss in (masked_loss, chunked_loss):
            assert loss(net, batches).value.item() == pytest.approx(np.mean(by_hand), abs=1e-5)


def test_a_chunked_head_gives_the_same_gradients():
    net, batches = model(), pieces(rendered([5, 9, 20, 12]))
    ours, theirs = (
        torch.autograd.grad(loss(net, batches).value, net.parameters()) for loss in (chunked_loss, masked_loss)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_prompt_and_padding_have_no_gradient_and_the_end_token_has():
    net = model()
    batch = collate(rendered([6, 14]))
    hidden = []
    net.head.register_forward_hook(lambda module, inputs, output: hidden.append(inputs[0]))
    masked_loss(net, [batch])
    assert sum(len(h) for h in hidden) == int(batch.targets_BT.sum()) == 6, "only targets reach the vocabulary"
    assert bool(batch.targets_BT[0, 5]), "the last id of the conversation, here its end token, is a target"
    assert not bool(batch.targets_BT[0, 6:].any())


@pytest.fixture(scope="module")
def uninterrupted(home) -> Path:
    run(config_of(home), home / "whole", lambda line: None)
    return home / "whole"


def test_run_publishes_its_parent_its_accuracy_and_what_it_read(home, uninterrupted):
    manifest = verify(uninterrupted / "final")
    assert manifest["parent"] == digest(home / "base")
    assert 0.0 <= manifest["accuracy_greedy"] <= 1.0
    consumed = pq.read_table(uninterrupted / "final" / "consumed.parquet").to_pylist()
    assert sum(row["times"] for row in consumed) == 12 * 4
    held = {r["example_id"] for r in pq.read_table(home / "data" / "final" / "sft.parquet").to_pylist()
            if r["split"] == "heldout"}  # fmt: skip
    assert not held & {row["example_id"] for row in consumed}


def test_loss_falls_and_samples_are_kept(uninterrupted):
    curve = [point["metrics"]["loss"] for point in read_metrics(uninterrupted) if "loss" in point["metrics"]]
    assert curve[-1] < curve[0] - 0.5
    samples = [json.loads(line) for line in (uninterrupted / "samples.jsonl").read_text().splitlines()]
    assert {sample["step"] for sample in samples} == {4, 8, 12}


def test_a_killed_run_ends_with_the_same_digest(home, uninterrupted, tmp_path):
    """SIGKILL after the first state, start again: the very bytes of the uninterrupted run."""
    (tmp_path / "config.json").write_text(json.dumps(config_of(home)))
    command = [sys.executable, "-m", "models", "sft", "--config", str(tmp_path / "config.json")]
    command += ["--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed" / "checkpoints").glob("step-*/manifest.json")):
        assert time.monotonic() < deadline and process.poll() is None, "no state was written"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "final").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert digest(tmp_path / "killed" / "final") == digest(uninterrupted / "final")
    assert [p["step"] for p in read_metrics(tmp_path / "killed")] == [p["step"] for p in read_metrics(uninterrupted)]


@pytest.mark.parametrize("column", NEEDED)
def test_a_missing_column_is_named(home, tmp_path, column):
    table = pq.read_table(home / "selected.parquet").drop_columns([column])
    pq.write_table(table, tmp_path / "bad.parquet")
    config = {"recipe": "smoke", "selected_files": [str(tmp_path / "bad.parquet")]}
    with pytest.raises(InputError, match=column):
        make_data(config | {"tokenizer_dir": str(home / "tokenizer")}, tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out").exists()


def test_ids_outside_the_vocabulary_are_refused(home, tmp_path):
    rows = pq.read_table(home / "data" / "final" / "sft.parquet").to_pylist()
    rows[0]["input_ids"][3] = 5000
    pq.write_table(pa.Table.from_pylist(rows, schema=EXAMPLES), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="5000"):
        run(config_of(home) | {"sft_files": [str(tmp_path / "bad.parquet")]}, tmp_path / "out", lambda line: None)
