"""The choice of an engine: made when work starts, by one setting, and every wrong one says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.engines.choose import ChosenEngine, EngineMissing, EngineUnknown, engine, need
from orchestration.engines.local import LocalEngine

REPO = Path(__file__).resolve().parents[3]


def test_shards_run_here_unless_something_else_is_asked_for(monkeypatch):
    for name in ("STEMMA_ENGINE", "STEMMA_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(engine(), LocalEngine) and engine().workers == len(os.sched_getaffinity(0))
    monkeypatch.setenv("STEMMA_WORKERS", "3")
    assert engine("local").workers == 3 and engine("local", workers=5).workers == 5


def test_the_choice_is_made_when_work_starts(monkeypatch):
    chosen = ChosenEngine()
    monkeypatch.setenv("STEMMA_ENGINE", "loom")
    with pytest.raises(EngineUnknown, match="STEMMA_ENGINE to one of local"):
        chosen.run("documents", [])
    monkeypatch.setenv("STEMMA_ENGINE", "local")
    assert chosen.run("documents", []) == []


@pytest.mark.parametrize("width", ["0", "-1", "two", "1.5", "٣"])
def test_a_width_that_cannot_be_is_refused(monkeypatch, width):
    monkeypatch.setenv("STEMMA_WORKERS", width)
    with pytest.raises(EngineUnknown, match="STEMMA_WORKERS must be a whole number above 0"):
        engine("local")


def test_a_missing_package_is_named_with_what_installs_it():
    with pytest.raises(EngineMissing, match=r"pip install 'stemma\[loom\]'"):
        need("no_such_package_of_anyone", "loom")


def test_a_demo_on_an_unknown_engine_writes_nothing(tmp_path):
    home = tmp_path / "home"
    environment = {**os.environ, "STEMMA_ENGINE": "loom", "STEMMA_HOME": str(home)}
    command = [sys.executable, "-m", "orchestration.cli", "demo", "--recipe", "smoke"]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "there is no engine 'loom'" in done.stderr and not home.exists()
