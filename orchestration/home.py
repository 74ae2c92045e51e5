"""Prepares a home directory (STEMMA_HOME) once, under a lock: Dagster's and MLflow's stores, and who may work in it.

Both stores break for good when several processes use them for the first time together, so both are migrated here,
before anything runs in parallel. Everything a run needs from the environment is set here too, and nowhere else.
"""

import fcntl
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assets.lake import Lake

DAGSTER_YAML = """\
# Written by Stemma. Local SQLite storage in this directory; limits of the pools that assets wait for.
concurrency:
  pools: {default_limit: 1, granularity: op}
  runs: {max_concurrent_runs: 4}
run_retries: {enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 60}
freshness: {enabled: true}
telemetry: {enabled: false}
nux: {enabled: false}
"""

DEFAULTS = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "TOKENIZERS_PARALLELISM": "false",
}


class HomeBusy(RuntimeError):
    """Another demo or night works in this home."""


class HomeUnusable(RuntimeError):
    """The stores of the home could not be prepared; the message ends with what the migration said."""


class HomeMissing(LookupError):
    """Nothing was made in this home yet."""


@dataclass(frozen=True)
class Home:
    """The directories of one home."""

    root: Path

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def mlflow_uri(self) -> str:
        """The SQLite store in this home, whatever MLFLOW_TRACKING_URI says."""
        return f"sqlite:///{self.mlflow}/mlflow.db"

    @property
    def tracking_uri(self) -> str:
        """MLflow as assets use it."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self.mlflow_uri

    def remember_recipe(self, name: str) -> None:
        """Later runs, also those from the UI, follow this recipe."""
        (self.root / "recipe").write_text(name + "\n")


def locate(root: Path | None = None) -> Home:
    """The home that is asked for, else STEMMA_HOME, else ./var; sets the environment of everything that follows."""
    home = Home((root or Path(os.environ.get("STEMMA_HOME") or "var")).absolute())
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ["STEMMA_HOME"] = str(home.root)
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    return home


def require(home: Home) -> Home:
    """The home, if it was prepared once. Raises HomeMissing."""
    if not (home.root / "home.json").is_file():
        raise HomeMissing(f"nothing was made in {home.root} yet: run `stemma demo`, or name another --home")
    return home


def lake_of(home: Home) -> "Lake":
    """The lake of a home as LakeResource opens it, without Dagster: STEMMA_LAKE says where tables are, if elsewhere."""
    from assets.lake import Lake

    return Lake(os.environ.get("STEMMA_LAKE") or home.root, local=home.root)


def prepare(root: Path | None = None) -> Home:
    """A home whose stores are migrated to the installed versions. Raises HomeUnusable."""
    home = locate(root)
    for directory in (home.dagster, home.mlflow, home.root / "lake", home.root / "artifacts", home.root / "work"):
        directory.mkdir(parents=True, exist_ok=True)
    with _locked(home.root / ".prepare.lock"):
        wanted = {"dagster": version("dagster"), "mlflow": version("mlflow")}
        card = home.root / "home.json"
        known = json.loads(card.read_text()) if card.is_file() else {"id": uuid.uuid4().hex}
        if {name: known.get(name) for name in wanted} != wanted:
            (home.dagster / "dagster.yaml").write_text(DAGSTER_YAML)
            migrations = [("dagster", "instance", "migrate"), ("mlflow", "db", "upgrade", home.mlflow_uri)]
            with ThreadPoolExecutor() as pool:  # two stores, two programs: neither waits for the other
                list(pool.map(_migrate, migrations))
            temporary = card.with_suffix(".tmp")
            temporary.write_text(json.dumps(known | wanted, indent=1))
            os.replace(temporary, card)
    return home


def _migrate(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HomeUnusable(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-500:]}")


@contextmanager
def alone(home: Home, what: str = "demo") -> Iterator[None]:
    """Only one demo, night or takedown works in a home at a time; raises HomeBusy, naming the other.

    A killed one leaves no lock.
    """
    path = home.root / ".demo.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other, _, number = (os.read(handle, 40).decode() or "command unknown").partition(" ")
            said = f"another {other} (process {number}) works in {home.root}"
            raise HomeBusy(f"{said}: wait for it, or use --home") from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{what} {os.getpid()}".encode())
        yield
    finally:
        os.close(handle)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
