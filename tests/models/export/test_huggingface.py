"""The export computes what our model computes, in transformers' own classes."""

import dataclasses

import pytest
import torch

from models.__main__ import main
from models.artifacts import digest, verify
from models.config import InputError
from models.data.tokenizer import load_tokenizer
from models.export import command, huggingface
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final

TEXTS = ["The river carries the road.", "12 + 345 = ?", "über  Öl\n\n\t日本 🙂", " leading", "don't WON'T"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def export(model_dir, out, silent):
    return huggingface.run({"model_dir": str(model_dir), "format": "hf"}, out, silent)


@pytest.mark.parametrize(
    "change",
    [{}, {"tie_embeddings": True}, {"n_kv_heads": 4}, {"n_kv_heads": 1, "rope_theta": 10_000.0}, {"qk_norm": False}],
)
def test_logits_equal_ours_with_weights_that_hide_no_mistake(tmp_path, tiny, trained, silent, change):
    from transformers import AutoModelForCausalLM

    config = dataclasses.replace(tiny, vocab_size=load_tokenizer(trained["tokenizer_dir"]).get_vocab_size(), **change)
    model = Transformer(config, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # norms differ per channel, projections are far from zero
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    save_final(tmp_path / "ours", model, trained["tokenizer_dir"], {"parent": None, "shards": "none"})
    assert export(tmp_path / "ours", tmp_path / "out", silent)["logit_difference"] <= 1e-4
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "final", dtype=torch.float32).eval()
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM")
    ids = torch.randint(0, config.vocab_size, (3, 60), generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=0, atol=1e-4)
    assert theirs.num_parameters() == config.n_params


def test_tokenizer_gives_our_ids_and_knows_the_special_ones(tmp_path, base_model_dir, silent):
    from transformers import AutoTokenizer

    export(base_model_dir, tmp_path / "out", silent)
    ours = load_tokenizer(base_model_dir)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out" / "final")
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ids == ours.encode(text).ids
        assert theirs.decode(ids) == text
    assert (theirs.eos_token_id, theirs.pad_token_id) == (2, 3)
    assert theirs.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>"]) == [0, 1]


def test_command_publishes_a_sealed_directory_with_its_parent_and_card(tmp_path, base_model_dir, config_file):
    config = config_file({"model_dir": str(base_model_dir), "format": "hf"})
    assert main(["export", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    manifest = verify(tmp_path / "out" / "final")
    assert manifest["parent"] == digest(base_model_dir)
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}
    assert expected | {"special_tokens_map.json", "generation_config.json"} == set(manifest["files"])
    assert digest(base_model_dir)[:8] in (tmp_path / "out" / "final" / "README.md").read_text()


def test_a_wrong_export_is_not_published(tmp_path, base_model_dir, silent, monkeypatch):
    def broken(model):
        weights = huggingface_weights(model)
        weights["model.layers.0.self_attn.q_norm.weight"] = weights["model.layers.0.self_attn.q_norm.weight"] * 1.5
        return weights

    huggingface_weights = huggingface.qwen3_weights
    monkeypatch.setattr(huggingface, "qwen3_weights", broken)
    with pytest.raises(huggingface.ExportMismatch):
        export(base_model_dir, tmp_path / "out", silent)
    assert not (tmp_path / "out" / "final").exists()


@pytest.mark.parametrize(("change", "named"), [({"format": "onnx"}, "onnx"), ({"model_dir": None}, "model_dir")])
def test_unknown_formats_and_no_model_are_refused(tmp_path, base_model_dir, silent, change, named):
    with pytest.raises(InputError, match=named):
        command.run({"model_dir": str(base_model_dir), "format": "hf"} | change, tmp_path, silent)
