"""A GGUF file holds what it was made of, as gguf-py reads it, and computes what our model computes."""

import dataclasses
import json
import shutil
from pathlib import Path

import gguf as package
import numpy as np
import pytest
import torch

from models.__main__ import main
from models.artifacts import digest, verify
from models.config import InputError
from models.data.tokenizer import CHAT_TEMPLATE, load_tokenizer
from models.export import gguf
from models.export.huggingface import ExportMismatch
from models.nets.transformer import Transformer
from models.training.checkpoint import load_model, save_final


@pytest.fixture
def model_dir(tmp_path, tiny, trained):
    """Publishes a model of odd weights; changes of the architecture are given by the test."""

    def publish(**change) -> Path:
        vocab = load_tokenizer(trained["tokenizer_dir"]).get_vocab_size()
        model = Transformer(dataclasses.replace(tiny, vocab_size=vocab, **change), seed=1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
        save_final(tmp_path / "ours", model, trained["tokenizer_dir"], {"parent": None, "shards": "none"})
        return tmp_path / "ours"

    return publish


def export(directory, out, silent, **more) -> Path:
    gguf.run({"model_dir": str(directory), "format": "gguf", **more}, out, silent)
    return out / "final" / "model.gguf"


CHANGES = [{}, {"tie_embeddings": True}, {"n_kv_heads": 4, "rope_theta": 10_000.0}, {"qk_norm": False}]


@pytest.mark.parametrize("change", CHANGES)
def test_names_shapes_and_bytes_are_read_again(tmp_path, model_dir, silent, change):
    directory = model_dir(**change)
    model, config = load_model(directory)
    held = {tensor.name: tensor for tensor in package.GGUFReader(export(directory, tmp_path / "out", silent)).tensors}
    assert len(held) == 2 + (not config.tie_embeddings) + config.n_layers * (11 if config.qk_norm else 9)
    assert {"token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight"} <= set(held)
    assert ("output.weight" in held) is not config.tie_embeddings
    assert ("blk.0.attn_q_norm.weight" in held) is config.qk_norm
    down = model.blocks[1].mlp.down.weight.detach().numpy()
    assert held["blk.1.ffn_down.weight"].data.tobytes() == down.tobytes()
    assert held["blk.1.ffn_down.weight"].shape.tolist() == list(down.shape[::-1])
    queries = model.blocks[0].attention.qkv.weight.detach()[: config.n_heads * config.head_dim]
    stored = torch.from_numpy(np.array(held["blk.0.attn_q.weight"].data))
    assert torch.equal(stored, queries) is config.qk_norm
    if not config.qk_norm:  # channel i turns with i + K/2 here, with its neighbour there
        first = stored.view(config.n_heads, config.head_dim // 2, 2, -1)
        ours = queries.view(config.n_heads, 2, config.head_dim // 2, -1)
        assert torch.equal(first[:, :, 0], ours[:, 0]) and torch.equal(first[:, :, 1], ours[:, 1])


@pytest.mark.parametrize("change", CHANGES)
def test_reading_gives_back_the_model(tmp_path, model_dir, silent, change):
    directory = model_dir(**change)
    model, config = load_model(directory)
    again = gguf.read(export(directory, tmp_path / "out", silent))
    assert dataclasses.replace(again.config, norm_eps=config.norm_eps) == config  # stored as float32
    assert again.config.norm_eps == pytest.approx(config.norm_eps)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_keys_name_architecture_tokenizer_and_template(tmp_path, model_dir, silent, tiny):
    directory = model_dir()
    reader = package.GGUFReader(export(directory, tmp_path / "out", silent, name="Stemma test"))
    said = {key: reader.get_field(key).contents() for key in reader.fields if not key.startswith("GGUF.")}
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    assert said["general.architecture"] == "qwen3" and said["general.name"] == "Stemma test"
    assert said["qwen3.context_length"] == tiny.max_seq_len and said["qwen3.block_count"] == tiny.n_layers
    assert said["qwen3.attention.head_count"] == 4 and said["qwen3.attention.head_count_kv"] == 2
    assert said["qwen3.attention.key_length"] == said["qwen3.attention.value_length"] == 8
    assert said["qwen3.rope.freq_base"] == 100_000.0
    assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", "qwen2")
    ours = load_tokenizer(directory)
    assert said["tokenizer.ggml.tokens"] == [ours.id_to_token(i) for i in range(ours.get_vocab_size())]
    assert said["tokenizer.ggml.token_type"] == [3] * 4 + [1] * (ours.get_vocab_size() - 4)
    assert len(said["tokenizer.ggml.merges"]) == len(tokenizer["model"]["merges"]) > 50
    assert said["tokenizer.chat_template"] == CHAT_TEMPLATE
    assert (said["tokenizer.ggml.bos_token_id"], said["tokenizer.ggml.eos_token_id"]) == (0, 2)
    assert said["tokenizer.ggml.add_bos_token"] is False


@pytest.mark.parametrize(
    ("weights", "limit"), [("f16", 2**-11), ("bf16", 2**-8), ("q8_0", 0.5 / 127 + 2**-11), ("q4_0", 1.01 / 8)]
)  # the largest rounding error, of the largest weight in a block of 32
def test_smaller_weights_stay_near_and_norms_exact(tmp_path, model_dir, silent, weights, limit):
    directory = model_dir()
    whole = export(directory, tmp_path / "whole", silent)
    path = export(directory, tmp_path / "small", silent, weights=weights)
    assert path.stat().st_size < whole.stat().st_size
    model, again = load_model(directory)[0], gguf.read(path)
    pairs = zip(model.named_parameters(), again.parameters(), strict=True)
    for name, one, other in [(name, one.detach(), other.detach()) for (name, one), other in pairs]:
        if one.ndim < 2:
            assert torch.equal(one, other), name
        else:
            blocks, found = one.reshape(-1, 32), other.reshape(-1, 32)
            error = (blocks - found).abs().amax(-1) / blocks.abs().amax(-1)
            assert 0 < error.max() <= limit, name


def test_what_quantization_costs_is_told_in_bits_per_byte(tmp_path, base_model_dir, trained, silent):
    figures = {}
    for weights in ("f32", "q4_0"):
        config = {"model_dir": str(base_model_dir), "weights": weights, "shards_dir": str(trained["shards_dir"])}
        figures[weights] = gguf.run(config, tmp_path / weights, silent)
        assert verify(tmp_path / weights / "final")["bpb_export"] == figures[weights]["bpb_export"]
    recorded = verify(base_model_dir)["bpb_heldout"]
    assert figures["f32"]["bpb_export"] == figures["f32"]["bpb_model"] == pytest.approx(recorded, rel=1e-5)
    assert 0 < abs(figures["q4_0"]["bpb_export"] - recorded) < 0.2


def test_same_model_gives_the_same_bytes(tmp_path, base_model_dir, silent):
    one, other = (export(base_model_dir, tmp_path / name, silent) for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_command_publishes_a_sealed_directory_with_its_parent_and_card(tmp_path, base_model_dir, config_file):
    config = config_file({"model_dir": str(base_model_dir), "format": "gguf"})
    assert main(["export", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    manifest = verify(tmp_path / "out" / "final")
    assert (manifest["parent"], manifest["kind"], manifest["format"]) == (digest(base_model_dir), "gguf_model", "gguf")
    assert set(manifest["files"]) == {"model.gguf", "README.md"}


def test_a_file_that_is_not_what_was_meant_is_not_published(tmp_path, base_model_dir, silent, monkeypatch):
    write = gguf.write

    def damaged(model, model_dir, path, *rest):
        write(model, model_dir, path, *rest)
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)

    monkeypatch.setattr(gguf, "write", damaged)
    with pytest.raises(ExportMismatch, match="not read as it was written"):
        export(base_model_dir, tmp_path / "out", silent)
    assert not (tmp_path / "out" / "final").exists()


def test_a_tokenizer_that_engines_would_cut_otherwise_is_refused(tmp_path, base_model_dir, silent):
    other = tmp_path / "other"
    shutil.copytree(base_model_dir, other)
    content = json.loads((other / "tokenizer.json").read_text())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+"
    (other / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="qwen2"):
        gguf.tokenizer_keys(other)


def test_unknown_weights_and_narrow_rows_are_refused(tmp_path, model_dir, silent):
    directory = model_dir(d_ff=48)
    with pytest.raises(InputError, match="q5_k"):
        export(directory, tmp_path / "out", silent, weights="q5_k")
    with pytest.raises(InputError, match="ffn_down"):
        export(directory, tmp_path / "out", silent, weights="q8_0")
    with pytest.raises(InputError, match="no GGUF file"):
        gguf.read(directory / "config.json")
