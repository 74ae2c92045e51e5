"""The curves and samples of one training run, as two append-only JSON-lines files that survive a restart."""

import json
import math
import os
from pathlib import Path
from typing import Any


class NonFiniteMetric(ValueError):
    """A metric is NaN or infinite; a curve must not hide it."""


class Recorder:
    """Writes WORKDIR/metrics.jsonl ({"step", "metrics"}) and WORKDIR/samples.jsonl ({"step", "prompt", "text"}).

    `resume_step` is the step of the checkpoint the run continues from: lines after it are cut off, for they will be
    written again. 0 starts both files afresh. Of several ranks one writes, the others (`writes` False) only check.
    """

    def __init__(self, workdir: Path, resume_step: int, *, writes: bool = True) -> None:
        self.writes = writes
        self.metrics_path = workdir / "metrics.jsonl"
        self.samples_path = workdir / "samples.jsonl"
        if not writes:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        for path in (self.metrics_path, self.samples_path):
            _truncate(path, resume_step)

    def log(self, step: int, **metrics: float) -> None:
        """Append one point of the curves; NonFiniteMetric when a value is not finite."""
        values = {name: float(value) for name, value in metrics.items()}
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise NonFiniteMetric(f"step {step}: {', '.join(bad)} is not finite")
        if self.writes:
            _append(self.metrics_path, {"step": step, "metrics": values})

    def sample(self, step: int, prompt: str, text: str) -> None:
        """Append one text sample."""
        if self.writes:
            _append(self.samples_path, {"step": step, "prompt": prompt, "text": text})


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """All points of the curves so far, oldest first."""
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")


def _truncate(path: Path, step: int) -> None:
    """Keep whole lines up to `step`; a line torn by a kill is dropped."""
    kept: list[str] = []
    if step > 0 and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break
            kept.append(line)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)
