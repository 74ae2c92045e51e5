"""GGUF, the one file that llama.cpp, LM Studio and Ollama load: weights, tokenizer, chat template, by gguf-py.

The architecture is "qwen3" (or "llama", whose engines turn neighbouring channels and want queries and keys reordered).
The tokenizer's split pattern is the one those engines know as "qwen2"; a tokenizer of another pattern is refused, for
they would cut text otherwise. The file is read again by gguf-py before it is published: keys, names, shapes, bytes.
Weights are float32, float16, bfloat16, 8-bit (Q8_0) or 4-bit (Q4_0, blocks of 32 in a row); norms are always float32.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.tokens.split import QWEN2
from models.artifacts import building, digest, publish, seal
from models.config import InputError, TransformerConfig
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, PAD_ID, SPECIAL_TOKENS, load_tokenizer
from models.export.card import card_of_manifest
from models.export.huggingface import ExportMismatch
from models.export.layouts import check_layout, ours, theirs
from models.nets.transformer import Transformer
from models.training.checkpoint import load_model

WEIGHTS = {"f32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
BLOCK = 32  # weights of a row that share a scale in Q8_0 and Q4_0
FILE = "model.gguf"
NORMAL, CONTROL = 1, 3  # token types of llama.cpp
IN_BLOCKS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


class NoGgufPackage(InputError):
    """gguf-py is not installed."""


def name_of(theirs_name: str) -> str:
    """GGUF's name of one of Hugging Face's tensors."""
    stem = theirs_name.removesuffix(".weight")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{IN_BLOCKS[rest]}.weight"


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of a q or k projection so that rotary pairs lie side by side, as llama.cpp's "llama" turns them."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def split_half(weight: Tensor, heads: int) -> Tensor:
    """Inverse of `interleaved`."""
    return weight.view(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def tensors_of(model: Transformer) -> dict[str, np.ndarray]:
    """GGUF's tensor names to float32 arrays, in the order of the file; a tied head is left out."""
    config = model.config
    weights = theirs(config, {name: value.detach().float().cpu() for name, value in model.named_parameters()})
    found = {}
    for name, value in weights.items():
        if not config.qk_norm and name.endswith(("q_proj.weight", "k_proj.weight")):
            value = interleaved(value, config.n_heads if "q_proj" in name else config.n_kv_heads)
        found[name_of(name)] = value.numpy()
    return found


def tokenizer_keys(directory: Path) -> dict[str, Any]:
    """Tokens by id, their types, merges and the chat template. InputError when engines would cut text otherwise."""
    load_tokenizer(directory)  # special tokens are where they must be
    whole = json.loads((directory / "tokenizer.json").read_text())
    steps = whole["pre_tokenizer"].get("pretokenizers", [whole["pre_tokenizer"]])
    patterns = [one["pattern"].get("Regex") for one in steps if one["type"] == "Split"]
    if whole["model"]["type"] != "BPE" or patterns != [QWEN2] or whole.get("normalizer"):
        raise InputError(
            f"{directory}/tokenizer.json does not split as qwen2 does: GGUF engines would cut text otherwise"
        )
    added = {one["id"]: one["content"] for one in whole["added_tokens"]}
    by_id = {index: token for token, index in whole["model"]["vocab"].items()} | added
    merges = [one if isinstance(one, str) else " ".join(one) for one in whole["model"]["merges"]]
    return {
        "tokens": [by_id[index] for index in range(len(by_id))],
        "types": [CONTROL if index < len(SPECIAL_TOKENS) else NORMAL for index in range(len(by_id))],
        "merges": merges,
        "chat_template": json.loads((directory / "tokenizer_config.json").read_text())["chat_template"],
    }


def write(model: Transformer, model_dir: Path, path: Path, weights: str, name: str) -> None:
    """Write one GGUF file; the same model gives the same bytes."""
    gguf = _package()
    config, kind = model.config, getattr(gguf.GGMLQuantizationType, WEIGHTS[weights])
    tokenizer = tokenizer_keys(model_dir)
    if len(tokenizer["tokens"]) != config.vocab_size:
        raise InputError(f"{model_dir} has {len(tokenizer['tokens'])} tokens and {config.vocab_size} embeddings")
    writer = gguf.GGUFWriter(path, "qwen3" if config.qk_norm else "llama")
    writer.add_name(name)
    writer.add_file_type(
        gguf.LlamaFileType.ALL_F32 if weights == "f32" else getattr(gguf.LlamaFileType, f"MOSTLY_{WEIGHTS[weights]}")
    )
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokenizer["tokens"])
    writer.add_token_types(tokenizer["types"])
    writer.add_token_merges(tokenizer["merges"])
    writer.add_bos_token_id(END_OF_TEXT_ID)
    writer.add_eos_token_id(IM_END_ID)
    writer.add_pad_token_id(PAD_ID)
    writer.add_add_bos_token(False)  # as the tokenizer of the Hugging Face export
    writer.add_chat_template(tokenizer["chat_template"])
    for tensor, values in tensors_of(model).items():
        as_kind = kind if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        if as_kind.name.startswith("Q") and values.shape[-1] % BLOCK:
            raise InputError(
                f"{weights} needs rows of a multiple of {BLOCK}; {tensor} has {values.shape[-1]}: take f16"
            )
        data = gguf.quants.quantize(np.ascontiguousarray(values), as_kind)
        writer.add_tensor(tensor, data, raw_dtype=as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> Transformer:
    """The model of a GGUF file as gguf-py reads it, weights back in float32. InputError names what does not fit."""
    gguf = _package()
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, OSError, IndexError) as error:
        raise InputError(f"{path} is no GGUF file: {error}") from error
    kind = _value(reader, "general.architecture")
    if kind not in ("qwen3", "llama"):
        raise InputError(f"{path} holds the architecture {kind!r}; known are qwen3 and llama")
    held = {tensor.name: tensor for tensor in reader.tensors}
    config = TransformerConfig(
        vocab_size=len(_value(reader, "tokenizer.ggml.tokens")),
        d_model=_value(reader, f"{kind}.embedding_length"),
        n_layers=_value(reader, f"{kind}.block_count"),
        n_heads=_value(reader, f"{kind}.attention.head_count"),
        n_kv_heads=_value(reader, f"{kind}.attention.head_count_kv"),
        head_dim=_value(reader, f"{kind}.attention.key_length"),
        d_ff=_value(reader, f"{kind}.feed_forward_length"),
        max_seq_len=_value(reader, f"{kind}.context_length"),
        rope_theta=float(_value(reader, f"{kind}.rope.freq_base")),
        norm_eps=float(_value(reader, f"{kind}.attention.layer_norm_rms_epsilon")),
        tie_embeddings="output.weight" not in held,
        qk_norm=kind == "qwen3",
    )

    def get(name: str) -> Tensor:
        tensor = held.get(name_of(name))
        if tensor is None:
            raise InputError(f"{path} has no tensor {name_of(name)}")
        value = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        if not config.qk_norm and name.endswith(("q_proj.weight", "k_proj.weight")):
            value = split_half(value, config.n_heads if "q_proj" in name else config.n_kv_heads)
        return value

    model = Transformer(config)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in ours(config, get).items():
            parameters[name].copy_(value)
    return model.eval()


