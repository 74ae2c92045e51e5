"""The finished model, in safetensors and JSON, never pickle; what a run resumes from: models/training/states.py."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.artifacts import building, digest, publish, seal, verify
from models.config import InputError, TransformerConfig
from models.nets.mixed import build
from models.nets.transformer import Transformer

__all__ = ["digest", "load_model", "publish", "save_final"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def save_final(
    final: Path,
    model: Transformer,
    tokenizer_dir: Path,
    manifest: dict[str, Any],
    *,
    kind: str = "model",
    files: dict[str, Path] | None = None,
) -> dict[str, Any]:
    """Publish a finished model at `final` in one rename; returns the sealed manifest.

    The directory holds model.safetensors (float32, a tied head stored once), config.json, the tokenizer's two files,
    and `files` (name in the directory to source path). `manifest` are identity fields only: no time, host or path.
    """
    with building(final) as temporary:
        save_file(_weights(model), temporary / "model.safetensors")
        (temporary / "config.json").write_text(model.config.to_json() + "\n")
        for name in TOKENIZER_FILES:
            shutil.copyfile(tokenizer_dir / name, temporary / name)
        for name, source in (files or {}).items():
            shutil.copyfile(source, temporary / name)
        sealed = seal(temporary, kind, {**manifest, "params": model.config.n_params})
        publish(temporary, final)
    return sealed


def load_model(directory: Path, device: str | torch.device = "cpu") -> tuple[Transformer, TransformerConfig]:
    """A published model and its configuration, after every file's sha256 was checked (CorruptArtifact)."""
    directory = Path(directory)
    if not (directory / "model.safetensors").is_file():
        raise InputError(f"{directory} holds no model.safetensors")
    verify(directory)
    config = TransformerConfig.from_json((directory / "config.json").read_text())
    model = build(config)
    _load_weights(model, load_file(directory / "model.safetensors"))
    return model.to(device).eval(), config


def _weights(model: Transformer) -> dict[str, Tensor]:
    """Name to float32 CPU tensor; a tied head is left out."""
    return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in model.named_parameters()}


def _load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    if set(parameters) != set(weights):
        differing = sorted(set(parameters) ^ set(weights))
        raise InputError(f"checkpoint and architecture name different weights: {', '.join(differing[:4])}")
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
