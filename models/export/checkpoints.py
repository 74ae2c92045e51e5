"""`python -m models import`: a model from a Hugging Face directory on disk of Qwen3's or Llama's layout.

The weights come from safetensors alone: a pickled file can run code, so it is refused unread. Whatever our trunk does
not compute (other activations, biases, sliding windows, scaled positions, quantized weights) is refused by name rather
than left out. The round trip import, then export, gives back the same config.json and the same numbers.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.artifacts import sha256_file
from models.config import InputError, TransformerConfig
from models.export.layouts import ours, shapes
from models.nets.transformer import Transformer
from models.training.checkpoint import TOKENIZER_FILES, save_final

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
IGNORED = ("rotary_emb.inv_freq",)  # buffers that old exports wrote; they follow from the configuration
LAYOUTS = {"qwen3": True, "llama": False}  # model_type: norms on queries and keys


class PickledWeights(InputError):
    """The weights are in a format that runs code when it is read."""


class UnknownArchitecture(InputError):
    """The checkpoint asks for arithmetic that our trunk does not do."""


def read_config(path: Path) -> TransformerConfig:
    """Our architecture from a config.json of Qwen3ForCausalLM or LlamaForCausalLM. Raises UnknownArchitecture."""
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(given, dict):
        raise InputError(f"{path} must hold a JSON object")
    kind = given.get("model_type")
    if kind not in LAYOUTS:
        raise UnknownArchitecture(f"{path}: model_type {kind!r} is not among {', '.join(LAYOUTS)}")
    rope = given.get("rope_parameters") or {}
    scaling = given.get("rope_scaling") or {}
    kinds = {one.get("rope_type", one.get("type", "default")) for one in (rope, scaling) if one}
    wanted = {
        "hidden_act": (given.get("hidden_act", "silu"), "silu"),
        "attention_bias": (bool(given.get("attention_bias")), False),
        "mlp_bias": (bool(given.get("mlp_bias")), False),
        "use_sliding_window": (bool(given.get("use_sliding_window")), False),
        "layer_types": (set(given.get("layer_types") or ["full_attention"]), {"full_attention"}),
        "rope_parameters": (kinds or {"default"}, {"default"}),
        "partial_rotary_factor": (given.get("partial_rotary_factor", 1.0), 1.0),
        "quantization_config": (given.get("quantization_config"), None),
    }
    for name, (found, possible) in wanted.items():
        if found != possible:
            raise UnknownArchitecture(f"{path}: {name} is {found!r}, our trunk computes {possible!r} only")
    try:
        heads, width = int(given["num_attention_heads"]), int(given["hidden_size"])
        return TransformerConfig(
            vocab_size=int(given["vocab_size"]),
            d_model=width,
            n_layers=int(given["num_hidden_layers"]),
            n_heads=heads,
            n_kv_heads=int(given.get("num_key_value_heads") or heads),
            head_dim=int(given.get("head_dim") or (128 if kind == "qwen3" else width // heads)),
            d_ff=int(given["intermediate_size"]),
            max_seq_len=int(given["max_position_embeddings"]),
            rope_theta=float(rope.get("rope_theta") or given.get("rope_theta") or 10_000.0),
            norm_eps=float(given.get("rms_norm_eps", 1e-6)),
            tie_embeddings=bool(given.get("tie_word_embeddings", False)),
            qk_norm=LAYOUTS[kind],
        )
    except KeyError as error:
        raise InputError(f"{path} has no {error.args[0]}") from error


def weight_files(directory: Path) -> dict[str, Path]:
    """Each tensor's file: of model.safetensors, or of the files that its index names. Raises PickledWeights."""
    index, single = directory / "model.safetensors.index.json", directory / "model.safetensors"
    if index.is_file():
        names = json.loads(index.read_text()).get("weight_map", {})
        for name, file in names.items():
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise InputError(f"{index}: {name} is said to lie in {file!r}, which is no safetensors file beside it")
        files = sorted(set(names.values()))
    elif single.is_file():
        files = [single.name]
    else:
        pickled = sorted(path.name for path in directory.iterdir() if path.suffix in PICKLED)
        if pickled:
            raise PickledWeights(
                f"{directory} has its weights in {pickled[0]}, a pickle: reading it would run whatever is in it; "
                "have its owner convert it to model.safetensors"
            )
        raise InputError(f"{directory} holds no model.safetensors and no index of several")
    found: dict[str, Path] = {}
    for file in files:
        if not (directory / file).is_file():
            raise InputError(f"{directory / file} is named by the index but missing")
        try:
            with safe_open(directory / file, "pt") as opened:
                found |= dict.fromkeys(opened.keys(), directory / file)
        except SafetensorError as error:
            raise InputError(f"{directory / file} is no safetensors file: {error}") from error
    return found


def read_checkpoint(directory: Path) -> Transformer:
    """The model of a Hugging Face directory, in float32. Raises InputError and what it is made of."""
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory} holds no config.json: name the folder of a Hugging Face checkpoint")
    config = read_config(directory / "config.json")
    files = weight_files(directory)
    expected = set(shapes(config))
    there = {name for name in files if not name.endswith(IGNORED)}
    spare = {"lm_head.weight"} if config.tie_embeddings else set()  # some write a tied head a second time
    if missing := sorted(expected - there):
        raise InputError(f"{directory} lacks {len(missing)} tensors of its architecture, e.g. {missing[0]}")
    if extra := sorted(there - expected - spare):
        raise UnknownArchitecture(f"{directory} has {len(extra)} tensors that our trunk has no place for: {extra[0]}")

    def read(name: str) -> Tensor:
        with safe_open(files[name], "pt") as opened:
            return opened.get_tensor(name)

    if spare & there and not torch.equal(read("lm_head.weight"), read("model.embed_tokens.weight")):
        raise UnknownArchitecture(f"{directory} ties its head to the embedding but stores another one")
    model = Transformer(config)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in ours(config, read).items():
            parameters[name].copy_(value)
    return model.eval()


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `import` command. Config: checkpoint_dir. Publishes out/final as any trained model is published.

    The tokenizer's files are copied unread. Chat and training on our data need our special tokens at ids 0 to 3;
    without them those stages say so.
    """
    if not config.get("checkpoint_dir"):
        raise InputError("import needs checkpoint_dir, a Hugging Face directory on disk")
    directory = Path(config["checkpoint_dir"])
    if not directory.is_dir():
        raise InputError(f"{directory} is no directory")
    model = read_checkpoint(directory)
    for name in TOKENIZER_FILES:
        if not (directory / name).is_file():
            raise InputError(f"{directory} has no {name}")
    weights = sorted({path.name for path in weight_files(directory).values()})
    said = "".join(f"{name} {sha256_file(directory / name)}\n" for name in ("config.json", *weights))
    identity = {"parent": None, "imported": hashlib.sha256(said.encode()).hexdigest()}
    save_final(out / "final", model, directory, identity, kind="imported_model")
    report(f"import: {model.config.n_params:,} parameters, {'Qwen3' if model.config.qk_norm else 'Llama'} layout")
    return {**identity, "params": model.config.n_params}
