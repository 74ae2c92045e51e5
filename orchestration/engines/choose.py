"""Which engine runs the shards: STEMMA_ENGINE names it, and it is asked for when work starts, never at import.

The choice decides where a shard runs and nothing else: it is in no job, no configuration and no data version.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec

from orchestration.engines.base import Engine, OnProgress, ShardJob, ShardRecord

ENGINES = ("local", "ray", "slurm")


class EngineUnknown(ValueError):
    """No engine of that name, or a setting of it that cannot be."""


class EngineMissing(RuntimeError):
    """The package that the engine needs is not installed."""


def engine(name: str | None = None, workers: int | None = None) -> Engine:
    """The engine of that name (default: STEMMA_ENGINE, else local).

    workers: most shards at once (default: STEMMA_WORKERS; else as many as there are CPUs, here or in the cluster).
    Raises EngineUnknown, EngineMissing.
    """
    chosen = name or os.environ.get("STEMMA_ENGINE") or "local"
    width = workers if workers is not None else positive("STEMMA_WORKERS")
    if chosen == "local":
        from orchestration.engines.local import LocalEngine

        return LocalEngine(width)
    if chosen == "ray":
        need("ray", "ray")
        from orchestration.engines.ray import RayEngine

        memory_mb = positive("STEMMA_RAY_MEMORY_MB")
        return RayEngine(
            width,
            address=os.environ.get("STEMMA_RAY_ADDRESS"),
            cpus=positive("STEMMA_RAY_CPUS") or 1,
            memory_bytes=memory_mb and memory_mb << 20,
        )
    if chosen == "slurm":
        from orchestration.engines.slurm import SlurmEngine
        from orchestration.engines.slurm_queue import SlurmSettings

        if shutil.which("sbatch") is None:
            raise EngineMissing("the engine slurm needs a machine that can submit jobs: sbatch is not here")
        try:
            return SlurmEngine(SlurmSettings.from_environment(width))
        except ValueError as error:
            raise EngineUnknown(str(error)) from error
    raise EngineUnknown(f"there is no engine {chosen!r}: set STEMMA_ENGINE to one of {', '.join(ENGINES)}")


def need(package: str, extra: str) -> None:
    """Raises EngineMissing when the package is not there; `extra` is Stemma's extra that brings it."""
    if find_spec(package) is None:
        raise EngineMissing(f"the engine needs the package {package}: pip install 'stemma[{extra}]'")


def positive(variable: str) -> int | None:
    """The number above 0 that an environment variable holds; None where it is not set. Raises EngineUnknown."""
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise EngineUnknown(f"{variable} must be a whole number above 0, not {text!r}")
    return int(text)


class ChosenEngine:
    """The engine that the environment names when a step starts; until then nothing is looked at."""

    peak_worker_bytes = 0

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """See orchestration.engines.base.Engine.run. Raises EngineUnknown, EngineMissing too."""
        chosen = engine()
        try:
            return chosen.run(step, jobs, on_progress)
        finally:
            self.peak_worker_bytes = max(self.peak_worker_bytes, chosen.peak_worker_bytes)
