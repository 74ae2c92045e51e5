"""The commands gradients and select: one row a usable candidate, the same bytes in any order, a judged selection."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.__main__ import main
from models.artifacts import digest, verify
from models.config import TransformerConfig
from models.data import tokenizer as tokenizers_room
from models.diversity import features as features_room
from models.diversity.features import load_features
from models.diversity.selection import SELECTED
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final


def command(root: Path, name: str, config: dict, out: str) -> int:
    path = root / f"{name}-{out}.json"
    path.write_text(json.dumps({"recipe": "smoke", "overrides": {"threads": 1}, **config}))
    return main([name, "--config", str(path), "--out", str(root / out)])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small model, candidates, their gradients and a selection."""
    root = tmp_path_factory.mktemp("diversity")
    (root / "tokenizer").mkdir()
    texts = [f"{a} + {b} = {a + b} gcd of Count the words Sort" for a in range(40) for b in range(9)]
    tokenizer = tokenizers_room.train(texts, 320)
    tokenizers_room.save(tokenizer, root / "tokenizer")
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=32,
        n_layers=2,
        n_heads=2,
        n_kv_heads=2,
        head_dim=16,
        d_ff=64,
        max_seq_len=128,
        tie_embeddings=True,
    )
    save_final(root / "model", Transformer(config, seed=3), root / "tokenizer", {"parent": None})
    assert command(root, "synthesize", {}, "synthetic") == 0
    assert (
        command(root, "gradients", {"model_dir": str(root / "model"), "candidates_files": candidates(root)}, "g") == 0
    )
    config_of_selection = {"candidates_files": candidates(root), "features_dir": str(root / "g" / "final")}
    assert command(root, "select", config_of_selection, "s") == 0
    return root


def candidates(root: Path) -> list[str]:
    return [str(root / "synthetic" / "final" / "candidates.parquet")]


def test_every_candidate_has_a_row_or_a_reason(made):
    rows = {row["candidate_id"]: row for row in pq.read_table(candidates(made)[0]).to_pylist()}
    order = pq.read_table(made / "g" / "final" / "order.parquet").to_pylist()
    assert [row["candidate_id"] for row in order] == sorted(rows)
    for row in order:
        assert (row["row"] is None) == (row["reason"] is not None)
        if not rows[row["candidate_id"]]["valid"]:
            assert row["reason"] == f"vote: {rows[row['candidate_id']]['reason']}"
    ids, features = load_features(made / "g" / "final")
    assert features.shape == (len(ids), 128) and features.dtype == np.float32 and np.isfinite(features).all()
    assert len(ids) == sum(row["row"] is not None for row in order) > 150


def test_a_killed_run_keeps_its_batches_and_ends_with_the_same_bytes(made, monkeypatch):
    compute, calls = features_room.gradient_features, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(*arguments)

    monkeypatch.setattr(features_room, "gradient_features", interrupted)
    config = {"model_dir": str(made / "model"), "candidates_files": candidates(made)}
    with pytest.raises(KeyboardInterrupt):
        command(made, "gradients", config, "killed")
    assert command(made, "gradients", config, "killed") == 0
    assert len(calls) == 1 + len(list((made / "g" / "batches").rglob("*.safetensors")))
    assert digest(made / "killed" / "final") == digest(made / "g" / "final")


def test_selection_is_a_subset_with_its_rounds_and_more_diverse_than_random(made):
    manifest = verify(made / "s" / "final")
    table = pq.read_table(made / "s" / "final" / "selected.parquet")
    assert table.schema.equals(SELECTED)
    report = json.loads((made / "s" / "final" / "report.json").read_text())
    ids, _ = load_features(made / "g" / "final")
    assert set(table["candidate_id"].to_pylist()) <= set(ids)
    assert all(table["valid"].to_pylist())
    entered = table["round"].to_pylist()
    for number, round_report in enumerate(report["rounds"], start=1):
        assert entered.count(number) == round_report["accepted"] and round_report["number"] == number
    assert len(entered) == report["selected"] == manifest["selected"] == sum(report["families_selected"].values())
    assert 1 < report["g_vendi"] < report["g_vendi_ceiling"] < report["selected"]
    assert report["wins_over_random"] >= 9 and len(report["g_vendi_random"]) == 10


def test_selection_depends_on_the_inputs_alone(made):
    rows = pq.read_table(candidates(made)[0])
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    pq.write_table(shuffled.slice(0, 90), made / "1.parquet")
    pq.write_table(shuffled.slice(90), made / "2.parquet")
    files = [str(made / "2.parquet"), str(made / "1.parquet")]
    assert command(made, "gradients", {"model_dir": str(made / "model"), "candidates_files": files}, "g2") == 0
    assert digest(made / "g2" / "final") == digest(made / "g" / "final")
    config = {"candidates_files": files, "features_dir": str(made / "g2" / "final")}
    assert command(made, "select", config, "s2") == 0
    assert digest(made / "s2" / "final") == digest(made / "s" / "final")


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("gradients", {}, "needs model_dir"),
        ("gradients", {"model_dir": "model", "candidates_files": ["c"], "dim": 100}, "multiple of 64"),
        ("gradients", {"model_dir": "nowhere", "candidates_files": ["c"]}, "no model.safetensors"),
        ("select", {"candidates_files": ["c"]}, "needs candidates_files and features_dir"),
        ("select", {"candidates_files": ["nowhere.parquet"], "features_dir": "x"}, "cannot be read"),
    ],
)
def test_unusable_configuration_is_one_line_and_exit_code_2(tmp_path, capsys, name, config, message):
    assert command(tmp_path, name, config, "out") == 2
    assert message in capsys.readouterr().err


def test_features_of_other_candidates_are_refused(made, tmp_path, capsys):
    assert command(made, "synthesize", {"seed": 9}, "other") == 0
    other = [str(made / "other" / "final" / "candidates.parquet")]
    config = {"candidates_files": other, "features_dir": str(made / "g" / "final")}
    assert command(made, "select", config, "mixed") == 2
    assert "not in candidates_files" in capsys.readouterr().err
