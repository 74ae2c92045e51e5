"""A home is prepared once, whoever comes first, and only one demo works in it."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestration.home import Home, HomeBusy, HomeMissing, alone, prepare, require

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(monkeypatch):
    for name in ("STEMMA_HOME", "DAGSTER_HOME", "HF_HUB_OFFLINE", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # restored afterwards, for `prepare` sets them
        monkeypatch.delenv(name)


@pytest.mark.slow
def test_four_processes_prepare_one_home_and_its_stores_stay_usable(tmp_path):
    code = (
        "import sys; from pathlib import Path; from orchestration.home import prepare; prepare(Path(sys.argv[1]));"
        "import dagster as dg; instance = dg.DagsterInstance.get(); print(instance.get_runs_count());"
        "import mlflow; print(mlflow.MlflowClient(sys.argv[2]).create_experiment(sys.argv[3]))"
    )
    uri = f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), uri, f"e{i}"], cwd=REPO, stderr=subprocess.PIPE)
        for i in range(4)
    ]
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()[-2000:]
    card = json.loads((tmp_path / "home.json").read_text())
    assert set(card) == {"id", "dagster", "mlflow"}


def test_prepared_home_is_not_prepared_again(tmp_path, environment):
    first = (prepare(tmp_path).root / "home.json").read_bytes()
    before = (tmp_path / "dagster" / "dagster.yaml").stat().st_mtime_ns
    prepare(tmp_path)
    assert (tmp_path / "home.json").read_bytes() == first
    assert (tmp_path / "dagster" / "dagster.yaml").stat().st_mtime_ns == before


def test_second_demo_is_refused_while_the_first_works(tmp_path):
    home = Home(tmp_path)
    refused: list[str] = []

    def second() -> None:
        try:
            with alone(home):
                refused.append("it was let in")
        except HomeBusy as busy:
            refused.append(str(busy))

    with alone(home):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another demo (process " in refused[0]
    with alone(home):
        pass


def test_home_without_anything_made_is_named(tmp_path):
    with pytest.raises(HomeMissing, match=str(tmp_path)):
        require(Home(tmp_path))
