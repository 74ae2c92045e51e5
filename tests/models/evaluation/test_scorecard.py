"""The scorecard: every model on every metric, with baselines that equal what one can work out by hand."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernels.tokens.shards import SplitReader
from models.artifacts import digest, verify
from models.config import InputError
from models.data.tokenizer import load_tokenizer
from models.evaluation.bits import model_bits, token_bytes
from models.evaluation.scorecard import SCORECARD, run, task_baselines
from models.tasks.families import Problem
from models.tasks.rl_tasks import TASKS
from models.training.checkpoint import load_model


@pytest.fixture(scope="module")
def scorecard_config(tmp_path_factory, base_model_dir, trained):
    root = tmp_path_factory.mktemp("tasks")
    rows = [
        {"task_id": f"{split}{i}", "family": ("odd", "even")[i % 2], "question": f"Half of {i}", "answer": str(i // 2),
         "level": 1, "split": split}
        for split in ("train", "heldout") for i in range(6)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=TASKS), root / "tasks.parquet")
    return {
        "recipe": "smoke",
        "overrides": {"threads": 1, "rl": {"max_new_tokens": 4, "eval_samples": 2}},
        "models": {"base": str(base_model_dir), "twin": str(base_model_dir)},
        "shards_dir": str(trained["shards_dir"]),
        "tasks_files": [str(root / "tasks.parquet")],
    }


@pytest.fixture(scope="module")
def published(scorecard_config, tmp_path_factory, silent):
    out = tmp_path_factory.mktemp("scorecard")
    run(scorecard_config, out, silent)
    return out / "final"


def test_every_model_has_every_metric_with_interval_and_baselines(published, scorecard_config):
    manifest = verify(published)
    assert manifest["models"]["base"] == digest(Path(scorecard_config["models"]["base"]))
    table = pq.read_table(published / "scorecard.parquet")
    assert table.schema.names == SCORECARD.names
    rows = table.to_pylist()
    metrics = {name: {row["metric"] for row in rows if row["model"] == name} for name in ("base", "twin")}
    expected = {f"{metric}{suffix}" for metric in ("accuracy_greedy", "accuracy_sampled", "response_tokens")
                for suffix in ("", "/odd", "/even")}  # fmt: skip
    assert metrics["base"] == metrics["twin"] == {"bits_per_byte"} | expected
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert math.isfinite(row["baseline_uniform"]) and math.isfinite(row["baseline_random"])
    assert json.loads((published / "scorecard.json").read_text()) == rows


def test_bits_per_byte_equal_the_plain_measurement(published, base_model_dir, trained):
    reader = SplitReader(trained["shards_dir"], "heldout")
    plain = model_bits(load_model(base_model_dir)[0], reader, token_bytes(load_tokenizer(base_model_dir))).value
    (row,) = [r for r in pq.read_table(published / "scorecard.parquet").to_pylist()
              if (r["model"], r["metric"]) == ("base", "bits_per_byte")]  # fmt: skip
    assert row["value"] == pytest.approx(plain, rel=1e-4)
    assert row["value"] < row["baseline_uniform"]
    assert row["baseline_random"] < row["baseline_uniform"], "token frequencies know more than nothing"


def test_task_baselines_by_hand(base_model_dir):
    """Training answers 1, 1, 2, 3: a drawn answer is right on a 1 in half of the cases, on a 9 never."""
    tokenizer = load_tokenizer(base_model_dir)
    training = [Problem(f"t{i}", "sum", 1, "q", answer) for i, answer in enumerate(["1", "1.0", "2", "3"])]
    heldout = [Problem("h1", "sum", 1, "q", "1"), Problem("h2", "sum", 1, "q", "9"), Problem("h3", "new", 1, "q", "1")]
    found = task_baselines(training, heldout, tokenizer, max_new_tokens=5)
    assert found["accuracy_greedy/sum"].random == pytest.approx(0.25)
    assert found["accuracy_sampled/new"].random == 0.0
    assert found["accuracy_greedy"].random == pytest.approx(0.5 / 3)
    vocab = tokenizer.get_vocab_size()
    assert found["accuracy_greedy/new"].uniform == pytest.approx(vocab**-2), "one token and the end token"
    by_hand = sum((1 - 1 / vocab) ** k for k in range(5))
    assert found["response_tokens"].uniform == pytest.approx(by_hand)


def test_a_model_of_another_tokenizer_is_refused(scorecard_config, tmp_path, silent, trained):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="another tokenizer"):
        run(scorecard_config | {"models": {"other": str(other)}}, tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()
