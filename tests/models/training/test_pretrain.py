"""Pretraining is repeatable to the byte, also when the process is killed."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from kernels.tokens.shards import SplitReader
from models.__main__ import main
from models.artifacts import digest, verify
from models.data.batches import batch
from models.data.loader import WindowLoader
from models.data.packing import PackedLoader, loader_of
from models.nets.transformer import Transformer
from models.recipes import resolve
from models.seeds import derive
from models.training import pretrain
from models.training.checkpoint import load_model
from models.training.optim import NonFiniteTraining
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
    deadline = time.monotonic() + 300
    while not list(out.glob("checkpoints/step-*/manifest.json")):
        assert process.poll() is None and time.monotonic() < deadline, "no state was written"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "final").exists()
    again = start(config, out)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors.decode()
    assert digest(out / "final") == digest(base_model_dir)
    ours, theirs = (load_model(path)[0].parameters() for path in (out / "final", base_model_dir))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    curves = [[(r["step"], r["metrics"].get("loss")) for r in read_metrics(d)] for d in (out, base_model_dir.parent)]
    assert curves[0] == curves[1]


OPTIONS = {
    "muon": {"optimizer": "muon", "muon_learning_rate": 0.01, "skip_spikes": True},
    "packed": {"packing": "best_fit"},
    "masked": {"packing": "best_fit", "document_masking": True},
    "chunked": {"head": "chunked"},
    "all": {"optimizer": "muon", "packing": "best_fit", "document_masking": True, "head": "chunked"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_train_repeatably_and_are_told_in_the_manifest(tmp_path, pretrain_config, trained, silent, name):
    config = pretrain_config | {"overrides": override_pretrain(pretrain_config, **OPTIONS[name])}
    for out in ("one", "two"):
        pretrain.run(config, tmp_path / out, silent)
    assert digest(tmp_path / "one" / "final") == digest(tmp_path / "two" / "final")
    manifest = verify(tmp_path / "one" / "final")
    assert OPTIONS[name].items() <= manifest["pretrain"].items()
    assert manifest["bpb_heldout"] < manifest["bpb_uniform"]
    reader = SplitReader(trained["shards_dir"], "train")
    loader = loader_of(reader, manifest["pretrain"], pretrain_config["seed"])
    table = pq.read_table(tmp_path / "one" / "final" / "consumed.parquet")
    assert table.equals(loader.consumed(manifest["steps"]))
    if "packing" in OPTIONS[name]:
        assert manifest["tokens_trained"] == sum(table["reads"].to_pylist())
        assert manifest["packing_waste"] == loader.waste < 0.2
    named = batch(tmp_path / "one" / "final", trained["shards_dir"], 3)
    assert named.equals(loader.documents(2)) and set(named["doc_id"].to_pylist()) <= set(table["doc_id"].to_pylist())


@pytest.mark.parametrize("options", [{}, {"packing": "best_fit", "head": "chunked"}, {"packing": "best_fit"}])
def test_a_batch_in_pieces_is_the_same_batch(tmp_path, pretrain_config, silent, options):
    for rows in (0, 1, 3):
        changed = override_pretrain(pretrain_config, **options, micro_batch_size=rows, log_every=1)
        pretrain.run(pretrain_config | {"overrides": changed}, tmp_path / str(rows), silent)
    whole, *others = ([r["metrics"] for r in read_metrics(tmp_path / str(rows))] for rows in (0, 1, 3))
    assert len(whole) == 13
    for curve in others:
        for found, expected in zip(curve, whole, strict=True):
            names = {"loss", "grad_norm", "nats_per_token", "bpb_heldout"} & set(expected)
            assert {n: found[n] for n in names} == pytest.approx({n: expected[n] for n in names}, rel=2e-6)


def override_pretrain(config, **options):
    changes = config["overrides"]
    return changes | {"pretrain": changes["pretrain"] | options}


@pytest.mark.parametrize("options", [{}, {"optimizer": "muon", "packing": "best_fit", "head": "chunked"}])
def test_a_run_that_explodes_names_the_documents_of_the_batch(tmp_path, pretrain_config, trained, silent, options):
    explosive = {"learning_rate": 1e30, "warmup_steps": 0, "grad_clip": 0.0, "checkpoint_every": 1}
    config = pretrain_config | {"overrides": override_pretrain(pretrain_config, **explosive, **options)}
    with pytest.raises(NonFiniteTraining, match=r"^step 1: .*gradient .*; the batch: documents doc-\d+, ") as caught:
        pretrain.run(config, tmp_path, silent)
    reader = SplitReader(trained["shards_dir"], "train")
    loader = loader_of(reader, {"batch_size": 4, "seq_len": 32, **options}, pretrain_config["seed"])
    held = set(loader.documents(1)["doc_id"].to_pylist())
    assert set(re.findall(r"doc-\d+", str(caught.value))) <= held
    weights = load_file(tmp_path / "checkpoints" / "step-1" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_a_chunked_head_learns_what_a_materialised_one_does(tmp_path, pretrain_config, base_model_dir, silent):
    config = pretrain_config | {"overrides": override_pretrain(pretrain_config, head="chunked")}
    pretrain.run(config, tmp_path, silent)
    ours, theirs = (
        [r["metrics"] for r in read_metrics(d) if "loss" in r["metrics"]] for d in (tmp_path, base_model_dir.parent)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["nats_per_token"] == pytest.approx(other["nats_per_token"], rel=1e-4)


def test_a_packed_row_with_masks_computes_what_its_documents_compute_alone(pretrain_config, trained):
    recipe = resolve(pretrain_config | {"overrides": override_pretrain(pretrain_config, **OPTIONS["masked"])})
    reader = SplitReader(trained["shards_dir"], "train")
    model = Transformer(dataclasses.replace(recipe.model, vocab_size=reader.vocab_size), seed=1)
    packed = PackedLoader(reader, 2, 63, 1).batch(0)
    whole = pretrain.Batch(*(torch.from_numpy(one) for one in (packed.ids, packed.targets, packed.segments)))
    value = pretrain.loss_of(dataclasses.replace(recipe.pretrain, z_loss=0.0))(model, whole).value.detach()
    total, count = 0.0, 0
    model.requires_grad_(False)
    for ids, segments, targets in zip(packed.ids, packed.segments, packed.targets, strict=True):
        for segment in range(segments.max() + 1):
            places = np.flatnonzero(segments[:-1] == segment)
            alone = model(torch.from_numpy(ids[places])[None]).log_softmax(-1)[0]
            chosen = alone.gather(-1, torch.from_numpy(ids[places + 1])[:, None])[:, 0]
            total -= float(chosen[torch.from_numpy(targets[places])].sum())
            count += int(targets[places].sum())
    assert float(value) == pytest.approx(total / count, rel=1e-5) and count > 60


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
