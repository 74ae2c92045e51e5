"""`stemma ui`: the pages, Dagster (web and daemon) and MLflow on this machine, started and ended together.

Only the pages may listen where others reach them, and then they ask for a token; Dagster and MLflow, which ask nobody,
stay on 127.0.0.1 and are linked from the pages.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestration.home import locate, prepare
from orchestration.pages.settings import PageSettings

REPO = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
EVERYWHERE = {"0.0.0.0": HOST, "::": "::1"}  # noqa: S104, where this machine finds who listens on all its addresses
START_S = 180  # a busy laptop imports Dagster in a minute
GRACE_S = 15
TOKEN_VARIABLE = "STEMMA_PAGES_TOKEN"  # noqa: S105, an argument would stand in the list of processes


class PortTaken(OSError):
    """Another program listens on the port that was asked for, or this machine has no such address."""


class ServerEnded(RuntimeError):
    """A server ended before it answered; the message names its log."""


@dataclass(frozen=True)
class Server:
    """One of the three: its command, where it listens, and what is added to its environment."""

    name: str
    command: list[str]
    host: str
    port: int
    option: str  # that chooses another port
    environment: dict[str, str]

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def serve(
    root: Path | None,
    port: int,
    mlflow_port: int,
    pages_port: int,
    *,
    host: str = HOST,
    token: str | None = None,
) -> int:
    """Runs the three until Ctrl-C or SIGTERM (0), or until one of them ends by itself (1).

    port: Dagster's; host: where the pages listen. Raises PortTaken, TokenNeeded, ServerEnded.
    """
    place = locate(root)
    settings = PageSettings(
        place.root, f"http://{HOST}:{port}", f"http://{HOST}:{mlflow_port}", host, pages_port, token
    )
    pages = _pages(settings)
    servers = [pages, _dagster(port, pages.address), _mlflow(mlflow_port, place.mlflow_uri, place.mlflow)]
    for server in servers:
        refuse_taken(server)
    home, console = prepare(root), Console()
    logs = home.root / "logs"
    logs.mkdir(exist_ok=True)
    for asked in (signal.SIGINT, signal.SIGTERM):  # a shell starts what it sends to the background with SIGINT ignored
        signal.signal(asked, signal.default_int_handler)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            running[server.name] = _start(server, logs / f"{server.name}.log")
        console.print("Starting the pages, Dagster and MLflow …")
        for server in servers:
            _wait_until_up(running[server.name], server, logs / f"{server.name}.log")
        console.print(_welcome(settings, *(server.address for server in servers)), highlight=False)
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.5)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            console.print(f"{name} ended by itself; its log is {logs / f'{name}.log'}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(list(running.values()))


def _pages(settings: PageSettings) -> Server:
    command = [sys.executable, "-m", "orchestration.pages", "--home", str(settings.home)]
    command += ["--host", settings.host, "--port", str(settings.port)]
    command += ["--dagster", settings.dagster, "--mlflow", settings.mlflow]
    environment = {TOKEN_VARIABLE: settings.token} if settings.token else {}
    return Server("pages", command, settings.host, settings.port, "--pages-port", environment)


def _dagster(port: int, pages: str) -> Server:
    command = [sys.executable, "-m", "dagster", "dev", "-h", HOST, "-p", str(port), "--log-level", "warning"]
    command += ["-w", str(REPO / "workspace.yaml")]
    environment = {"STEMMA_PAGES_URL": os.environ.get("STEMMA_PAGES_URL") or pages}  # what assets link to
    return Server("dagster", command, HOST, port, "--port", environment)


def _mlflow(port: int, store: str, folder: Path) -> Server:
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    return Server("mlflow", command, HOST, port, "--mlflow-port", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def _welcome(settings: PageSettings, pages: str, dagster: str, mlflow: str) -> str:
    asked = " (asks for the token)" if settings.token else ""
    return (
        f"Open     {pages}{asked}\n"
        f"Dagster  {dagster}\n"
        f"MLflow   {mlflow}/#/experiments/1/runs\n"
        "The pages link to both. Ctrl-C ends all three."
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def refuse_taken(server: Server) -> None:
    """Raises PortTaken where the server could not listen."""
    with socket.socket(_family(server.host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except socket.gaierror as error:
            raise PortTaken(f"there is no address {server.host}: name one of this machine's with --host") from error
        except OSError as error:
            said = f"{server.name} cannot listen on {server.host} port {server.port} ({error.strerror})"
            raise PortTaken(f"{said}: choose another with {server.option}") from error


def _start(server: Server, log: Path) -> subprocess.Popen[bytes]:
    """A session of its own: Ctrl-C must reach the parent alone, which then asks each server to end in order."""
    with log.open("ab") as out:
        return subprocess.Popen(
            server.command,
            cwd=REPO,
            env={**os.environ, **server.environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def _wait_until_up(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerEnded(f"{server.name} ended at once; the reason is in {log}")
        with socket.socket(_family(server.host)) as probe:
            if probe.connect_ex((EVERYWHERE.get(server.host, server.host), server.port)) == 0:
                return
        time.sleep(0.25)
    raise ServerEnded(f"{server.name} did not answer on port {server.port} within {START_S} s; see {log}")


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """SIGINT to each server's first process alone: it ends its own children; what is left of its session is killed."""
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    for process in running:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
