"""`stemma ui` starts the pages, Dagster and MLflow as one, ends them as one, and says which of them failed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
STEMMA = [sys.executable, "-m", "orchestration.cli"]
LONGEST_S = 900
TOKEN = "a-token-of-some-length"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str) -> tuple[int, str]:
    """Status and body; redirects are followed."""
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def environment(home: Path) -> dict[str, str]:
    ours = ("STEMMA_", "DAGSTER_", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"STEMMA_HOME": str(home)}


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children_of(pid: int) -> dict[int, str]:
    """Command line of every process below this one."""
    parents, lines = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    found, waiting = {}, [pid]
    while waiting:
        above = waiting.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found |= {child: lines[child] for child in below if child in lines}
        waiting += below
    return found


def still_there(processes: dict[int, str]) -> dict[int, str]:
    """Those that still run under the same command line; a zombie has none."""
    found = {}
    for pid, line in processes.items():
        try:
            now = (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found |= {pid: line} if now == line else {}
    return found


class Ui:
    """`stemma ui` in a home of its own, on ports that were free."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.home, self.said = folder / "home", folder / "said"
        self.pages, self.dagster, self.mlflow = (free_port() for _ in range(3))
        ports = ["--pages-port", self.pages, "--port", self.dagster, "--mlflow-port", self.mlflow]
        command = [*STEMMA, "ui", *map(str, ports), *arguments]
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(
                ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command],  # as a shell starts a job in the background
                cwd=REPO,
                env=environment(self.home),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def wait(self, until: str) -> str:
        deadline = time.monotonic() + LONGEST_S
        while until not in (said := self.said.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.25)
        return said

    def end(self, asked: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(asked)
        return self.process.wait(300)


@pytest.fixture
def started(tmp_path) -> Iterator[list[Ui]]:
    """Where a test puts what it starts, so that nothing outlives it."""
    all_of_them: list[Ui] = []
    yield all_of_them
    for one in all_of_them:
        if one.process.poll() is None:
            one.end()


def test_one_address_leads_to_all_three_and_one_signal_ends_them(tmp_path, started):
    started.append(ui := Ui(tmp_path))
    said = ui.wait("ends all three")
    assert re.findall(r"Open +(\S+)", said) == [f"http://127.0.0.1:{ui.pages}"]
    status, page = ask(f"http://127.0.0.1:{ui.pages}/")
    assert status in (200, 404) and f'href="http://127.0.0.1:{ui.dagster}"' in page
    assert f'href="http://127.0.0.1:{ui.mlflow}"' in page
    assert ask(f"http://127.0.0.1:{ui.dagster}/server_info")[0] == 200
    assert ask(f"http://127.0.0.1:{ui.mlflow}/health") == (200, "OK")
    assert (ui.home / "logs" / "pages.log").is_file()
    below = children_of(ui.process.pid)
    assert len(below) >= 3
    assert ui.end(signal.SIGINT) == 0
    assert not any(answers(port) for port in (ui.pages, ui.dagster, ui.mlflow))
    deadline = time.monotonic() + 300  # a killed process takes a moment
    while (left := still_there(below)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def test_a_server_that_dies_is_named_and_the_others_end(tmp_path, started):
    started.append(ui := Ui(tmp_path, "--host", "0.0.0.0", "--token", TOKEN))
    assert "asks for the token" in ui.wait("ends all three")
    assert "Token that these pages were started with" in ask(f"http://127.0.0.1:{ui.pages}/")[1]
    assert ask(f"http://127.0.0.1:{ui.pages}/static/stemma.css")[0] == 200
    below = children_of(ui.process.pid)
    assert not any(TOKEN in line for line in below.values()), "a list of processes shows no token"
    [pages] = [pid for pid, line in below.items() if "orchestration.pages" in line]
    os.kill(pages, signal.SIGKILL)
    assert ui.process.wait(300) == 1
    assert f"pages ended by itself; its log is {ui.home / 'logs' / 'pages.log'}" in ui.said.read_text()
    assert not any(answers(port) for port in (ui.pages, ui.dagster, ui.mlflow))


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--host", "0.0.0.0", "--token", "short"]])
def test_an_open_door_is_refused_before_anything_is_made(tmp_path, arguments):
    done = subprocess.run(
        [*STEMMA, "ui", *arguments], cwd=REPO, env=environment(tmp_path / "home"), capture_output=True, text=True
    )
    assert done.returncode == 2 and "token" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("option", ["--pages-port", "--port", "--mlflow-port"])
def test_a_taken_port_is_refused_by_the_name_of_its_option(tmp_path, option):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {name: str(free_port()) for name in ("--pages-port", "--port", "--mlflow-port")}
        ports[option] = str(taken.getsockname()[1])
        command = [*STEMMA, "ui", *(part for pair in ports.items() for part in pair)]
        done = subprocess.run(command, cwd=REPO, env=environment(tmp_path / "home"), capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.strip().endswith(f"with {option}")
    assert not (tmp_path / "home").exists()


def test_pages_alone_answer_for_an_empty_home_and_end_when_asked(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "orchestration.pages", "--home", str(tmp_path / "home"), "--port", str(port)]
    process = subprocess.Popen(command, cwd=REPO, env=environment(tmp_path / "home"), stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + LONGEST_S
        while not answers(port):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        assert ask(f"http://127.0.0.1:{port}/login?text=somebody-wrote-this")[0] == 200
    finally:
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=300)
    assert "Traceback" not in log
    assert "somebody-wrote-this" not in log, "an address can hold a person's text, so none is logged"
