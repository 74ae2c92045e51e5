"""`stemma bench`: the benches of the checkout, in a process of their own, on one thread."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class BenchUnavailable(RuntimeError):
    """There are no benches to run here; the message says what to do."""


def bench_command(
    names: list[str], pages: list[Path], as_json: bool, root: Path = ROOT, documents: int | None = None
) -> int:
    """Runs `python -m tests.benchmarks` of the checkout `root`; its exit code. Raises BenchUnavailable."""
    if not (root / "tests" / "benchmarks" / "__main__.py").is_file():
        raise BenchUnavailable(
            f"{root} is no checkout: benches are no part of the installed package; clone the repository and run"
            " `make bench` there"
        )
    command = [sys.executable, "-m", "tests.benchmarks", *names, *(["--json"] if as_json else [])]
    if pages:
        command += ["--pages", *(str(path.absolute()) for path in pages)]
    command += ["--documents", str(documents)] if documents else []
    return subprocess.run(command, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode
