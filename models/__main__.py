"""`python -m models COMMAND --config CFG.json --out WORKDIR`: every learning stage as a plain, resumable program.

A stage is a function `run(config: dict, out: Path, report: Callable[[str], None]) -> dict`: it reads `config`, keeps
its resumable state under `out`, publishes `out/final` last in one rename, and returns the figures to report. When
`out/final` exists and verifies, a stage is not run again.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.artifacts import CorruptArtifact, verify
from models.config import InputError

# Read when torch loads: OpenMP threads that spin long while another process holds their core make a step 10x slower.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums in one order only with this

Report = Callable[[str], None]

COMMANDS: dict[str, str] = {
    "language": "models.text.language:run",
    "quality-classifier": "models.text.quality:run",
    "extractor": "models.text.extractor:run",
    "tokenizer": "models.data.tokenizer:run",
    "tokenize": "models.data.tokenize:run",
    "pretrain": "models.training.pretrain:run",
    "synthesize": "models.tasks.synthesize:run",
    "gradients": "models.diversity.features:run",
    "select": "models.diversity.selection:run",
    "rl-tasks": "models.tasks.rl_tasks:run",
    "sft-data": "models.data.sft:run",
    "sft": "models.training.sft:run",
    "rl": "models.training.rl:run",
    "evaluate": "models.evaluation.scorecard:run",
    "evaluate-base": "models.evaluation.base:run",
    "ablate": "models.evaluation.ablation:run",
    "generate": "models.inference.generate:run",
    "serve-lines": "models.inference.lines:run",
    "export": "models.export.command:run",
    "import": "models.export.checkpoints:run",
}
WITHOUT_RESULT = {"generate", "serve-lines"}  # these print and publish nothing


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it is done, 2 when the input cannot be used (one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m models", description="One learning stage, resumable.")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--config", type=Path, required=True, help="JSON file: recipe, seed, overrides, input paths")
    parser.add_argument("--out", type=Path, help="work directory; the result is published as OUT/final")
    given = parser.parse_args(arguments)
    try:
        config = _read_config(given.config)
        if given.out is None and given.command not in WITHOUT_RESULT:
            raise InputError(f"{given.command} needs --out, the directory of its work and result")
        with _reporting() as (report, report_figures):
            report_figures(_execute(given.command, config, given.out, report))
    except (InputError, CorruptArtifact) as error:
        print(f"python -m models {given.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _execute(command: str, config: dict[str, Any], out: Path | None, report: Report) -> dict[str, Any]:
    if out is not None and (out / "final").is_dir():
        manifest = verify(out / "final")
        report(f"{command}: {out.name}/final is complete, nothing to do")
        return {key: value for key, value in manifest.items() if key != "files"}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    module, function = COMMANDS[command].split(":")
    return getattr(importlib.import_module(module), function)(config, out, report)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"configuration file {path} does not exist")
    try:
        config = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"configuration file {path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"configuration file {path} must hold a JSON object")
    return config


@contextmanager
def _reporting() -> Iterator[tuple[Report, Callable[[dict[str, Any]], None]]]:
    """Log lines and final figures: to Dagster Pipes when a parent process opened one, else to stderr; of rank 0."""
    if os.environ.get("RANK", "0") != "0":
        yield lambda _: None, lambda _: None
    elif "DAGSTER_PIPES_CONTEXT" in os.environ:
        from dagster_pipes import open_dagster_pipes

        with open_dagster_pipes() as pipes:
            yield pipes.log.info, lambda figures: pipes.report_custom_message({"figures": figures})
    else:
        yield lambda line: print(line, file=sys.stderr, flush=True), lambda _: None


if __name__ == "__main__":
    sys.exit(main())
