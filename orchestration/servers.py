"""`stemma ui`: Dagster (web and daemon) and MLflow on this machine, bound to 127.0.0.1, ended together."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from orchestration.home import prepare

REPO = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
START_S = 90
GRACE_S = 15


class PortTaken(OSError):
    """Another program listens on the port that was asked for."""


def serve(root: Path | None, port: int, mlflow_port: int) -> int:
    """Runs both until Ctrl-C or SIGTERM (0), or until one of them ends by itself (1). Raises PortTaken."""
    for wanted in (port, mlflow_port):
        _refuse_taken(wanted)
    home, console = prepare(root), Console()
    dagster = [sys.executable, "-m", "dagster", "dev", "-h", HOST, "-p", str(port), "--log-level", "warning"]
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"]
    mlflow += ["--backend-store-uri", home.mlflow_uri, "--artifacts-destination", str(home.mlflow / "artifacts")]
    logs = home.root / "logs"
    logs.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        servers["dagster"] = _start([*dagster, "-w", str(REPO / "workspace.yaml")], logs / "dagster.log")
        servers["mlflow"] = _start(mlflow, logs / "mlflow.log", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        console.print("Starting Dagster and MLflow …")
        for name, at in (("dagster", port), ("mlflow", mlflow_port)):
            _wait_until_up(servers[name], at, logs / f"{name}.log")
        console.print(
            f"Dagster  http://{HOST}:{port}\n"
            f"MLflow   http://{HOST}:{mlflow_port}/#/experiments/1/runs\n"
            "Ctrl-C ends both."
        )
        while all(server.poll() is None for server in servers.values()):
            time.sleep(0.5)
        console.print(f"a server ended by itself; its log is in {logs}")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for server in servers.values():
            _stop(server)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(f"port {port} is taken: choose another with --port or --mlflow-port") from error


def _start(command: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A session of its own: Ctrl-C must reach the parent alone, which then asks each server to end in order."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command, cwd=REPO, env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True
        )


def _wait_until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PortTaken(f"the server for port {port} ended at once; the reason is in {log}")
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.25)
    raise PortTaken(f"nothing answered on port {port} within {START_S} s; see {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """SIGINT to the server's first process alone: it ends its own children; the rest of its session is killed after."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