def compare(path: Path, model: Transformer, model_dir: Path, weights: str) -> None:
    """ExportMismatch unless gguf-py reads from the file just the tensors, bytes and tokens that were meant."""
    gguf = _package()
    reader, tokenizer = gguf.GGUFReader(path), tokenizer_keys(model_dir)
    kind = getattr(gguf.GGMLQuantizationType, WEIGHTS[weights])
    meant, held = tensors_of(model), {tensor.name: tensor for tensor in reader.tensors}
    if list(meant) != list(held):
        raise ExportMismatch(f"the file names other tensors: {sorted(set(meant) ^ set(held))[:4]}")
    for name, values in meant.items():
        as_kind = kind if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        expected = gguf.quants.quantize(np.ascontiguousarray(values), as_kind)
        tensor = held[name]
        same_shape = tuple(int(n) for n in tensor.shape[::-1]) == values.shape and tensor.tensor_type == as_kind
        if not same_shape or tensor.data.tobytes() != expected.tobytes():
            raise ExportMismatch(f"{name} is not read as it was written")
    for key, expected in (("tokens", tokenizer["tokens"]), ("merges", tokenizer["merges"]), ("pre", "qwen2")):
        if _value(reader, f"tokenizer.ggml.{key}") != expected:
            raise ExportMismatch(f"tokenizer.ggml.{key} is not read as it was written")
    if _value(reader, "tokenizer.chat_template") != tokenizer["chat_template"]:
        raise ExportMismatch("the chat template is not read as it was written")


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `export` command for GGUF. Config: model_dir, optional weights ("f32"), name, card, shards_dir.

    shards_dir: the token shards of the model's tokenizer; with them the manifest says what quantization costs in bits
    per byte of their held-out documents. Publishes out/final with model.gguf and the card.
    """
    weights = config.get("weights", "f32")
    if weights not in WEIGHTS:
        raise InputError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    _package()
    model_dir = Path(config["model_dir"])
    model, architecture = load_model(model_dir)
    check_layout(architecture)
    with building(out / "final") as temporary:
        write(model, model_dir, temporary / FILE, weights, config.get("name") or digest(model_dir))
        compare(temporary / FILE, model, model_dir, weights)
        again = read(temporary / FILE)
        with torch.inference_mode():
            ids = torch.arange(min(64, architecture.max_seq_len))[None] % architecture.vocab_size
            difference = float((model(ids) - again(ids)).abs().max())
        figures = {} if not config.get("shards_dir") else _bits(model, again, Path(config["shards_dir"]), model_dir)
        (temporary / "README.md").write_text(card_of_manifest(model_dir, config.get("card", {})))
        identity = {"parent": digest(model_dir), "format": "gguf", "weights": weights, "params": architecture.n_params}
        seal(temporary, "gguf_model", {**identity, **figures})
        publish(temporary, out / "final")
    cost = f", {figures['bpb_export'] - figures['bpb_model']:+.4f} bits per byte" if figures else ""
    report(f"export: {FILE} with {weights} weights, logits differ by at most {difference:.1e}{cost}")
    return {**identity, **figures, "logit_difference": difference}


def _bits(model: Transformer, exported: Transformer, shards_dir: Path, model_dir: Path) -> dict[str, float]:
    """Bits per byte of held-out documents, before and after."""
    from kernels.tokens.shards import CorruptShard, SplitReader
    from models.evaluation.bits import model_bits, token_bytes

    try:
        heldout = SplitReader(shards_dir, "heldout")
    except CorruptShard as error:
        raise InputError(str(error)) from error
    sizes = token_bytes(load_tokenizer(model_dir))
    return {
        name: model_bits(one, heldout, sizes).value for name, one in (("bpb_model", model), ("bpb_export", exported))
    }


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise InputError(f"the GGUF file has no {key}")
    return field.contents()


def _package() -> Any:
    if find_spec("gguf") is None:
        raise NoGgufPackage("GGUF needs gguf-py: run `pip install -e '.[gguf]'`")
    import gguf

    return gguf
