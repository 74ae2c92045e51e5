"""Checkpoints in safetensors and JSON: the resumable state of a run, and the finished model. Never pickle.

A state directory `step-N/` is sealed like every artifact (models/artifacts.py): half-written ones are never seen,
damaged ones are passed over for the one before.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.artifacts import CorruptArtifact, building, digest, publish, seal, verify
from models.config import InputError, TransformerConfig, as_dict
from models.nets.mixed import build
from models.nets.transformer import Transformer

__all__ = ["State", "digest", "latest_state", "load_model", "load_state", "publish", "save_final", "save_state"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class State:
    """What a resumed run knows beside its weights, optimizer moments and random state."""

    step: int  # optimizer steps taken
    extra: dict[str, Any]  # small JSON values of the stage
    tensors: dict[str, Tensor]  # further tensors of the stage


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


def save_state(
    directory: Path,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    extra: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
) -> None:
    """Write a resumable state at `directory` (checkpoints/step-N): weights, optimizer moments, torch's random state.

    Learning rates are not stored: they are a function of the step.
    """
    moments = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            moments[f"{name}|{key}"] = torch.as_tensor(value)
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    with building(directory) as temporary:
        save_file(_weights(model), temporary / "model.safetensors")
        save_file(moments, temporary / "optimizer.safetensors")
        save_file(random, temporary / "random.safetensors")
        save_file(
            {name: value.contiguous() for name, value in (tensors or {}).items()}, temporary / "stage.safetensors"
        )
        seal(temporary, "state", {"step": step, "extra": extra or {}, "config": as_dict(model.config)})
        publish(temporary, directory)


def load_state(directory: Path, model: Transformer, optimizer: torch.optim.Optimizer) -> State:
    """Restore what `save_state` wrote into the model, the optimizer and torch's generators; verified first."""
    manifest = verify(directory)
    if manifest["config"] != as_dict(model.config):
        raise InputError(f"{directory} holds another architecture than this run's; choose a fresh work directory")
    _load_weights(model, load_file(directory / "model.safetensors"))
    moments = load_file(directory / "optimizer.safetensors")
    parameters = dict(model.named_parameters())
    for key, value in moments.items():
        name, field = key.split("|")
        parameter = parameters[name]
        place = "cpu" if field == "step" else parameter.device
        optimizer.state[parameter][field] = value.to(place)
    random = load_file(directory / "random.safetensors")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return State(manifest["step"], manifest["extra"], load_file(directory / "stage.safetensors"))


def state_dirs(checkpoints: Path) -> list[Path]:
    """All published states under `checkpoints`, newest first."""
    return sorted(checkpoints.glob("step-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)


def latest_state(checkpoints: Path) -> Path | None:
    """The newest state whose files verify, or None; a damaged one is passed over for the one before it."""
    for directory in state_dirs(checkpoints):
        try:
            verify(directory)
        except (CorruptArtifact, InputError, json.JSONDecodeError):
            continue
        return directory
    return None


def prune_states(checkpoints: Path, keep: int = 2) -> None:
    """Remove all but the newest `keep` states."""
    for directory in state_dirs(checkpoints)[keep:]:
        shutil.rmtree(directory)


def drop_states_after(checkpoints: Path, step: int) -> None:
    """Remove states newer than `step` (damaged ones), so that the run can write them again."""
    for directory in state_dirs(checkpoints):
        if int(directory.name.split("-")[1]) > step:
            shutil.rmtree(directory)


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
