"""What comes from elsewhere computes what it computed there; what our trunk cannot do, or must not read, is refused."""

import dataclasses
import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.__main__ import main
from models.artifacts import verify
from models.config import InputError
from models.data.tokenizer import load_tokenizer
from models.export import huggingface
from models.export.checkpoints import PickledWeights, UnknownArchitecture, read_checkpoint, read_config
from models.nets.transformer import Transformer
from models.training.checkpoint import load_model, save_final

SIZES = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 400, "max_position_embeddings": 64, "head_dim": 16,
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def made_by_transformers(directory, kind, **more):
    """A checkpoint that transformers itself made and saved."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    classes = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}[kind]
    model = classes[1](classes[0](**(SIZES | more))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    model.save_pretrained(directory, **({"max_shard_size": "60KB"} if more.get("tie_word_embeddings") else {}))
    return model


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_those_of_transformers(tmp_path, kind, tied):
    theirs = made_by_transformers(tmp_path, kind, tie_word_embeddings=tied)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 or tied  # the tied one comes in several files
    ours = read_checkpoint(tmp_path)
    ids = torch.randint(0, 400, (2, 60))
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=0, atol=1e-4)
    assert ours.config.qk_norm is (kind == "qwen3") and ours.config.tie_embeddings is tied
    assert ours.config.n_params == theirs.num_parameters()


def test_half_precision_comes_as_float32(tmp_path):
    made_by_transformers(tmp_path, "qwen3")
    weights = {name: value.bfloat16() for name, value in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    model = read_checkpoint(tmp_path)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert torch.equal(model.embedding.weight, weights["model.embed_tokens.weight"].float())


@pytest.mark.parametrize("qk_norm", [True, False])
def test_export_then_import_is_the_identity(tmp_path, base_model_dir, trained, silent, qk_norm):
    model, config = load_model(base_model_dir)
    if not qk_norm:
        model = Transformer(dataclasses.replace(config, qk_norm=False), seed=4)
        save_final(tmp_path / "llama", model, trained["tokenizer_dir"], {"shards": "none", "recipe": "tests"})
    source = base_model_dir if qk_norm else tmp_path / "llama"
    huggingface.run({"model_dir": str(source)}, tmp_path / "hf", silent)
    again = read_checkpoint(tmp_path / "hf" / "final")
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_import_then_export_gives_the_very_files(tmp_path, base_model_dir, silent, config_file):
    huggingface.run({"model_dir": str(base_model_dir)}, tmp_path / "hf", silent)
    config = config_file({"checkpoint_dir": str(tmp_path / "hf" / "final")})
    assert main(["import", "--config", str(config), "--out", str(tmp_path / "in")]) == 0
    assert verify(tmp_path / "in" / "final")["kind"] == "imported_model"
    huggingface.run({"model_dir": str(tmp_path / "in" / "final")}, tmp_path / "again", silent)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        paths = [tmp_path / one / "final" / name for one in ("hf", "again")]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
    card = (tmp_path / "again" / "final" / "README.md").read_text()
    assert "license: other" in card and "no document of theirs can be named" in card
    assert load_tokenizer(tmp_path / "in" / "final").get_vocab_size() == load_model(base_model_dir)[1].vocab_size


def test_pickled_weights_are_refused_unread(tmp_path):
    made_by_transformers(tmp_path, "qwen3")
    (tmp_path / "model.safetensors").unlink()

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(PickledWeights, match=r"pytorch_model\.bin.*safetensors"):
        read_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gemma2"}, "gemma2"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_parameters"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope_parameters"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_arithmetic_that_we_do_not_do_is_refused_by_name(tmp_path, change, named):
    made_by_transformers(tmp_path, "qwen3")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UnknownArchitecture, match=named):
        read_checkpoint(tmp_path)


def test_old_and_new_spellings_of_the_rotary_base_are_read(tmp_path):
    path, sizes = tmp_path / "config.json", SIZES | {"model_type": "llama"}
    for spelled in ({"rope_theta": 5e5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}):
        path.write_text(json.dumps(sizes | spelled))
        assert read_config(path).rope_theta == 5e5
    path.write_text(json.dumps({k: v for k, v in sizes.items() if k not in ("head_dim", "num_key_value_heads")}))
    read = read_config(path)
    assert (read.rope_theta, read.head_dim, read.n_kv_heads) == (10_000.0, 8, 6)


def test_incomplete_foreign_and_torn_checkpoints_are_refused(tmp_path):
    source = tmp_path / "whole"
    made_by_transformers(source, "qwen3")
    weights = load_file(source / "model.safetensors")

    def with_weights(changed):
        place = tmp_path / f"case-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(source, place)
        save_file(changed, place / "model.safetensors")
        return place

    less = {name: value for name, value in weights.items() if name != "model.norm.weight"}
    with pytest.raises(InputError, match=r"lacks 1 .*model\.norm\.weight"):
        read_checkpoint(with_weights(less))
    with pytest.raises(UnknownArchitecture, match=r"q_proj\.bias"):
        read_checkpoint(with_weights(weights | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(96)}))
    with pytest.raises(InputError, match=r"shape \(3, 3\)"):
        read_checkpoint(with_weights(weights | {"lm_head.weight": torch.zeros(3, 3)}))
    torn = with_weights(weights)
    (torn / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(InputError, match="no safetensors file"):
        read_checkpoint(torn)
    outside = with_weights(weights)
    index = {"weight_map": {"lm_head.weight": "../whole/model.safetensors"}}
    (outside / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="beside it"):
        read_checkpoint(outside)
    (outside / "config.json").write_text("[]")
    with pytest.raises(InputError, match="object"):
        read_checkpoint(outside)


@pytest.mark.parametrize(("config", "named"), [({}, "checkpoint_dir"), ({"checkpoint_dir": "nowhere"}, "nowhere")])
def test_unusable_input_ends_with_code_2(tmp_path, config_file, capsys, config, named):
    assert main(["import", "--config", str(config_file(config)), "--out", str(tmp_path / "out")]) == 2
    assert named in capsys.readouterr().err
