"""`stemma generate` and `stemma export`: a model from the lake, used through `python -m models`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from assets.lake import Lake
from assets.reach import EXPORTS
from assets.release import GateRefused, takedown_objections
from assets.resources import LakeResource
from orchestration.display import emit
from orchestration.home import locate, require
from orchestration.tracing import CHAMPION, known, model_dir, resolve

REPO = Path(__file__).resolve().parents[1]
FORMATS = ("hf", "gguf")
WEIGHTS = ("f32", "f16", "bf16", "q8_0", "q4_0")  # of a GGUF file


class UnknownFormat(ValueError):
    """An export format that Stemma does not write."""


class UnknownWeights(ValueError):
    """A form of weights that the format does not have."""


class DirectoryTaken(FileExistsError):
    """The folder to write is there already."""


class ProgramRefused(ValueError):
    """The models program could not use its input; the message is its own."""


def generate_text(
    home: Path | None, model: str, prompt: str, tokens: int, temperature: float, seed: int, as_json: bool
) -> None:
    """Prints what the model says."""
    known(model)
    config = {
        "model_dir": str(model_dir(_lake(home), model)),
        "prompt": prompt,
        "chat": model != "base_model",
        "max_new_tokens": tokens,
        "temperature": temperature,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as scratch:
        said = run_model_program("generate", config, Path(scratch))
    if as_json:
        emit({"model": model, "prompt": prompt, "text": said.rstrip("\n")})
    else:
        print(said.rstrip("\n"))


def export_model(
    home: Path | None, model: str, directory: Path, form: str, as_json: bool, weights: str = "f32"
) -> None:
    """Writes the folder, whole or not at all. The champion has its Hugging Face form since it was released; others,
    and GGUF files, are made now. Weights smaller than f32 cost something: how much is measured on held-out documents.
    """
    if form not in FORMATS:
        raise UnknownFormat(f"unknown format {form}: known are {', '.join(FORMATS)}")
    if weights not in WEIGHTS or (form == "hf" and weights != "f32"):
        known_here = WEIGHTS if form == "gguf" else WEIGHTS[:1]
        raise UnknownWeights(f"unknown weights {weights} for {form}: known are {', '.join(known_here)}")
    known(model)
    if directory.exists():
        raise DirectoryTaken(f"{directory} is there already: name a folder that is not")
    lake = _lake(home)
    source = model_dir(lake, model)
    if refused := takedown_objections(lake, source.name):
        raise GateRefused("; ".join(refused))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        if model == CHAMPION and form == "hf":
            exported = lake.open_dir("released_model")
        else:
            config = {"model_dir": str(source), "format": form}
            if form == "gguf":
                config |= {"weights": weights, "name": f"stemma {model} {source.name[:8]}"}
            if weights != "f32":
                config["shards_dir"] = str(lake.open_dir("token_shards"))
            run_model_program("export", config, Path(scratch), out=Path(scratch) / "work")
            exported = Path(scratch) / "work" / "final"
        shutil.copytree(exported, Path(scratch) / "copy")
        remember_export(lake.local, directory, resolve(lake, model)[0], source.name)
        (Path(scratch) / "copy").rename(directory)
    figures = json.loads((directory / "manifest.json").read_text())
    bits = {key: figures[key] for key in ("bpb_model", "bpb_export") if key in figures}
    if as_json:
        emit({"model": model, "directory": str(directory), "format": form, "digest": source.name, **bits})
        return
    cost = f"; {bits['bpb_export'] - bits['bpb_model']:+.4f} bits per byte" if bits else ""
    checked = "its logits were compared with ours" if form == "hf" else "it was read again by gguf-py and compared"
    print(f"{directory}: {model} {source.name}; {checked} before it was written{cost}")


def remember_export(home: Path, directory: Path, asset: str, digest: str) -> None:
    """Adds a line to the home's list of exports before the folder appears, so that a takedown can name them all."""
    line = json.dumps({"asset": asset, "digest": digest, "directory": str(directory.absolute())})
    with (home / EXPORTS).open("a") as file:  # one short write: lines of two exports at once do not mix
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _lake(home: Path | None) -> Lake:
    require(locate(home))
    return LakeResource().open()


def run_model_program(command: str, config: dict[str, Any], scratch: Path, out: Path | None = None) -> str:
    """Runs `python -m models` and returns what it printed. Raises ProgramRefused with its last line."""
    path = scratch / "command.json"
    path.write_text(json.dumps(config))
    argv = [sys.executable, "-m", "models", command, "--config", str(path)]
    argv += ["--out", str(out)] if out is not None else []
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ProgramRefused(lines[-1])
    return done.stdout
