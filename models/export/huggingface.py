"""`python -m models export`: a Hugging Face directory that loads as Qwen3ForCausalLM, checked against our own logits.

The weights are the same numbers under Qwen3's names; the fused projections are cut into rows. The directory is
published only after transformers has loaded it and its logits agree with ours.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.artifacts import building, digest, publish, seal
from models.config import TransformerConfig
from models.data.tokenizer import (
    END_OF_TEXT,
    END_OF_TEXT_ID,
    IM_END,
    IM_END_ID,
    IM_START,
    PAD,
    PAD_ID,
    load_tokenizer,
)
from models.export.card import card_of_manifest
from models.export.layouts import check_layout, theirs
from models.nets.transformer import Transformer
from models.seeds import uniforms
from models.training.checkpoint import load_model

TOLERANCE = 1e-4  # largest absolute difference of a float32 logit
PROBE = (2, 48)  # rows and tokens of the comparison


class ExportMismatch(ArithmeticError):
    """The exported model does not compute what ours computes; nothing was published."""


def qwen3_config(config: TransformerConfig) -> dict[str, Any]:
    """config.json of Qwen3ForCausalLM for our architecture; of LlamaForCausalLM where it has no norms on q and k."""
    rope = {"rope_theta": config.rope_theta}
    return {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if config.qk_norm else "llama",
        **({} if config.qk_norm else {"mlp_bias": False}),
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "initializer_range": 0.02,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": IM_END_ID,
        "pad_token_id": PAD_ID,
        "dtype": "float32",
        **rope,
        "rope_parameters": {"rope_type": "default", **rope},  # transformers 5; older readers take the line above
    }


def qwen3_weights(model: Transformer) -> dict[str, Tensor]:
    """Qwen3's (or Llama's) tensor names to float32 weights; a tied head is left out."""
    return theirs(model.config, {name: value.detach().float().cpu() for name, value in model.named_parameters()})


def write_directory(model: Transformer, model_dir: Path, target: Path) -> None:
    """Write config, weights, tokenizer and generation defaults of a model into `target`."""
    _write(target / "config.json", qwen3_config(model.config))
    save_file(qwen3_weights(model), target / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(model_dir / name, target / name)
    special = {"eos_token": IM_END, "pad_token": PAD, "additional_special_tokens": [END_OF_TEXT, IM_START]}
    _write(target / "special_tokens_map.json", special)
    ids = {"bos_token_id": END_OF_TEXT_ID, "eos_token_id": [IM_END_ID, END_OF_TEXT_ID], "pad_token_id": PAD_ID}
    _write(target / "generation_config.json", {**ids, "do_sample": True, "temperature": 0.8})


def largest_difference(model: Transformer, directory: Path) -> float:
    """Largest absolute difference between our logits and those of the directory loaded by transformers, float32."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    peer = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    rows, tokens = PROBE[0], min(PROBE[1], model.config.max_seq_len)
    ids = torch.from_numpy((uniforms(range(rows), tokens) * model.config.vocab_size).astype("int64"))
    with torch.inference_mode():
        return float((model(ids) - peer(ids).logits).abs().max())


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `export` command for Hugging Face. Config: model_dir, optional card (metadata of the model card).

    Publishes out/final; ExportMismatch when a logit differs by more than 1e-4.
    """
    model_dir = Path(config["model_dir"])
    model, architecture = load_model(model_dir)
    check_layout(architecture)
    load_tokenizer(model_dir)
    with building(out / "final") as temporary:
        write_directory(model, model_dir, temporary)
        (temporary / "README.md").write_text(card_of_manifest(model_dir, config.get("card", {})))
        difference = largest_difference(model, temporary)
        if not difference <= TOLERANCE:
            raise ExportMismatch(f"logits of the export differ by {difference:.2e}, more than {TOLERANCE}")
        identity = {"parent": digest(model_dir), "format": "hf", "params": architecture.n_params}
        seal(temporary, "huggingface_model", identity)
        publish(temporary, out / "final")
    kind = "Qwen3ForCausalLM" if architecture.qk_norm else "LlamaForCausalLM"
    report(f"export: loads as {kind}, logits differ by at most {difference:.1e}")
    return {**identity, "logit_difference": difference}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
