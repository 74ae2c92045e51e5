"""Pretraining is repeatable to the byte, also when the process is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from kernels.tokens.shards import SplitReader
from models.__main__ import main
from models.artifacts import digest, verify
from models.data.loader import WindowLoader
from models.seeds import derive
from models.training.checkpoint import load_model
from models.training.recorder import read_metrics

REPO = Path(__file__).resolve().parents[3]


def test_result_is_sealed_and_says_what_it_came_from(base_model_dir, trained):
    manifest = verify(base_model_dir)
    assert manifest["kind"] == "base_model" and manifest["parent"] is None
    assert manifest["shards"] == digest(trained["shards_dir"])
    assert manifest["bpb_heldout"] < manifest["bpb_uniform"]
    assert 0 < manifest["bpb_unigram"] < manifest["bpb_uniform"]
    assert set(manifest["files"]) == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "consumed.parquet",
    }
    assert not any(isinstance(value, str) and "/" in value for value in manifest.values())


def test_curves_and_samples_are_recorded(base_model_dir):
    rows = read_metrics(base_model_dir.parent)
    steps = [row["step"] for row in rows if "loss" in row["metrics"]]
    assert steps == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in rows if "bpb_heldout" in row["metrics"]] == [5, 10, 12]
    samples = (base_model_dir.parent / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in samples] == [4, 8, 12]


def test_consumed_documents_are_those_of_the_recorded_order(base_model_dir, trained, pretrain_config):
    reader = SplitReader(trained["shards_dir"], "train")
    sizes = pretrain_config["overrides"]["pretrain"]
    seed = derive(pretrain_config["seed"], "order")
    loader = WindowLoader(reader, batch_size=sizes["batch_size"], seq_len=sizes["seq_len"], seed=seed)
    table = pq.read_table(base_model_dir / "consumed.parquet")
    assert table.equals(loader.consumed(sizes["steps"]))
    assert set(table["doc_id"].to_pylist()) <= set(reader.doc_ids)
    assert sum(table["reads"].to_pylist()) == sizes["steps"] * sizes["batch_size"] * (sizes["seq_len"] + 1)


def start(config_path: Path, out: Path) -> subprocess.Popen:
    arguments = [sys.executable, "-m", "models", "pretrain", "--config", str(config_path), "--out", str(out)]
    return subprocess.Popen(arguments, cwd=REPO, stderr=subprocess.PIPE, start_new_session=True)


def test_killed_and_restarted_equals_uninterrupted(tmp_path, pretrain_config, config_file, base_model_dir):
    config, out = config_file(pretrain_config), tmp_path / "out"
    process = start(config, out)
    deadline = time.monotonic() + 60
    while not list(out.glob("checkpoints/step-*/manifest.json")):
        assert process.poll() is None and time.monotonic() < deadline, "no state was written"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "final").exists()
    again = start(config, out)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors.decode()
    assert digest(out / "final") == digest(base_model_dir)
    ours, theirs = (load_model(path)[0].parameters() for path in (out / "final", base_model_dir))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    curves = [[(r["step"], r["metrics"].get("loss")) for r in read_metrics(d)] for d in (out, base_model_dir.parent)]
    assert curves[0] == curves[1]


def test_another_seed_gives_another_model(tmp_path, pretrain_config, config_file, base_model_dir):
    config = config_file(pretrain_config | {"seed": 4})
    assert main(["pretrain", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    assert digest(tmp_path / "out" / "final") != digest(base_model_dir)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"shards_dir": "nowhere"}, "nowhere"),
        ({"shards_dir": None}, "shards_dir"),
        ({"overrides": {"pretrain": {"seq_len": 9999}}}, "seq_len"),
        ({"overrides": {"pretrain": {"device": "tpu"}}}, "tpu"),
    ],
)
def test_unusable_input_ends_with_code_2_and_names_it(tmp_path, pretrain_config, config_file, capsys, change, named):
    config = config_file(pretrain_config | change)
    assert main(["pretrain", "--config", str(config), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1


def test_shards_of_another_tokenizer_are_refused(tmp_path, pretrain_config, config_file, capsys, trained, silent):
    from models.data import tokenizer

    config = {"recipe": "smoke", "corpus_files": [str(trained["corpus"])], "vocab_size": 280}
    tokenizer.run(config, tmp_path / "other", silent)
    changed = pretrain_config | {"tokenizer_dir": str(tmp_path / "other" / "final")}
    assert main(["pretrain", "--config", str(config_file(changed)), "--out", str(tmp_path / "out")]) == 2
    assert "another tokenizer" in capsys.readouterr().err
