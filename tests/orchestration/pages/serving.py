"""A real Dagster for tests of pages: its web server, code server and daemon over one prepared home, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

REPO = Path(__file__).resolve().parents[3]
START_S, END_S = 600, 60
GRAPH = "from orchestration import graph\n\ndefs = graph.build()\n"
ALONE = """\
load_from:
  - python_file: {{relative_path: {file}, location_name: stemma, working_directory: {repo}}}
"""


def free_port() -> int:
    """A port that nothing listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def dagster_of(home: Path, settings: Mapping[str, str], log: Path, *, sensors: bool = True) -> Iterator[str]:
    """The address of a Dagster that works in the home, with `settings` as its environment, until the block ends.

    sensors: whether what reacts by itself is there; without it only what a test asks for is made.
    """
    ours = ("STEMMA_", "DAGSTER_", "MLFLOW_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = {**inherited, **settings, "STEMMA_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    workspace = REPO / "workspace.yaml"
    if not sensors:
        graph, workspace = log.with_name("graph.py"), log.with_name("workspace.yaml")
        graph.write_text(GRAPH)
        workspace.write_text(ALONE.format(file=graph, repo=REPO))
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=REPO, env=environment, stdout=out, stderr=out, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while not _is_up(address):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _is_up(address: str) -> bool:
    query = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }"
    try:
        answer = httpx.post(f"{address}/graphql", json={"query": query}, timeout=300, trust_env=False)
        entries = answer.json()["data"]["workspaceOrError"]["locationEntries"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)
