"""How a program of the models room is started: by itself, or on several ranks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assets.programs import REPO, ProgramFailed, _ranks
from models.artifacts import digest, verify

RECIPE = {
    "threads": 1,
    "vocab_size": 400,
    "model": {
        "d_model": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "d_ff": 64, "max_seq_len": 64,
    },
    "pretrain": {
        "steps": 60, "batch_size": 4, "seq_len": 32, "warmup_steps": 2, "eval_every": 60, "sample_every": 60,
        "sample_tokens": 8, "checkpoint_every": 5,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("STEMMA_RANKS", "STEMMA_NODES", "STEMMA_ENGINE"):
        monkeypatch.delenv(name, raising=False)


def test_only_what_ranks_can_share_is_started_on_several(monkeypatch):
    assert _ranks("pretrain", "a") == []
    monkeypatch.setenv("STEMMA_ENGINE", "slurm")
    assert _ranks("pretrain", "a") == [], "the engine of shards alone moves no training"
    monkeypatch.setenv("STEMMA_RANKS", "1")
    assert _ranks("pretrain", "a")[3] == "stemma-a", "one process on the cluster"
    monkeypatch.setenv("STEMMA_ENGINE", "local")
    assert _ranks("pretrain", "a") == []
    monkeypatch.setenv("STEMMA_RANKS", "2")
    assert _ranks("sft", "a") == []
    assert _ranks("pretrain", "a")[:2] == ["-m", "orchestration.engines.ranks"]
    for variable in ("STEMMA_NODES", "STEMMA_RANKS"):
        for said in ("0", "two", "-1"):
            monkeypatch.setenv(variable, said)
            with pytest.raises(ProgramFailed, match=variable):
                _ranks("pretrain", "a")


def shards(folder: Path) -> dict[str, str]:
    """A corpus of invented sentences as token shards, and its tokenizer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from models.data import tokenize, tokenizer

    texts = [
        f"Letter {i} of {i * 7 % 13}: the mill turns {i % 5} times, and the miller counts. " * 8 for i in range(40)
    ]
    names = [f"d{i}" for i in range(40)]
    pq.write_table(pa.table({"doc_id": names, "cluster_id": names, "text": texts}), folder / "corpus.parquet")
    config = {"recipe": "smoke", "overrides": RECIPE, "corpus_files": [str(folder / "corpus.parquet")]}
    tokenizer.run(config, folder / "tokenizer", lambda _: None)
    made = {"tokenizer_dir": str(folder / "tokenizer" / "final")}
    tokenize.run(config | made | {"heldout_fraction": 0.2}, folder / "shards", lambda _: None)
    return made | {"shards_dir": str(folder / "shards" / "final")}


def test_ranks_go_on_by_themselves_when_one_is_killed(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "smoke", "overrides": RECIPE, **shards(tmp_path)}))
    monkeypatch.setenv("STEMMA_RANKS", "2")
    command = [
        sys.executable,
        *_ranks("pretrain", "here"),
        "-m",
        "models",
        "pretrain",
        "--config",
        str(tmp_path / "config.json"),
    ]
    quiet = {"cwd": REPO, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, **quiet)
    started = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], **quiet)
    states, deadline = tmp_path / "killed" / "checkpoints", time.monotonic() + 300
    while not list(states.glob("step-*/manifest.json")):
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert started.wait(300) == 0
    assert digest(tmp_path / "killed" / "final") == digest(tmp_path / "whole" / "final")
    assert verify(tmp_path / "killed" / "final")["steps"] == 60
